"""What the values of a preference column mean: one vocabulary for every table that comes from outside.

A preference is P(the second is better than the first); of a pair, image_0 is the first and image_1 the second. A column
of numbers in [0, 1] says that itself, and so do a few pairs of words (A and B, left and right, …). Any other coding is
refused until a user says what its values mean: a column of 1 and 2 read as numbers would keep half of itself, inverted.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dedpo.errors import UserError, excerpt

EMPTY: Final = frozenset({"", "nan", "na", "n/a", "null", "<na>"})
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
DECIMAL_COMMA: Final = re.compile(r"\d+,\d+")


class UnreadError(ValueError):
    """A value that the coding gives no meaning."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value


def word(value: Any) -> str:
    """A cell as one comparable text: 1, '1.0' and ' +1 ' are '1', 'Model_A' is 'modela'; '' for a missing one."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    parts = items(value)
    if parts is not None:
        return f"[{','.join(map(word, parts))}]"
    text = str(value).strip().strip("'\"").strip()
    if text.casefold() in EMPTY:
        return ""
    if _NUMBER.fullmatch(text):
        return f"{float(text):.12g}"
    return re.sub(r"[\s_-]+", "", text.casefold()) or text


def items(cell: Any) -> list[Any] | None:
    """The values of a cell that holds several: a list, or text such as '[0, 1]', "['A' 'B']", '1;2;2'; else None."""
    if isinstance(cell, (list, tuple)):
        return list(cell)
    if not isinstance(cell, str):
        return None
    text = cell.strip()
    if text[:1] not in ("[", "(") and ";" not in text and "|" not in text:
        return None
    if len(text) >= 2 and text[0] + text[-1] in ("[]", "()"):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, list):
            return found
        inner = text[1:-1].strip()
        found = re.split(r"\s*[,;|]\s*" if re.search(r"[,;|]", inner) else r"\s+", inner) if inner else []
        # As Python writes a list: without quotes it is no word.
        return [None if part == "None" else part for part in found]
    parts = re.split(r"[;|]", text)
    return parts if len(parts) > 1 else None


@dataclass(frozen=True)
class ValueMeanings:
    """What a user says that values mean (`--first`, `--second`, `--tie`, `--unrated`), as `word` writes them."""

    first: frozenset[str] = frozenset()
    second: frozenset[str] = frozenset()
    tie: frozenset[str] = frozenset()
    unrated: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Coding(ValueMeanings):
    """What a column's values mean: words as `word` writes them, and numbers in [0, 1] as they are.

    Attributes:
        first, second, tie: words for 0, 1 and ½.
        unrated: words for no answer.
        is_numeric: other values are P(the second is better), if they are numbers in [0, 1].
        is_shares: a cell holds the shares of the first, the second and, if it is longer, of a tie, such as one-hot
            columns do; P(the second is better) is the second's share and half of the tie's.
        is_positional: the words name a place on the screen, which `order_shown` may contradict.
    """

    is_numeric: bool = False
    is_shares: bool = False
    is_positional: bool = False
    has_decimal_comma: bool = False

    def read(self, cell: Any) -> list[float | None]:
        """The preferences in a cell, one a rater, None where one gave none.

        Raises:
            UnreadError: a value has no meaning.
        """
        whole = word(cell)
        if whole in self._said:
            return [self._meaning(whole)]
        if self.is_shares:
            return [_of_shares(cell)]
        parts = items(cell)
        return [self._one(part) for part in ([cell] if parts is None else parts)]

    def joined(self, said: ValueMeanings) -> Coding:
        """The same coding, in which what a user says comes first."""
        tie = (self.tie | said.tie) - said.unrated
        return replace(self, tie=tie, unrated=(self.unrated | said.unrated) - said.tie)

    def means(self, text: str) -> bool:
        """Whether a cell, as `word` writes it, is one of the coding's words."""
        return text in self._said

    @property
    def _said(self) -> frozenset[str]:
        return self.first | self.second | self.tie | self.unrated

    def _meaning(self, text: str) -> float | None:
        return None if text in self.unrated else 0.0 if text in self.first else 1.0 if text in self.second else 0.5

    def _one(self, value: Any) -> float | None:
        text = word(value)
        if not text or text in self._said:
            return self._meaning(text) if text else None
        if self.is_numeric:
            if text == "none":
                return None
            found = number(value, self.has_decimal_comma)
            if found is not None and 0 <= found <= 1:
                return found
        raise UnreadError(excerpt(str(value), 80))


NUMBERS: Final = Coding(is_numeric=True)
SHARES: Final = Coding(is_shares=True)


def number(value: Any, has_decimal_comma: bool = False) -> float | None:
    """A finite number, or None; True and False are words."""
    if isinstance(value, bool):
        return None
    text = str(value).strip().strip("'\"").strip()
    if has_decimal_comma and DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    return float(text) if _NUMBER.fullmatch(text) else None


def _of_shares(cell: Any) -> float | None:
    parts = items(cell) or []
    words = [{"true": "1", "false": "0"}.get(w, w) for w in map(word, parts)]
    if not any(words):
        return None
    numbers = [number(text) for text in words]
    shares = [n for n in numbers if n is not None and 0 <= n <= 1]
    if len(shares) != len(parts) or not 2 <= len(parts) <= 3 or abs(sum(shares) - 1) > 1e-6:
        raise UnreadError(word(cell))
    return min(1.0, shares[1] + sum(shares[2:]) / 2)


def value_meanings(given: Mapping[str, Sequence[str]], columns: Sequence[str] = ()) -> dict[str, ValueMeanings]:
    """What is said of each column, and under '' of all; empty if nothing is said.

    Args:
        given: first, second, tie, unrated → values with commas between (those that hold a comma in double quotes), or a
            list in brackets as one value; several times, and of one of the `columns` if they begin with its name and
            '='.

    Raises:
        UserError: only one of first and second is said, or a value is said to mean two things.
    """
    sets: dict[str, dict[str, set[str]]] = {}
    for meaning, texts in given.items():
        for text in texts:
            column = max((name for name in columns if text.startswith(f"{name}=")), key=len, default="")
            values = text[len(column) + 1 :] if column else text
            is_list = values.strip().startswith("[")
            parts = [values] if is_list else next(csv.reader([" ".join(values.split())], skipinitialspace=True), [])
            sets.setdefault(column, {}).setdefault(meaning, set()).update(map(word, parts))
    found = {
        column: ValueMeanings(**{k: frozenset(v - {""}) for k, v in each.items()}) for column, each in sets.items()
    }
    for each in found.values():
        if bool(each.first) != bool(each.second):
            there, other = ("first", "second") if each.first else ("second", "first")
            raise UserError(f"--{there}: say with --{other} as well which values mean the other one")
        counts = Counter(w for words in (each.first, each.second, each.tie, each.unrated) for w in words)
        twice = next((w for w, n in counts.items() if n > 1), None)
        if twice is not None:
            raise UserError(f"--first, --second, --tie, --unrated: '{excerpt(twice, 40)}' is said to mean two things")
    return found
