"""What is worth knowing of an output and of its parts, in a few words: arm, seed, annotator, rows, raters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedpo.contract import tables
from dedpo.errors import excerpt
from dedpo.outputs import origin

# Stage → its settings that name what came out, some under the house's word for them.
SETTINGS: Final[dict[str, dict[str, str]]] = {
    "world": {"pairs": "pairs", "seed": "seed"},
    "data": {"source": "source", "layout": "layout"},
    "select": {"round": "round", "design": "design", "budget": "budget", "seed": "seed"},
    "split": {"seed": "seed"},
    "features": {"clip_model": "model"},
    "label": {"model": "annotator", "template": "template"},
    "bias": {"seed": "seed"},
    "targets": {"regime": "regime", "power": "power λ", "calibrate": "calibrate", "seed": "seed"},
    "train": {"seed": "seed", "base": "base", "vae": "vae", "beta": "beta", "steps": "steps"},
    "sample": {"prompts": "prompts", "seeds": "seeds", "steps": "steps", "guidance": "guidance"},
    "score": {"metrics": "metrics"},
    "judge": {"model": "judge", "template": "template", "prompts": "prompts", "seed": "seed"},
    "report": {"primary": "primary", "metric": "metric"},
}
# Counts in its summary.json.
COUNTS: Final[dict[str, tuple[str, ...]]] = {
    "data": ("rows", "pairs", "ratings", "raters"),
    "split": ("train", "holdout", "labelled"),
    "label": ("pairs", "answered"),
    "sample": ("pictures",),
    "score": ("samples",),
}
TARGETS: Final = {"arm": "arm", "n": "pairs", "n_labelled": "labelled", "power": "power λ", "n_eff": "n_eff"}
ANSWERED: Final = "answered.json"
# Raters beyond these are counted together.
NAMED_RATERS: Final = 8

Json = Mapping[str, Any]


def of_output(manifest: Json, folder: Path) -> dict[str, str]:
    """The settings and counts of a finished output that a reader looks for first, and models of the hub."""
    stage, config = str(manifest.get("stage")), manifest.get("config")
    summary = origin.read_json(folder / "summary.json")
    return {
        **(_arm(manifest) if stage == "train" else {}),
        **_chosen(config if isinstance(config, dict) else {}, SETTINGS.get(stage, {})),
        **(_annotators(summary.get("annotators")) if stage == "label" else {}),
        **_chosen(summary, {name: name for name in COUNTS.get(stage, ())}),
        **_hub(manifest.get("hub")),
    }


def of_part(path: Path, manifest: Json) -> dict[str, str]:
    """What a file or folder holds: the raters of ratings, the rows of a table, what an arm's targets are worth."""
    facts = _chosen(origin.read_json(path / "targets.json"), TARGETS)
    if path.name == ANSWERED:
        facts |= _answers(origin.read_json(path))
    shards = _shards(path)
    if shards and not (path.is_dir() and manifest.get("stage") == "sample"):
        facts |= _rows(shards)
    return facts


def _answers(found: Json) -> dict[str, str]:
    """Of a round: who answered how many of its pairs, and the files that the answers came in."""
    raters, exports = found.get("raters"), found.get("exports")
    facts = {name: _shown(found[name]) for name in ("selected", "answered") if name in found}
    if isinstance(raters, dict):
        facts["raters"] = _most(sorted(((n, str(r)) for r, n in raters.items() if isinstance(n, int)), reverse=True))
    if isinstance(exports, dict):
        facts["exports"] = ", ".join(excerpt(f"{name} {sha[:8]}", 80) for sha, name in exports.items())
    return facts


def _arm(manifest: Json) -> dict[str, str]:
    """By the convention that an arm's targets lie in a folder of its name."""
    paths = manifest.get("paths")
    targets = paths.get("targets") if isinstance(paths, dict) else None
    return {"arm": excerpt(PurePosixPath(targets).name)} if isinstance(targets, str) else {}


def _annotators(found: object) -> dict[str, str]:
    """Of labels: who gave them, which the settings say of a single endpoint alone."""
    each = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return {
        name: _shown(list(dict.fromkeys(str(one.get(name)) for one in each)))
        for name in ("annotator", "template")
        if each
    }


def _chosen(values: Json, names: Mapping[str, str]) -> dict[str, str]:
    return {word: _shown(values[name]) for name, word in names.items() if values.get(name) is not None}


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return excerpt(", ".join(map(str, value)) if isinstance(value, list) else str(value), 80)


def _hub(models: object) -> dict[str, str]:
    if not isinstance(models, dict):
        return {}
    entries = {str(name): model for name, model in models.items() if isinstance(model, dict)}
    return {
        f"hub {name}": excerpt(f"{model.get('id')} at {str(model.get('commit') or 'an unknown commit')[:12]}")
        for name, model in entries.items()
    }


def _shards(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.parquet"))
    return [path] if path.suffix == ".parquet" else []


def _rows(shards: list[Path]) -> dict[str, str]:
    try:
        schema, rows = pq.read_schema(shards[0]), sum(pq.read_metadata(shard).num_rows for shard in shards)
        is_ratings = set(tables.RATINGS.schema.names) <= set(schema.names)
        found = {"rows": f"{rows:,}"} | ({"files": f"{len(shards):,}"} if len(shards) > 1 else {})
        return found | (_raters(shards) if is_ratings else {})
    except (pa.ArrowInvalid, OSError):
        return {}


def _raters(shards: Iterable[Path]) -> dict[str, str]:
    """Ratings by each rater, the busiest first, and by the source that they came in with."""
    # Not `read_table`, which takes half a second to import pandas.
    table = pa.concat_tables([pq.ParquetFile(shard).read(columns=["rater", "source"]) for shard in shards])
    return {"raters": _most(_counted(table.column("rater"))), "from": _most(_counted(table.column("source")))}


def _counted(column: pa.ChunkedArray) -> list[tuple[int, str]]:
    counts = pc.value_counts(column.combine_chunks())
    return sorted(zip(counts.field(1).to_pylist(), counts.field(0).to_pylist(), strict=True), reverse=True)


def _most(counted: Sequence[tuple[int, str]]) -> str:
    """'ann 1,200, bob 800, 12 more 345'."""
    named = [f"{excerpt(name, 60)} {count:,}" for count, name in counted[:NAMED_RATERS]]
    rest = counted[NAMED_RATERS:]
    return ", ".join([*named, *([f"{len(rest):,} more {sum(n for n, _ in rest):,}"] if rest else [])])
