"""An annotator's answers on disk as they come."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dedpo.asking import answers

# How the error begins that takes answers of its round back: they were given without looking.
WITHDRAWN: Final = "not looking"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question: a probability or an error.

    `order` is '01' (image_0 shown first) or '10'; `p` is P(image_1 preferred) in either, and `on_answer_mass` the
    probability that the annotator put on its two choices together (None without logprobs, and where a constraint has
    made it 1); `attempts` counts the HTTP requests of the asking that gave this answer. `round` counts how often
    answers to the question were taken back before it: the files of a log have no order among each other.
    """

    pair_id: str
    order: str
    p: float | None
    on_answer_mass: float | None
    attempts: int
    error: str | None
    round: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.pair_id, str) and isinstance(self.order, str) and isinstance(self.round, int)):
            raise TypeError("pair_id and order are text, and round is a number")
        if (self.p is None) == (self.error is None) or not (self.p is None or 0 <= self.p <= 1):
            raise ValueError("a probability or an error")

    @property
    def key(self) -> tuple[str, str]:
        return self.pair_id, self.order


class Store(answers.Store[Answer]):
    """The answers about some pairs, by (pair_id, order); a context manager."""

    def __init__(self, log: answers.Log, pair_ids: Collection[str] | None = None, also: Sequence[Path] = ()) -> None:
        super().__init__(log, Answer, pair_ids, also)

    def round(self, pair_id: str, order: str) -> int:
        """Of an answer that comes now."""
        answer = self.answers.get((pair_id, order))
        return 0 if answer is None else answer.round + _is_withdrawal(answer)

    def _take(self, answer: Answer) -> None:
        before = self.answers.get(answer.key)
        if before is None or answer.round > before.round or (answer.round == before.round and _is_withdrawal(answer)):
            self.answers[answer.key] = answer
        elif answer.round == before.round and not _is_withdrawal(before):
            super()._take(answer)


def _is_withdrawal(answer: Answer) -> bool:
    return answer.error is not None and answer.error.startswith(WITHDRAWN)
