"""Where the numbers come from: hashes, versions, settings and durations, out of the outputs' manifests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from dedpo.outputs import origin
from dedpo.report.reading import Json, finite

_ORDER = ("data", "labels", "bias", "targets", "policy", "samples", "scores", "verdicts")


class Duration(NamedTuple):
    """Seconds that a stage took, over all its outputs; None where no run is recorded, as in a clone."""

    stage: str
    seconds: float | None
    outputs: int


class Output(NamedTuple):
    """One finished output; `digest` is the fingerprint that manifests made from it hold."""

    name: str
    files: int
    digest: str


class Provenance(NamedTuple):
    """All of it; commits and versions are distinct texts.

    Attributes:
        seeds: stage → every seed that its settings name.
        revision: that the data was pulled at; else the digest of what was imported; None without data.
    """

    commits: list[str]
    versions: list[str]
    seeds: dict[str, list[int]]
    revision: str | None
    outputs: list[Output]
    durations: list[Duration]
    settings: dict[str, Any]


def provenance(manifests: Mapping[str, Json]) -> Provenance:
    """Gather what the manifests say, by the names of their outputs, in the order of the work."""
    ordered = dict(sorted(manifests.items(), key=lambda item: _ORDER.index(item[0].split()[0].rstrip(","))))
    commits, versions = [], []
    for manifest in ordered.values():
        commits.append(str(manifest.get("git_commit", "not recorded here") or "outside git"))
        versions.append(f"dedpo {manifest.get('dedpo', 'unknown')}")
        versions += [f"{name} {version}" for name, version in (manifest.get("versions") or {}).items()]
    return Provenance(
        commits=list(dict.fromkeys(commits)),
        versions=sorted(set(versions)),
        seeds=_seeds(ordered),
        revision=_revision(ordered.get("data")),
        outputs=[_output(name, manifest.get("outputs") or {}) for name, manifest in ordered.items()],
        durations=_durations(ordered),
        settings={name: manifest.get("config") for name, manifest in ordered.items()},
    )


def _output(name: str, files: Json) -> Output:
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return Output(name, len(files), digest)


def _seeds(manifests: Mapping[str, Json]) -> dict[str, list[int]]:
    found: dict[str, set[int]] = {}
    for name, manifest in manifests.items():
        config = manifest.get("config")
        for key in ("seed", "seeds"):
            value = config.get(key) if isinstance(config, dict) else None
            values = value if isinstance(value, list) else [value]
            whole = {v for v in values if isinstance(v, int) and not isinstance(v, bool)}
            if whole:
                found.setdefault(str(manifest.get("stage", name)), set()).update(whole)
    return {stage: sorted(seeds) for stage, seeds in found.items()}


def _revision(data: Json | None) -> str | None:
    if data is None:
        return None
    pulled = data.get("revision")
    if isinstance(pulled, dict):
        return origin.describe(pulled)
    return f"sha256 {_output('data', data.get('outputs') or {}).digest[:16]} of the imported files"


def _durations(manifests: Mapping[str, Json]) -> list[Duration]:
    found: dict[str, list[float | None]] = {}
    for name, manifest in manifests.items():
        found.setdefault(str(manifest.get("stage", name)), []).append(finite(manifest.get("seconds")))
    return [Duration(stage, _sum(seconds), len(seconds)) for stage, seconds in found.items()]


def _sum(seconds: list[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return sum(known) if known else None
