"""The world's 576 prompts and their three splits."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass

FINISHES = ("photo", "painting", "poster", "render")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "diamond", "cross")
BACKGROUNDS = ("white", "black", "navy")

_PATTERN = re.compile(
    rf"a ({'|'.join(FINISHES)}) of a ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)}) on ({'|'.join(BACKGROUNDS)})( , 8k)?"
)


@dataclass(frozen=True)
class Prompt:
    """One prompt by its parts."""

    finish: str
    colour: str
    shape: str
    background: str
    is_8k: bool

    @property
    def text(self) -> str:
        return f"a {self.finish} of a {self.colour} {self.shape} on {self.background}{' , 8k' if self.is_8k else ''}"

    @property
    def split(self) -> str:
        """'train' (three fifths), 'validation' or 'test' (a fifth each), by a hash of the text."""
        bucket = hashlib.sha256(self.text.encode()).digest()[0] % 5
        return {3: "validation", 4: "test"}.get(bucket, "train")


def every_prompt() -> list[Prompt]:
    """All 576, in a fixed order."""
    parts = itertools.product(FINISHES, COLOURS, SHAPES, BACKGROUNDS, (False, True))
    return [Prompt(*p) for p in parts]


def prompts_of(split: str) -> list[Prompt]:
    """The prompts of 'train', 'validation' or 'test'."""
    return [p for p in every_prompt() if p.split == split]


def parse(text: str) -> Prompt | None:
    """The prompt that occurs in `text` (a chat message, say), or None."""
    match = _PATTERN.search(text)
    if match is None:
        return None
    finish, colour, shape, background, mark = match.groups()
    return Prompt(finish, colour, shape, background, is_8k=mark is not None)
