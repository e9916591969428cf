"""A judge's answers on disk as they come, and the pictures that it is shown."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dedpo.asking import answers
from dedpo.contract import tables
from dedpo.judge.comparisons import Comparison
from dedpo.judge.templates import CRITERIA, FIRST, SECOND, TIE


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question: a choice by criterion ('first', 'second' or 'tie', as shown), or an error.

    `shown` is the question, see `shown`: under whatever names models and prompts go, the same prompt and pictures in
    the same order have the same answer, and new pictures under an old name have none. `attempts` (HTTP requests) and
    tokens are those of every asking, failed ones included.
    """

    shown: str
    choices: dict[str, str] | None
    rationale: str | None
    attempts: int
    input_tokens: int
    output_tokens: int
    error: str | None

    def __post_init__(self) -> None:
        if not isinstance(self.shown, str) or (self.choices is None) == (self.error is None):
            raise TypeError("choices or an error, on something shown")
        if self.choices is not None and (
            set(self.choices) != set(CRITERIA) or not set(self.choices.values()) <= {FIRST, SECOND, TIE}
        ):
            raise ValueError("a choice for each criterion")

    @property
    def key(self) -> tuple[str]:
        return (self.shown,)


class Store(answers.Store[Answer]):
    """The answers about what is `shown`; a context manager."""

    def __init__(self, log: answers.Log, shown: Collection[str], also: Sequence[Path] = ()) -> None:
        wanted = frozenset(shown)
        super().__init__(log, Answer, lambda answer: answer.shown in wanted, also)


def shown(samples: Path, comparisons: Sequence[Comparison], prompts: Mapping[str, str]) -> list[str]:
    """For each comparison the SHA-256 of what its question shows: the prompt and both pictures, in their order.

    Args:
        prompts: by prompt_id.
    """
    found: dict[Comparison, str] = {}
    for pair in dict.fromkeys((c.model_0, c.model_1) for c in comparisons):
        own = [c for c in comparisons if (c.model_0, c.model_1) == pair]
        pictures = read_pictures(samples, own)
        for c in own:
            hashes = [hashlib.sha256(pictures[model, c.prompt_id, c.seed]).hexdigest() for model in c.shown]
            question = json.dumps([prompts[c.prompt_id], *hashes])
            found[c] = hashlib.sha256(question.encode()).hexdigest()
    return [found[c] for c in comparisons]


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
