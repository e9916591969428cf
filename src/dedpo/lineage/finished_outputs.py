"""Finished outputs on this disk, and which of them a file or folder belongs to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

from dedpo.outputs import hashes, origin
from dedpo.outputs.hashes import MANIFEST

# A part of an output (targets/0/dedpo/targets.parquet) lies at most this deep in it.
_DEPTH: Final = 4

Json = dict[str, Any]


def owner(path: Path) -> tuple[Path, Json] | None:
    """The finished output that `path` is or belongs to, and its manifest; None if there is none."""
    for folder in (path, *path.parents)[:_DEPTH]:
        manifest = origin.manifest_if_any(folder)
        outputs = manifest.get("outputs")
        if isinstance(outputs, dict) and (folder == path or _part(outputs, folder, path)):
            return folder, manifest
    return None


def recorded_part(manifest: Mapping[str, Any], folder: Path, path: Path) -> dict[str, str] | str:
    """What the manifest of `folder` says of `path` in it: a file's hash, or {relative path: hash}."""
    outputs = manifest.get("outputs")
    assert isinstance(outputs, dict)
    return dict(outputs) if path == folder else _part(outputs, folder, path)


def _part(outputs: Mapping[str, str], folder: Path, path: Path) -> dict[str, str] | str:
    name = path.relative_to(folder).as_posix()
    if name in outputs:
        return outputs[name]
    return {n.removeprefix(f"{name}/"): sha for n, sha in outputs.items() if n.startswith(f"{name}/")}


class OutputsByHash:
    """Everything below a folder that a manifest names, by its hash; read when first asked."""

    def __init__(self, work: Path) -> None:
        self._work = work

    def find(self, sha: str) -> Path | None:
        """Where something of this fingerprint should lie: an output, a folder or a file in one."""
        return next((path for path in self._places.get(sha, []) if path.exists()), None)

    @cached_property
    def _places(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for folder in _finished(self._work):
            outputs = origin.read_json(folder / MANIFEST).get("outputs")
            for name, sha in _parts(outputs if isinstance(outputs, dict) else {}):
                found.setdefault(sha, []).append(folder / name)
        return found


def _finished(work: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(work):
        if MANIFEST in files:
            yield Path(place)
        # Of what is in the making or was replaced, nothing counts.
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not f.endswith((".partial", ".old")))


def _parts(outputs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(relative path, hash) of the whole output, of its folders, and of its files."""
    inner: dict[str, dict[str, str]] = {"": dict(outputs)}
    for name, sha in outputs.items():
        for folder in list(PurePosixPath(name).parents)[:-1]:
            inner.setdefault(folder.as_posix(), {})[name.removeprefix(f"{folder.as_posix()}/")] = sha
    for name, files in inner.items():
        yield name, hashes.digest(files)
    yield from outputs.items()
