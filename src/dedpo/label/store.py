"""An annotator's answers on disk as they come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dedpo import store


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question: a probability or an error.

    `order` is '01' (image_0 shown first) or '10'; `p` is P(image_1 preferred) in either, and `on_answer_mass` the
    probability that the annotator put on its two choices together (None without logprobs); `attempts` counts the HTTP
    requests of the asking that gave this answer.
    """

    pair_id: str
    order: str
    p: float | None
    on_answer_mass: float | None
    attempts: int
    error: str | None

    @property
    def key(self) -> tuple[str, str]:
        return self.pair_id, self.order


class Store(store.Store[Answer]):
    """The answers so far, by (pair_id, order); a context manager."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Answer)
