"""A judge's answers on disk as they come, and the pictures that it is shown."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dedpo import store, tables
from dedpo.judge.comparisons import Comparison, Key


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one comparison: a winner by criterion ('0', '1' or 'tie'), or an error.

    `attempts` (HTTP requests) and tokens are those of every asking, failed ones included.
    """

    model_0: str
    model_1: str
    prompt_id: str
    seed: int
    winners: dict[str, str] | None
    rationale: str | None
    attempts: int
    input_tokens: int
    output_tokens: int
    error: str | None

    @property
    def key(self) -> Key:
        return self.model_0, self.model_1, self.prompt_id, self.seed


class Store(store.Store[Answer]):
    """The answers so far, by (model_0, model_1, prompt_id, seed); a context manager."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Answer)


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
