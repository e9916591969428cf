"""What came of a question to a judge, as it is kept on disk."""

from __future__ import annotations

from dataclasses import dataclass

from dedpo.contract.criteria import CRITERIA
from dedpo.judge.templates import FIRST, SECOND, TIE


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question: a choice by criterion ('first', 'second' or 'tie', as shown), or an error.

    `shown` is the question as `asking.answers.shown` has it: under whatever names models and prompts go, the same
    prompt and pictures in the same order have the same answer, and new pictures under an old name have none. `attempts`
    (HTTP requests) and tokens are those of every asking, failed ones included.
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
