"""Recognising what a preference column's values mean, and refusing what is not certain."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dedpo.errors import UserError, excerpt
from dedpo.tabular.codings import (
    DECIMAL_COMMA,
    NUMBERS,
    SHARES,
    Coding,
    UnreadError,
    ValueMeanings,
    items,
    number,
    word,
)

TIES: Final = frozenset(
    {"tie", "tied", "draw", "equal", "same", "tievote", "bothbadvote", "tie(bothbad)", "bothbad", "bothgood", "a=b",
     "neither", "nopreference"}
)  # fmt: skip
_NOUNS: Final = (
    "", "image", "img", "picture", "photo", "option", "candidate", "response", "answer", "output", "model", "choice",
)  # fmt: skip
# Pairs of words that people use for the first and the second. Which one is shown first may differ from row to row.
_WORDS: Final[tuple[tuple[frozenset[str], frozenset[str]], ...]] = (
    *((frozenset({f"{noun}a"}), frozenset({f"{noun}b"})) for noun in _NOUNS),
    *((frozenset({f"{side}{noun}"}), frozenset({f"{other}{noun}"}))
      for side, other in (("left", "right"), ("first", "second")) for noun in (*_NOUNS, "vote")),
    (frozenset({"a>b", "a>>b", "b<a"}), frozenset({"b>a", "a<b", "a<<b", "b>>a"})),
)  # fmt: skip
_SPOKEN: Final = frozenset().union(
    *(a | b for a, b in _WORDS), TIES, {"true", "false", "yes", "no"}, {f"{n}{d}" for n in _NOUNS for d in "012"}
)
_BETTER: Final = frozenset({"win", "wins", "won", "winner", "better", "best", "prefers", "preferred"})
_FIRST: Final = frozenset({"a", "left", "first", "0"})
_SECOND: Final = frozenset({"b", "right", "second", "1", "2"})
# A value that is more than this share of a column's labels is no slip of the pen.
SPORADIC: Final = 0.01
_SHARES_MISS: Final = 1e-3  # written with few digits
_DISTINCT: Final = 10_000
_MANY: Final = "other values"


@dataclass
class ValueCounts:
    """The cells of a column, counted; `text` has each as it was written."""

    counts: Counter[str] = field(default_factory=Counter)
    text: dict[str, str] = field(default_factory=dict)

    def add(self, cell: Any) -> None:
        """Count a cell; of a great many different ones, only that there are more."""
        key = word(cell)
        if key not in self.counts and len(self.counts) >= _DISTINCT:
            found = number(key)
            key = "0.5" if found is not None and 0 <= found <= 1 else _MANY
        self.counts[key] += 1
        if key not in self.text:
            self.text[key] = str(cell)

    def unread(self, coding: Coding, *, is_whole: bool = False) -> tuple[Counter[str], int]:
        """The values without a meaning, as they are written, and how many labels there are with them.

        Args:
            is_whole: a list is one value.
        """
        left, labels = Counter[str](), 0
        for key, n in self.counts.items():
            parts = None if is_whole or coding.is_shares or coding.means(key) else items(key)
            for part in [key] if parts is None else parts:
                try:
                    labels += n * (coding.read(part) != [None])
                except UnreadError as error:
                    left[self.text[key] if parts is None else error.value] += n
                    labels += n
        return left, labels

    def decides(self, coding: Coding) -> bool:
        """Whether any value that has a meaning prefers one side; where only ties have one, the others do not slip."""
        found = set()
        for key in self.counts:
            with suppress(UnreadError):
                found.update(coding.read(key))
        return bool(found - {None, 0.5})


def is_systematic(unread: Mapping[str, int], labels: int) -> bool:
    """Whether values without a meaning are a coding rather than slips.

    They are if they are half of the labels, if one of them is more than `SPORADIC` of the labels and comes twice, or if
    one that other codings use (a whole number, A, left, True, …) is as often without coming twice.
    """
    if 2 * sum(unread.values()) >= labels > 0:
        return True
    return any(n > SPORADIC * labels and (n > 1 or _is_code(value)) for value, n in unread.items())


def _is_code(value: str) -> bool:
    text = word(value)
    found = number(text)
    return text in _SPOKEN if found is None else found == int(found) and abs(found) <= 100


def recognise(
    cells: Iterable[Any],
    place: str,
    what: ValueMeanings | None = None,
    *,
    names: tuple[str, str] = ("", ""),
    is_shares: bool = False,
    column: str = "",
    prefix: str = "",
) -> Coding:
    """The coding of a column.

    Args:
        cells: its values; what is missing may be among them.
        place: what to call the column in an error.
        what: what a user says of it.
        names: the columns of the first and the second image, which values may name.
        is_shares: a cell is a list, from several columns.
        column: its name, which may say that it is about the first.
        prefix: what stands before the values in the options that an error advises.

    Raises:
        UserError: the values have no meaning that is certain; it lists them and says how to tell.
    """
    seen = ValueCounts()
    for cell in cells:
        seen.add(cell)
    what = what or ValueMeanings()
    is_one_hot = not is_shares and not what.first and _is_one_hot(seen.counts)
    if what.first:
        candidates = [Coding(what.first, what.second, what.tie, what.unrated, is_shares=is_shares)]
    elif is_shares:
        candidates = [SHARES.joined(what)]
    else:
        candidates = [] if is_one_hot else [c.joined(what) for c in _candidates(seen.counts, names)]
    for coding in candidates:
        left, labels = seen.unread(coding)
        if not is_systematic(left, labels) and not (left.total() > 1 and not seen.decides(coding)):
            if coding.is_numeric and set(seen.counts) - {""} and _names_the_first(column):
                raise UserError(_about_the_first(set(seen.counts), place, prefix))
            return coding
    coding = candidates[0] if what.first or is_shares else Coding()
    left, _ = seen.unread(coding, is_whole=is_one_hot)
    raise UserError(_unequal(left, place) if is_shares else refusal(left, place, prefix))


def for_column(
    cells: Sequence[Any], name: str, place: str, told: Mapping[str, ValueMeanings], *, is_shares: bool = False
) -> Coding:
    """The coding of one of several columns, of which a user may have said something of all together.

    What is said of the column itself holds. What is said of all holds where it covers the column: beside a column of 1
    and 2 another one may hold probabilities.

    Args:
        told: as `codings.value_meanings` returns it.

    Raises:
        UserError: as `recognise`.
    """
    prefix = f"{name}="
    if name in told or "" not in told:
        return recognise(cells, place, told.get(name), is_shares=is_shares, column=name, prefix=prefix)
    try:
        return recognise(cells, place, told[""], is_shares=is_shares, column=name, prefix=prefix)
    except UserError:
        return recognise(cells, place, is_shares=is_shares, column=name, prefix=prefix)


def _candidates(counts: Mapping[str, int], names: tuple[str, str]) -> Iterator[Coding]:
    # '0,1' may be two raters; '0,5' can only be a half.
    yield replace(NUMBERS, has_decimal_comma=any(DECIMAL_COMMA.fullmatch(w) and set(w) - set("01,") for w in counts))
    there = {part for key in counts for part in map(word, items(key) or [key])}
    own = (word(names[0]), word(names[1]))
    if all(own) and own[0] != own[1] and not _is_counted_otherwise(own, there):
        yield Coding(frozenset({own[0]}), frozenset({own[1]}), TIES)
    for noun in _NOUNS[1:]:
        # 'image_1' is the second beside 'image_0', the first beside 'image_2', and nobody knows which alone.
        places = {d for d in "012" if f"{noun}{d}" in there}
        for low, high in (("0", "1"), ("1", "2")):
            first, second = f"{noun}{low}", f"{noun}{high}"
            sure = (low == "0" and "0" in places) or (high == "2" and "2" in places)
            if sure and own[0] != second and own[1] != first:
                yield Coding(frozenset({first}), frozenset({second}), TIES)
    for one, other in _WORDS:
        if there & (one | other):
            yield Coding(one, other, TIES, is_positional=True)


def _is_counted_otherwise(own: tuple[str, str], there: set[str]) -> bool:
    """Whether 'image_2' is among the values of columns called image_0 and image_1, or image_0 of image_1 and image_2.

    'image_1' may be either of them then.
    """
    return any(own == (f"{n}{i}", f"{n}{i + 1}") and f"{n}{2 - 2 * i}" in there for n in _NOUNS for i in (0, 1))


def _names_the_first(column: str) -> bool:
    """Whether a column's name says that the first one is better, such as winner_model_a or image_0_is_better."""
    parts = re.split(r"[\W_]+", column.casefold())
    return bool(_BETTER & set(parts)) and len(_FIRST & set(parts)) == 1 and not _SECOND & set(parts)


def _about_the_first(there: set[str], place: str, prefix: str) -> str:
    told = "rename it, with 1 − p in it if p is P(the first is better)"
    if there <= {"", "0", "0.5", "1"}:
        tie = f" --tie {_told(prefix, '0.5')}" if "0.5" in there else ""
        one, none = _told(prefix, "1"), _told(prefix, "0")
        told = f"say it with --first {one} --second {none}{tie} where 1 means the first, else changed over"
    return f"{place}: its name is about the first, and numbers are P(the second is better); {told}"


def _is_one_hot(counts: Mapping[str, int]) -> bool:
    """Whether every cell is a list that sums to 1: the place of a winner, or shares, and no list of raters."""
    cells = [items(key) for key in counts if key]
    lengths = {len(cell) if cell is not None else 0 for cell in cells}
    if len(lengths) != 1 or lengths & {0, 1}:
        return False
    shares = [[number(part) for part in cell or []] for cell in cells]
    return all(None not in each and abs(sum(n for n in each if n) - 1) < _SHARES_MISS for each in shares)


def refusal(left: Counter[str], place: str, prefix: str = "") -> str:
    """One line: which values have no certain meaning, how often they occur, and how to say what they mean."""
    listed = ", ".join(f"{excerpt(value, 40) or _MANY} ({n:,}×)" for value, n in left.most_common(6))
    more = f" and {len(left) - 6:,} more" if len(left) > 6 else ""
    return (
        f"{place}: what its values mean is not certain: {listed}{more}; say it with --first VALUES (the first is "
        f"better, of a pair image_0), --second VALUES, --tie VALUES and --unrated VALUES{_advice(list(left), prefix)}"
    )


def _unequal(left: Counter[str], place: str) -> str:
    listed = ", ".join(f"{excerpt(value, 40)} ({n:,}×)" for value, n in left.most_common(6))
    return (
        f"{place}: in each row the shares of the first, the second and a tie must sum to 1: {listed}; divide votes or "
        "percentages by their sum; several people's preferences go into one column as a list, such as [0, 1]"
    )


def _advice(values: Sequence[str], prefix: str) -> str:
    words = {word(value): value for value in values}
    if _is_one_hot(dict.fromkeys(words, 1)) and any(set(w) - set("01[],") for w in words):
        return "; if they are the shares of the first and the second, write the second's alone as a number"
    numbers = sorted(n for n in map(number, words) if n is not None)
    if any(DECIMAL_COMMA.fullmatch(w) for w in words):
        return "; write decimals with a point"
    if numbers and len(numbers) == len(words):
        whole = [int(n) for n in numbers if n == int(n)]
        if numbers[0] >= 0 and (numbers[-1] == 100 or (len(words) > 10 and 1 < numbers[-1] < 100)):
            return "; if they are percentages, divide them by 100"
        is_scale = len(whole) >= 3 and whole == numbers == list(range(whole[0], whole[-1] + 1))
        if is_scale and whole[0] in (1, -whole[-1]):
            half = len(whole) // 2
            low, high = (",".join(map(str, part)) for part in (whole[:half], whole[-half:]))
            tie = f"--tie {_told(prefix, str(whole[half]))} " if len(whole) % 2 else ""
            told = f"--first {_told(prefix, low)} {tie}--second {_told(prefix, high)}"
            return f", such as {told} where {whole[0]} means the first"
    if set(words) == {"true", "false"}:
        told = f"--first {_told(prefix, 'False')} --second {_told(prefix, 'True')}"
        return f", such as {told} where True means the second"
    if len(words) == 2 and all(excerpt(value, 200) == value for value in values):
        # A list sorts the other way round: the first one's 1 stands first.
        ordered = sorted(words, key=lambda w: (number(w) or 0, w), reverse=all(w.startswith("[") for w in words))
        first, second = (words[w] for w in ordered)
        told = f"--first {_told(prefix, one_value(first))} --second {_told(prefix, one_value(second))}"
        return f", such as {told} where {excerpt(first, 40)} means the first"
    return ""


def changed_over(cells: Iterable[Any], coding: Coding, column: str) -> str:
    """How to say that a column is the other way round, if `coding` reads every cell of it."""
    if coding.is_shares:
        return f"name the columns of {column} in the other order"
    meant: dict[float | None, set[str]] = {}
    for part in {p for cell in cells for p in map(word, items(cell) or [cell])}:
        meant.setdefault(coding.read(part)[0] if part else None, set()).add(part)
    if not {0.0, 1.0} <= meant.keys() <= {0.0, 0.5, 1.0, None}:
        return f"write 1 − p in place of each p of {column}"
    options = (("first", 1.0), ("second", 0.0), ("tie", 0.5), ("unrated", None))
    words = {name: sorted(map(one_value, meant.get(p, set()) - {""})) for name, p in options}
    told = " ".join(f"--{name} {_told(f'{column}=', ','.join(each))}" for name, each in words.items() if each)
    return f"if {column} is, say so with {told}"


def one_value(value: str) -> str:
    """A value as `codings.value_meanings` takes it for a single one."""
    return f'"{value}"' if "," in value and not value.strip().startswith("[") else value


def _told(prefix: str, values: str) -> str:
    return shlex.quote(f"{prefix}{values}")
