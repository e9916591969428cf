"""An annotator's answers on disk as they come."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dedpo import store

# How the error begins that takes answers back which came before it: they were given without looking.
WITHDRAWN: Final = "not looking"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question: a probability or an error.

    `order` is '01' (image_0 shown first) or '10'; `p` is P(image_1 preferred) in either, and `on_answer_mass` the
    probability that the annotator put on its two choices together (None without logprobs, and where a constraint has
    made it 1); `attempts` counts the HTTP requests of the asking that gave this answer.
    """

    pair_id: str
    order: str
    p: float | None
    on_answer_mass: float | None
    attempts: int
    error: str | None

    def __post_init__(self) -> None:
        if not (isinstance(self.pair_id, str) and isinstance(self.order, str)):
            raise TypeError("pair_id and order are text")
        if (self.p is None) == (self.error is None) or not (self.p is None or 0 <= self.p <= 1):
            raise ValueError("a probability or an error")

    @property
    def key(self) -> tuple[str, str]:
        return self.pair_id, self.order


class Store(store.Store[Answer]):
    """The answers about some pairs, by (pair_id, order); a context manager."""

    def __init__(self, log: store.Log, pair_ids: Collection[str] | None = None, also: Sequence[Path] = ()) -> None:
        ids = None if pair_ids is None else frozenset(pair_ids)
        super().__init__(log, Answer, None if ids is None else lambda answer: answer.pair_id in ids, also)

    def _take(self, answer: Answer) -> None:
        if answer.error is not None and answer.error.startswith(WITHDRAWN):
            self.answers[answer.key] = answer
        else:
            super()._take(answer)
