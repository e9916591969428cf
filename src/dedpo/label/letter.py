"""Which of two letters a text answers with, however it is dressed: pure functions of text that is not to be trusted.

'**B**'  '(b)'  'Image B.'  'Answer: B'  '\\boxed{B}'  '<answer>B</answer>'  '{"answer": "B"}'   →  B
'A nice picture'   'Image A is better than image B'   'Not B.'                                   →  no answer
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

# What opens and closes a thought: Qwen, DeepSeek and most others; Kimi; Magistral; gpt-oss; Open-Thoughts, Seed.
_OPEN: Final = (
    r"<(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|reflection)>|◁think▷|\[THINK\]|<\|begin_of_thought\|>"
    r"|<\|channel\|>\s*(?:analysis|commentary)\s*<\|message\|>|<\|START_THINKING\|>"
)
_CLOSE: Final = (
    r"</(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|reflection)>|◁/think▷|\[/THINK\]|<\|end_of_thought\|>"
    r"|<\|channel\|>\s*final\s*<\|message\|>|<\|END_THINKING\|>"
)
_THOUGHT: Final = re.compile(rf"(?P<open>{_OPEN})|(?P<close>{_CLOSE})", re.IGNORECASE)
_SPECIAL: Final = re.compile(r"<\|[^<>|]{1,40}\|>|</?s>|<(?:eos|bos|end_of_turn|pad)>")
_FENCE: Final = re.compile(r"^```\w*\s*(.*?)\s*```$", re.DOTALL)
_NOUN: Final = r"(?:images?|pictures?|photos?|options?|choices?|candidates?)"
# After these an 'A' is the letter, and no article.
_VERBS: Final = r"(?:is|was|has|would|wins?|because|since|as|over|looks|shows|matches|follows|fits)"
_JOINTS: Final = r"(?:or|and|vs|versus)"
_NEGATION: Final = re.compile(
    r"n['’]t\b|\b(?:not|no|neither|nor|never|cannot|unable|sorry|both|tie|equal(?:ly)?|worse|worst|less|dislike|reject"
    r"|inferior|wrong|lacks?|fails?|unlike|except|avoid|rather than|instead of)\b",
    re.IGNORECASE,
)


class NoLetter(ValueError):  # noqa: N818
    """There is no unambiguous letter; the message says what there was instead."""


def answer_part(text: str) -> tuple[str, bool]:
    """What follows the thought, and whether the text ends inside one (or is nothing but one)."""
    start, is_inside = 0, False
    for mark in _THOUGHT.finditer(text):
        # A close without an open: the template had opened it, and all before is thought.
        start, is_inside = mark.end(), mark.lastgroup == "open"
    return ("", True) if is_inside else (text[start:], False)


def find(answer: str, choices: tuple[str, str]) -> tuple[str, int]:
    """The letter (one of `choices`) that an answer without its thought names, and where it stands in `answer`.

    Raises:
        NoLetter: none, or both.
    """
    # As long as the text itself, so that positions stay: compatibility forms (full-width letters) one by one.
    plain = "".join(n if len(n := unicodedata.normalize("NFKC", c)) == 1 else c for c in answer)
    plain = _SPECIAL.sub(lambda m: " " * len(m[0]), plain)
    one, other = (re.escape(c) for c in choices)
    letter = rf"(?P<letter>{one}|{other})"
    for found in (_whole(plain, letter), _from_json(plain, letter), _marked(plain, letter), _told(plain, letter)):
        named = {m["letter"].casefold() for m in found}
        if len(named) > 1:
            break
        if found:
            last = found[-1]
            return next(c for c in choices if c.casefold() == last["letter"].casefold()), last.start("letter")
    raise NoLetter(answer)


def is_bare(answer: str, choices: tuple[str, str]) -> bool:
    """Whether an answer is one of the letters without a word around it."""
    return answer.strip(" \t\n*\"'`()[].") in choices


def _whole(text: str, letter: str) -> list[re.Match[str]]:
    """The text is the letter in its dress, and nothing else."""
    words = rf"(?:(?:my|the|final|best|better|preferred|correct|answer|response|verdict|is|{_NOUN})\b[\W_]*)*"
    found = re.fullmatch(rf"[\W_]*{words}(?:\\boxed\s*\{{\s*(?:\\text\s*\{{\s*)?)?{letter}[\W_]*", text, re.IGNORECASE)
    return [found] if found else []


def _from_json(text: str, letter: str) -> list[re.Match[str]]:
    """The text is a JSON object (in a fence, perhaps) in which one value is the letter, or values agree."""
    fenced = _FENCE.match(text.strip())
    try:
        tree = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return []
    named = {m["letter"].casefold() for value in _strings(tree) for m in _whole(value, letter)}
    places = list(re.finditer(rf"(?<![^\W_]){letter}(?![^\W_])", text, re.IGNORECASE))
    return [m for m in places if m["letter"].casefold() in named] if isinstance(tree, dict) else []


def _strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _strings(value)


def _marked(text: str, letter: str) -> list[re.Match[str]]:
    """Letters that a mark announces as the answer, such as 'Answer: B', '\\boxed{B}', '<answer>B</answer>'."""
    end = rf"(?![^\W_])(?!\s+(?!{_VERBS}\b)[a-z])(?!\s*/)"
    announced = (
        r"\\boxed\s*\{\s*(?:\\text\s*\{\s*)?",
        r"<\|?(?:answer|begin_of_box|choice)\|?>[\W_]*",
        rf"\b(?:answer|verdict|final choice|preference)\b[\W_]*(?:(?:is|would be)\b[\W_]*)?(?:{_NOUN}\b[\W_]*)?",
    )
    found = [m for mark in announced for m in re.finditer(rf"(?i:{mark})(?i:{letter}){end}", text)]
    return sorted(found, key=lambda m: m.start())


def _told(text: str, letter: str) -> list[re.Match[str]]:
    """Letters in a sentence; none where it says 'not', 'worse' or 'both', which turn its sense."""
    if _NEGATION.search(text):
        return []
    named = rf"(?i:\b{_NOUN})[\W_]{{1,4}}{letter}(?![^\W_])"
    alone = rf"(?<![^\W_]){letter}(?![^\W_])(?!['’-])(?!\s+(?!(?:{_VERBS}|{_JOINTS})\b)[\"“‘(]?[a-z0-9])"
    found = [*re.finditer(named, text), *re.finditer(alone, text)]
    return sorted(found, key=lambda m: m.start("letter"))
