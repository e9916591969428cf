"""The samples that a judge is shown, read from their shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dedpo.asking.answers import shown
from dedpo.contract import tables
from dedpo.judge.comparisons import Comparison


def read_cells(samples: Path) -> dict[str, set[tuple[str, int]]]:
    """model → (prompt_id, sampling seed) of its pictures, without reading one."""
    keys = tables.read(samples, tables.SAMPLES, list(tables.SAMPLES.key))
    cells: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for model, prompt_id, seed in zip(*(keys.column(c).to_pylist() for c in tables.SAMPLES.key), strict=True):
        cells[model].add((prompt_id, seed))
    return dict(cells)


def read_prompts(samples: Path) -> dict[str, str]:
    """prompt_id → prompt."""
    texts = tables.read(samples, tables.SAMPLES, ["prompt_id", "prompt"])
    return dict(zip(texts.column("prompt_id").to_pylist(), texts.column("prompt").to_pylist(), strict=True))


def read_pictures(samples: Path, wanted: list[Comparison]) -> dict[tuple[str, str, int], bytes]:
    """(model, prompt_id, seed) → the encoded pictures of these comparisons; shards without any are not read."""
    models = pa.array(sorted({m for c in wanted for m in (c.model_0, c.model_1)}))
    prompts = pa.array(sorted({c.prompt_id for c in wanted}))
    seeds = pa.array(sorted({c.seed for c in wanted}))
    found = {}
    for shard in tables.shard_paths(samples):
        names = tables.read(shard, tables.SAMPLES, ["model"]).column("model")
        if not pc.any(pc.is_in(names, models)).as_py():
            continue
        table = tables.read(shard, tables.SAMPLES)
        for column, values in (("model", models), ("prompt_id", prompts), ("seed", seeds)):
            table = table.filter(pc.is_in(table.column(column), values))
        for row in table.select(["model", "prompt_id", "seed", "image"]).to_pylist():
            found[row["model"], row["prompt_id"], row["seed"]] = row["image"]["bytes"] or b""
    return found


def shown_pictures(samples: Path, comparisons: Collection[Comparison]) -> Iterator[tuple[Comparison, list[bytes]]]:
    """Each comparison with its two pictures in the order shown; of one pair of models at a time, to spare memory."""
    for pair in dict.fromkeys((c.model_0, c.model_1) for c in comparisons):
        own = [c for c in comparisons if (c.model_0, c.model_1) == pair]
        pictures = read_pictures(samples, own)
        for c in own:
            yield c, [pictures[model, c.prompt_id, c.seed] for model in c.shown]


def questions(samples: Path, comparisons: Sequence[Comparison], prompts: Mapping[str, str]) -> list[str]:
    """For each comparison, what its question shows as `asking.answers.shown` has it: the prompt and both pictures.

    Args:
        prompts: by prompt_id.
    """
    found = {c: shown(prompts[c.prompt_id], *both) for c, both in shown_pictures(samples, comparisons)}
    return [found[c] for c in comparisons]
