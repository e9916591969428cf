"""What the report reads: the scores must be there, every other piece may be missing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dedpo.contract import records, tables
from dedpo.contract.records.bias import Bias
from dedpo.contract.records.data import Imported
from dedpo.contract.records.evaluation import Verdicts
from dedpo.contract.records.labels import Labels
from dedpo.contract.records.targets import Targets
from dedpo.contract.records.training import Training
from dedpo.contract.records.trust import Trust
from dedpo.errors import UserError
from dedpo.outputs import freshness
from dedpo.outputs.manifest import MANIFEST, read_manifest
from dedpo.report.methods import REFERENCE
from dedpo.report.summary import Grid, grid

Json = dict[str, Any]
Logged = dict[str, object]  # a line of metrics.jsonl
T = TypeVar("T")
Run = tuple[str, int]  # (arm, training seed)


@dataclass(frozen=True)
class Places:
    """The folders of a run."""

    samples: Path
    scores: Path
    policies: Path
    targets: Path
    labels: Path
    data: Path
    bias: Path | None = None
    verdicts: Path | None = None


@dataclass(frozen=True)
class Sources:
    """Everything that was found.

    Attributes:
        grid: scores of the reference and the policies.
        snapshots: the same with the policies on the way; validation: on the prompts on which a step is chosen.
        policies: the last measurements of each training; logs: its measurements step by step.
        trust (of the first training seed), labels, data, bias, judged: None if not available, or if another version
            wrote it in a way of its own.
        verdicts: rows of the verdicts table; none if not available.
        manifests: by the output's name; only finished outputs have one.
    """

    grid: Grid
    snapshots: Grid
    validation: Grid | None
    policies: dict[Run, Training]
    logs: dict[Run, list[Logged]]
    targets: dict[Run, Targets]
    trust: Trust | None
    labels: Labels | None
    data: Imported | None
    bias: Bias | None
    verdicts: list[Json]
    judged: Verdicts | None
    manifests: dict[str, Json]


def require(places: Places) -> None:
    """Refuse samples, scores and verdicts that were made from something else than what lies there now.

    Raises:
        UserError: names the output, the input that changed, and the command that makes it again.
    """
    for folder, command in ((places.samples, "sample"), (places.scores, "score"), (places.verdicts, "judge")):
        if folder is not None:
            freshness.require(folder, f"run 'dedpo {command}' again")


def read(places: Places) -> Sources:
    """Read all but the pictures.

    Raises:
        UserError: the scores are missing, unfinished or broken.
    """
    manifests = {"scores": read_manifest(places.scores)}
    snapshots = read_scores(places.scores)
    scores = snapshots.without_snapshots()
    arms = sorted({arm for cells in scores.metrics.values() for arm in cells} - {REFERENCE})
    runs = [(arm, seed) for seed in scores.seeds for arm in arms]
    folders = {(arm, seed): places.policies / str(seed) / arm for arm, seed in runs}
    for name, folder in _optional_outputs(places, folders):
        if (folder / MANIFEST).is_file():
            manifests[name] = read_manifest(folder)
    bias = places.bias if "bias" in manifests else None
    verdicts = places.verdicts if "verdicts" in manifests else None
    return Sources(
        grid=scores,
        snapshots=snapshots,
        validation=read_scores(beside) if (beside := places.scores / tables.VALIDATION).is_dir() else None,
        policies=_each({run: folder / "metrics.json" for run, folder in folders.items()}, Training, "train"),
        logs={run: log for run in runs if (log := read_lines(folders[run] / "metrics.jsonl"))},
        targets=_each({(a, s): places.targets / f"{s}/{a}/targets.json" for a, s in runs}, Targets, "targets"),
        trust=_known(places.targets / str(scores.seeds[0]) / "trust.json", Trust, "targets") if scores.seeds else None,
        labels=_known(places.labels / "summary.json", Labels, "label"),
        data=_known(places.data / "summary.json", Imported, "data import"),
        bias=_known(bias / "bias.json", Bias, "bias") if bias else None,
        verdicts=read_verdicts(verdicts) if verdicts else [],
        judged=_known(verdicts / "summary.json", Verdicts, "judge") if verdicts else None,
        manifests=manifests,
    )


def _known(path: Path, kind: type[T], command: str) -> T | None:
    return records.known(path, kind, f"run 'dedpo {command}' again")


def _each(paths: Mapping[Run, Path], kind: type[T], command: str) -> dict[Run, T]:
    found = {run: _known(path, kind, command) for run, path in paths.items()}
    return {run: record for run, record in found.items() if record is not None}


def finished(places: Places, sources: Sources) -> dict[str, Path]:
    """The folders that the report was made from, by the names of their manifests."""
    folders = {run: places.policies / str(run[1]) / run[0] for run in sources.policies}
    named = {"scores": places.scores, **dict(_optional_outputs(places, folders))}
    return {name: folder for name, folder in named.items() if (folder / MANIFEST).is_file()}


def _optional_outputs(places: Places, policies: dict[Run, Path]) -> Iterable[tuple[str, Path]]:
    yield "data", places.data
    yield "labels", places.labels
    for seed in sorted({seed for _, seed in policies}):
        yield f"targets, seed {seed}", places.targets / str(seed)
    for (arm, seed), folder in policies.items():
        yield f"policy {arm}, seed {seed}", folder
    yield "samples", places.samples
    if places.bias is not None:
        yield "bias", places.bias
    if places.verdicts is not None:
        yield "verdicts", places.verdicts


def read_scores(path: Path) -> Grid:
    """The scores table, arranged.

    Raises:
        UserError: it cannot be read, or names a model that is no method.
    """
    table = tables.read(path, tables.SCORES)
    model, prompt, seed, metric = (table.column(c).to_pylist() for c in tables.SCORES.key)
    return grid(model, prompt, seed, metric, table.column("value").to_numpy())


def read_verdicts(path: Path) -> list[Json]:
    """Rows of the verdicts table without the judge's reasons; none if it cannot be read."""
    columns = [name for name in tables.VERDICTS.schema.names if name not in ("rationale", "error")]
    try:
        rows: list[Json] = tables.read(path / "verdicts.parquet", tables.VERDICTS, columns).to_pylist()
    except UserError:
        return []
    return rows


def finite(value: object) -> float | None:
    """A number as a float; None if it is anything else, NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def read_lines(path: Path) -> list[Logged]:
    """An object a line; lines that hold something else are passed over."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
