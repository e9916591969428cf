"""Which columns of a table mean what: as a user says, else by their usual names."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from dedpo.data.importing.row_reader import SIDES, WINNERS, PictureIn, RowReader
from dedpo.errors import UserError, excerpt
from dedpo.tabular import codings

# What a column means → the names it is looked for under; '_file_name' may follow, as in an image folder's metadata.
MEANINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("prompt", "caption", "text"),
    "image_0": ("image_0", "jpg_0"),
    "image_1": ("image_1", "jpg_1"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "preference": ("preference", "label_0"),
    "rater": ("rater", "user_id"),
    "group": ("group",),
    "order_shown": ("order_shown",),
    "time": ("time",),
}
# One of several people's columns.
_NUMBERED: Final = re.compile(r"(rater|user|annotator|worker|person|human)_?(\d+)", re.IGNORECASE)
_ONE_HOT: Final = ("winner_model_a", "winner_model_b", "winner_tie")


class ColumnOptions(NamedTuple):
    """What a user says of a table: meaning → column (of a preference, several with commas between), and its values."""

    columns: Mapping[str, str] = {}
    values: codings.ValueMeanings = codings.ValueMeanings()

    @property
    def settings(self) -> dict[str, Any]:
        """For the manifest; empty if nothing was said."""
        sets = {name: sorted(getattr(self.values, name)) for name in ("first", "second", "tie", "unrated")}
        said = {name: words for name, words in sets.items() if words}
        return ({"columns": dict(self.columns)} if self.columns else {}) | ({"values": said} if said else {})


def is_pickapic(columns: Iterable[str]) -> bool:
    """Whether these are Pick-a-Pic's columns, images or not."""
    return {"caption", "label_0"} <= set(columns)


def choose(there: Sequence[str], asked: Mapping[str, str], place: str, picture: PictureIn, seed: int = 0) -> RowReader:
    """Which column holds what: as asked for, else under a usual name.

    Raises:
        UserError: a column that was asked for, or a required one, is not there, or two ways to say it collide.
    """
    columns = {meaning: _asked(meaning, name, there, place) for meaning, name in asked.items()}
    _check_winners(asked)
    taken = {name for names in columns.values() for name in names}
    for meaning, usual in MEANINGS.items():
        found = _usual(usual, there)
        if found in taken and meaning in ("rater", "group", "order_shown", "time"):
            continue  # a user has said what it is instead
        if found and meaning not in columns and not (meaning in WINNERS and not _winners_are_meant(asked, there)):
            columns[meaning] = (found,)
    if "preference" not in columns and set(_ONE_HOT[:2]) <= set(there):
        columns["preference"] = tuple(name for name in _ONE_HOT if name in there)
    if "chosen" in columns and "rejected" in columns:
        for name in (*SIDES, "preference", "order_shown"):
            columns.pop(name, None)
    else:
        columns = {name: column for name, column in columns.items() if name not in WINNERS}
    pickapic = is_pickapic(there)
    if pickapic and "created_at" in there and "created_at" not in taken:
        columns.setdefault("time", ("created_at",))
    for name in ("prompt", *(WINNERS if "chosen" in columns else SIDES)):
        if name not in columns:
            raise UserError(_missing(name, there, place))
    _check_once(columns, place)
    return RowReader(
        columns,
        picture,
        seed,
        is_inverted=_is_inverted(columns),
        has_label="has_label" if pickapic and "has_label" in there and "preference" in columns else None,
    )


def _is_inverted(columns: Mapping[str, tuple[str, ...]]) -> bool:
    """label_0 is P(image 0 preferred), label_1 P(image 1 preferred), on whichever side a user has put these images.

    Of several columns the second one holds P(the second is better).
    """
    label = columns.get("preference", ())[:2]
    if not label or not {*label} <= {"label_0", "label_1"} or "image_0" not in columns:
        return False
    images = [columns[side][0] for side in SIDES]
    return (label[-1] == "label_0") != (images in (["jpg_1", "jpg_0"], ["image_1", "image_0"]))


def _asked(meaning: str, name: str, there: Sequence[str], place: str) -> tuple[str, ...]:
    names = [name] if meaning != "preference" or name in there else [part.strip() for part in name.split(",")]
    found = [_usual((n,), there) for n in names]
    option = f"--{meaning.replace('_', '-')}"
    for n, column in zip(names, found, strict=True):
        if column is None:
            raise UserError(f"{option}: {place} has no column '{n}'; there are: {_listed(there)}")
    if len(names) > 3:
        raise UserError(f"{option}: {len(names)} columns; name one, or those of the first, the second and a tie")
    return tuple(n for n in found if n)


def _usual(names: Sequence[str], there: Sequence[str]) -> str | None:
    return next((c for name in names for c in (name, f"{name}_file_name") if c in there), None)


def _check_once(columns: Mapping[str, tuple[str, ...]], place: str) -> None:
    """Refuse a column that is to mean two things: no cell is an image and a choice at once."""
    meant: dict[str, str] = {}
    for meaning, names in columns.items():
        for name in set(names):
            both = (meant.setdefault(name, meaning), meaning)
            if both[0] != meaning:
                options = " and ".join(f"--{m.replace('_', '-')}" for m in both)
                raise UserError(
                    f"{place}: column '{name}' cannot be both {' and '.join(both)}; name them with {options}"
                )


def _check_winners(asked: Mapping[str, str]) -> None:
    given = [name for name in WINNERS if name in asked]
    if len(given) == 1:
        other = WINNERS[given[0] == "chosen"]
        raise UserError(f"--{given[0]}: name the column of the other image with --{other} as well")
    for name in (*SIDES, "preference") if given else ():
        if name in asked:
            raise UserError(f"--{name.replace('_', '-')}: --chosen and --rejected say it already; leave it out")


def _winners_are_meant(asked: Mapping[str, str], there: Sequence[str]) -> bool:
    """Columns called chosen and rejected count where nothing says otherwise."""
    sides = any(name in asked for name in (*SIDES, "preference")) or all(_usual(MEANINGS[s], there) for s in SIDES)
    return not sides and all(_usual((name,), there) for name in WINNERS)


def _missing(name: str, there: Sequence[str], place: str) -> str:
    option = f"--{name.replace('_', '-')}"
    if {"file_name"} <= set(there) and name in SIDES:
        return (
            f"{place}: one image a row ('file_name') is no pair; a row names two, image_0_file_name and "
            "image_1_file_name or chosen_file_name and rejected_file_name"
        )
    if is_pickapic(there) and name in SIDES:
        return (
            f"{place}: column 'jpg_{name[-1]}' is missing; this is the edition without images; take "
            "yuvalkirstain/pickapic_v2"
        )
    if {"path1", "path2"} <= set(there) and name in SIDES:
        return f"{place}: add --chosen path1 --rejected path2 if path1 is the preferred image, as in HPDv3"
    also = ", or the better and the worse image with --chosen and --rejected" if name in SIDES else ""
    return f"{place}: column '{name}' is missing; name it with {option}{also}; there are: {_listed(there)}"


def _listed(names: Sequence[str]) -> str:
    return excerpt(", ".join(names), 300)


def refuse_misspelled(ignored: Sequence[str], reading: RowReader, place: str) -> None:
    """Refuse a column that is nearly called like one that is not there: it would drop every rating in silence.

    Raises:
        UserError: it names both.
    """
    absent = [name for name in MEANINGS if name not in reading.columns and not (reading.is_drawn and name in SIDES)]
    # One of chosen and rejected alone says nothing.
    absent = [name for name in absent if name not in WINNERS or WINNERS[name == "chosen"] in ignored]
    people = [name for name in ignored if _NUMBERED.fullmatch(name)]
    if len(people) > 1 and not reading.is_drawn and "preference" not in reading.columns:
        raise UserError(
            f"{place}: columns {_listed(people)}: if they hold what several people chose, write it as a list in one "
            "column 'preference', such as [0, 1]; else rename or remove them"
        )
    for name in ignored:
        if close := difflib.get_close_matches(name.lower(), absent, n=1, cutoff=0.75):
            told = (
                f"add --{close[0]} {shlex.quote(name)}, or rename" if close[0] in ("preference", "rater") else "rename"
            )
            raise UserError(
                f"{place}: unknown column '{name}'; did you mean '{close[0]}'? If so {told} it; else remove it"
            )
