"""What a judge's answer says: a pure function of its text, which is not to be trusted."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from dedpo.contract.criteria import CRITERIA
from dedpo.errors import excerpt
from dedpo.judge.templates import FIRST, SECOND, TIE

RATIONALE_LENGTH: Final = 500
# Places in one text where an object is looked for: a hostile answer cannot make reading dear.
STARTS: Final = 50
# Bare numbers and letters are not read: the images have neither in the question, and models count from 0 or from 1.
_CHOICES: Final = {
    "first": FIRST, "1st": FIRST, "image 1": FIRST, "image one": FIRST,
    "second": SECOND, "2nd": SECOND, "image 2": SECOND, "image two": SECOND,
    "tie": TIE, "tied": TIE, "equal": TIE, "neither": TIE, "draw": TIE,
}  # fmt: skip
_REASONS: Final = ("rationale", "reason", "reasons", "reasoning", "explanation")
_TAG: Final = "(?:think|thinking|thought|reasoning)"
# Whole, without its beginning (some templates open it in the question), without its end (cut).
_THOUGHT: Final = re.compile(rf"<({_TAG})>.*?</\1>|^.*</{_TAG}>|<{_TAG}>.*$", re.DOTALL)
_TRAILING_COMMA: Final = re.compile(r",(?=\s*[}\]])")

Pairs = list[tuple[str, Any]]


class Reading(NamedTuple):
    """The answer by criterion, 'first', 'second' or 'tie' as shown, and the reasons on one line."""

    choices: dict[str, str]
    rationale: str


def read(text: str) -> Reading:
    """The answer in `text`: JSON as templates.SCHEMA asks for, also in the dresses that models put it into.

    An object may stand in a fence, a list or a sentence, come after a thought, be one for each criterion, or several
    that agree; names and values may have any case. What could mean either image is not read.

    Raises:
        ValueError: it is something else; the message says what.
    """
    said = _THOUGHT.sub("", text)
    pairs = _pairs(said) or _pairs(_TRAILING_COMMA.sub("", said))
    if not pairs:
        raise ValueError(f"malformed answer: no JSON object: {excerpt(said if said.strip() else text)!r}")
    choices = {criterion: _only(criterion, pairs) for criterion in CRITERIA}
    reasons = (v for reason in _REASONS for name, v in pairs if _plain(name) == reason and isinstance(v, str))
    return Reading(choices, excerpt(next(reasons, ""), RATIONALE_LENGTH))


def _pairs(text: str) -> Pairs:
    """Names and values of all JSON objects in the text, also of nested ones."""
    inside: list[Pairs] = []

    def gather(pairs: Pairs) -> dict[str, Any]:
        inside.append(pairs)
        return dict(pairs)

    decoder = json.JSONDecoder(object_pairs_hook=gather)
    found: Pairs = []
    start = text.find("{")
    for _ in range(STARTS):
        if start < 0:
            break
        inside.clear()
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
            continue
        found += [pair for pairs in inside for pair in (*pairs, *_listed(pairs))]
        start = text.find("{", end)
    return found


def _listed(pairs: Pairs) -> Pairs:
    """{"criterion": "visual_appeal", "choice": "first"} says visual_appeal: first."""
    criteria = [c for _, v in pairs for c in CRITERIA if isinstance(v, str) and _plain(v) == _plain(c)]
    return [(criteria[0], v) for _, v in pairs if _choice(v)] if len(criteria) == 1 else []


def _only(criterion: str, pairs: Pairs) -> str:
    """What all of them say about the criterion."""
    values = [v for name, v in pairs if _plain(name) == _plain(criterion)]
    choices = {_choice(v) for v in values}
    if len(choices) > 1:
        raise ValueError(f"malformed answer: {criterion} is {excerpt(repr(values[0]))} and {excerpt(repr(values[-1]))}")
    choice = choices.pop() if choices else None
    if choice is None:
        shown = excerpt(repr(values[0] if values else None))
        raise ValueError(f"malformed answer: {criterion} is {shown}, not first, second or tie")
    return choice


def _choice(value: Any) -> str | None:
    if isinstance(value, dict):  # {"winner": "first", "reason": …}
        inner = {_choice(v) for v in value.values() if isinstance(v, str)} - {None}
        return inner.pop() if len(inner) == 1 else None
    if not isinstance(value, str):
        return None
    words = re.sub(r"[^a-z0-9]+", " ", value.casefold()).removeprefix(" the").removeprefix("the ").strip()
    return _CHOICES.get(words) or _CHOICES.get(words.removesuffix(" image").removesuffix(" one"))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.casefold())
