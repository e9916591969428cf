"""Scores on disk as they come, kept by picture, prompt, metric and weights."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dedpo.asking import answers
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


class Store(answers.Store[Score]):
    """One metric's values by what is `shown`; a context manager."""

    def __init__(self, folder: Path, metric: Metric, identity: Any, wanted: Iterable[str]) -> None:
        wanted = frozenset(wanted)
        log = answers.Log(folder, answers.log_name(metric, [metric, identity]))
        super().__init__(log, Score, lambda score: score.shown in wanted)


def shown(samples: Path) -> dict[Key, str]:
    """For each sample, in the table's order, the SHA-256 of its picture and its prompt."""
    found: dict[Key, str] = {}
    for shard in tables.iterate(samples, tables.SAMPLES):
        for chunk in shard.to_batches(max_chunksize=64):
            for row in chunk.to_pylist():
                question = [row["prompt"], hashlib.sha256(row["image"]["bytes"] or b"").hexdigest()]
                digest = hashlib.sha256(json.dumps(question).encode()).hexdigest()
                found[row["model"], row["prompt_id"], row["seed"]] = digest
    return found
