"""Scores on disk as they come, kept by picture, prompt, metric and weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dedpo.asking.answers import Log, Store, log_name, shown
from dedpo.contract import tables
from dedpo.contract.sections import Metric

# (model, prompt_id, seed) of a sample.
Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value of what is `shown`: a picture with its prompt, whichever model drew it."""

    shown: str
    value: float

    def __post_init__(self) -> None:
        if not isinstance(self.shown, str) or not math.isfinite(self.value):
            raise ValueError("a finite value of something shown")

    @property
    def key(self) -> tuple[str]:
        return (self.shown,)

    @property
    def error(self) -> None:
        return None


def opened(folder: Path, metric: Metric, identity: Any, pictures: Collection[str]) -> Store[Score]:
    """One metric's values of what is `shown` by `pictures`, as measured by what has this identity."""
    return Store(Log(folder, log_name(metric, [metric, identity])), Score, pictures)


def shown_samples(samples: Path) -> dict[Key, str]:
    """For each sample, in the table's order, its picture and prompt as `asking.answers.shown` has them."""
    return {
        (row["model"], row["prompt_id"], row["seed"]): shown(row["prompt"], row["image"]["bytes"] or b"")
        for chunk in batches(samples, 64)
        for row in chunk.to_pylist()
    }


def batches(samples: Path, size: int) -> Iterator[pa.RecordBatch]:
    """The samples, those on validation prompts behind the others, by `size` of one shard."""
    for folder in tables.with_validation(samples):
        for shard in tables.iterate(folder, tables.SAMPLES):
            yield from shard.to_batches(max_chunksize=size)
