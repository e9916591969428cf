"""What a judge's answer says: a pure function of its text, which is not to be trusted."""

from __future__ import annotations

import json
from typing import NamedTuple

from dedpo.errors import excerpt
from dedpo.judge.templates import CRITERIA, FIRST, SECOND, TIE

RATIONALE_LENGTH = 500


class Reading(NamedTuple):
    """The answer by criterion, 'first', 'second' or 'tie' as shown, and the reasons on one line."""

    choices: dict[str, str]
    rationale: str


def read(text: str) -> Reading:
    """The answer in `text`, a JSON object as templates.SCHEMA asks for.

    Raises:
        ValueError: it is something else; the message says what.
    """
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"malformed answer: no JSON: {excerpt(text)!r}") from None
    if not isinstance(answer, dict):
        raise ValueError(f"malformed answer: no JSON object: {excerpt(text)!r}")
    choices = {criterion: answer.get(criterion) for criterion in CRITERIA}
    for criterion, choice in choices.items():
        if choice not in (FIRST, SECOND, TIE):
            raise ValueError(f"malformed answer: {criterion} is {excerpt(repr(choice))}, not first, second or tie")
    return Reading({c: str(v) for c, v in choices.items()}, excerpt(str(answer.get("rationale", "")), RATIONALE_LENGTH))
