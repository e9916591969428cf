"""From a table's rows, whose columns are known, to pairs and opinions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dedpo.data.importing.rows import DEFAULT_RATER, Picture, Row, typed
from dedpo.errors import UserError, excerpt
from dedpo.tabular import codings, recognition
from dedpo.tabular.rejected import SetAside

SIDES: Final = ("image_0", "image_1")
WINNERS: Final = ("chosen", "rejected")
# Reasons of rows whose preference has no meaning: a slip here and there, or a coding that nobody said.
UNREAD: Final = ("preference is not a number", "preference outside [0, 1]", "preference has no meaning")

# A picture of a cell: its bytes, its path, or None where there is none.
PictureIn = Callable[[Any], Picture | None]


@dataclass(frozen=True)
class RowReader:
    """How the rows of one table are read.

    Attributes:
        columns: meaning → column; the preference has several where shares are spread over them.
        coding: what the preference's values mean; `recognised` finds it out.
        is_inverted: the preference column is about image 0, such as Pick-a-Pic's label_0.
        has_label: the column that is False where nobody chose.
        seed: of the sides on which chosen and rejected images come.
        picture: what a cell holds of an image.
    """

    columns: Mapping[str, tuple[str, ...]]
    picture: PictureIn
    seed: int = 0
    coding: codings.Coding = codings.NUMBERS
    is_inverted: bool = False
    has_label: str | None = None

    @property
    def used(self) -> list[str]:
        """Every column that is read, once."""
        names = [name for names in self.columns.values() for name in names]
        return list(dict.fromkeys([*names, *([self.has_label] if self.has_label else [])]))

    @property
    def images(self) -> list[str]:
        """The two columns that hold images."""
        return [self.columns[side][0] for side in (WINNERS if self.is_drawn else SIDES)]

    @property
    def is_drawn(self) -> bool:
        """Whether the columns say which image is better, so that a seed draws their sides."""
        return "chosen" in self.columns

    @property
    def label_columns(self) -> list[str]:
        """What `recognised` wants to see; empty if there is no preference."""
        names = [*self.columns.get("preference", ()), *self.columns.get("order_shown", ())]
        return [*names, *([self.has_label] if self.has_label else [])] if "preference" in self.columns else []

    def recognised(self, rows: Iterable[Mapping[str, Any]], place: str, what: codings.ValueMeanings) -> RowReader:
        """With the coding of the preferences in `rows`, which have the `label_columns` at least.

        Raises:
            UserError: what the values mean is not certain, or said of no column.
        """
        if "preference" not in self.columns:
            if what != codings.ValueMeanings():
                right = "chosen and rejected say it" if self.is_drawn else "name the column with --preference"
                raise UserError(f"--first, --second, --tie, --unrated: {place} has no preference; {right}")
            return self
        names = self.columns["preference"]
        where = f"{place}: column '{', '.join(names)}'"
        turned = False

        def cells() -> Iterable[Any]:
            nonlocal turned
            for values in rows:
                turned = turned or any(codings.word(values.get(n)) == "10" for n in self.columns.get("order_shown", ()))
                yield self._label(values)

        shown = self.images if len(names) == 1 and not self.is_drawn else ("", "")
        coding = recognition.recognise(
            cells(), where, what, names=(shown[0], shown[1]), is_shares=len(names) > 1, column=",".join(names)
        )
        if coding.is_positional and turned:
            raise UserError(
                f"{where}: in rows whose order_shown is 10, left may be image_1 or image_0; say with --first and "
                "--second which values mean image_0 and which image_1; if they mean the place on the screen, change "
                "them over in these rows first"
            )
        # What a user says of label_0's values, and words, are about the pair and no longer about image 0.
        return replace(self, coding=coding, is_inverted=self.is_inverted and (coding.is_numeric or coding.is_shares))

    def rows(self, number: int, values: Mapping[str, Any], part: str = "") -> list[Row | SetAside]:
        """One row for each rater; a single one if nobody rated the pair."""
        cells = {name: values.get(names[0]) for name, names in self.columns.items()}
        if self.is_drawn:
            first, second = (self.picture(cells.pop(name)) for name in WINNERS)
            is_swapped = drawn(self.seed, first, second)
            cells |= {"image_0": second, "image_1": first} if is_swapped else {"image_0": first, "image_1": second}
            opinions: list[float | None] = [float(is_swapped)]
        else:
            cells |= {side: self.picture(cells[side]) for side in SIDES}
            try:
                opinions = self.coding.read(self._label(values)) if "preference" in self.columns else [None]
            except codings.UnreadError as error:
                return [SetAside(number, self._reason(error.value), error.value, excerpt(str(cells["prompt"] or "")))]
        if self.is_inverted:
            opinions = [p if p is None else 1 - p for p in opinions]
        opinions = opinions or [None]
        raters = self._raters(cells.pop("rater", None), len(opinions), self._is_list(cells.get("preference"), opinions))
        if raters is None:
            detail = f"{len(opinions)} preferences"
            return [SetAside(number, "not one rater a preference", detail, excerpt(str(cells["prompt"] or "")))]
        if self.has_label and opinions == [None]:
            cells["time"] = None
        both = list(zip(opinions, raters, strict=True))
        cells.pop("preference", None)
        rated = [(p, rater) for p, rater in both if p is not None] or both[:1]
        return [typed(number, **cells, preference=p, rater=rater, part=part) for p, rater in rated]

    def pictures(self, values: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The image files of a row, image_0's first; empty bytes for what is not there."""
        first, second = (self.picture(values.get(name)) for name in self.images)
        if self.is_drawn and drawn(self.seed, first, second):
            first, second = second, first
        return (first if isinstance(first, bytes) else b"", second if isinstance(second, bytes) else b"")

    def _label(self, values: Mapping[str, Any]) -> Any:
        if self.has_label and codings.word(values.get(self.has_label)) in ("false", "0"):
            return None
        names = self.columns["preference"]
        if len(names) > 1:
            return [values.get(name) for name in names]
        cell = values.get(names[0])
        # The path of one of the row's own images, or the end of it, means that image's column.
        named = [] if self.is_drawn or not cell else [n for n in self.images if _is_path_of(cell, values.get(n))]
        return named[0] if len(named) == 1 else cell

    def _reason(self, value: str) -> str:
        if not self.coding.is_numeric:
            return UNREAD[2]
        return UNREAD[1] if codings.word(value).strip("+-").replace(".", "", 1).isdigit() else UNREAD[0]

    def _is_list(self, cell: Any, opinions: Sequence[Any]) -> bool:
        if len(opinions) > 1 or codings.items(cell) is None:
            return len(opinions) > 1
        return not self.coding.is_shares and not self.coding.means(codings.word(cell))

    @staticmethod
    def _raters(cell: Any, n: int, is_list: bool) -> Sequence[Any] | None:
        """Who gave the n preferences of a row: a list as long as theirs, else one name with places in the list."""
        parts = codings.items(cell)
        if parts is not None and is_list:
            # Nobody answered: Argilla's lists are empty then.
            return parts or [None] if len(parts or [None]) == n else None
        name = str(cell).strip() if isinstance(cell, str) or codings.word(cell) else ""
        return [f"{name or DEFAULT_RATER} {i + 1}" for i in range(n)] if is_list else [name]


def _is_path_of(cell: Any, image: Any) -> bool:
    return isinstance(cell, str) and isinstance(image, str) and f"/{image.strip()}".endswith(f"/{cell.strip()}")


def drawn(seed: int, chosen: Picture | None, rejected: Picture | None) -> bool:
    """Whether the chosen image is image_1: a fair coin of the seed and of these two images, in either order."""
    if chosen is None or rejected is None or chosen == rejected:
        return False
    both = (p if isinstance(p, bytes) else p.encode(errors="replace") for p in (chosen, rejected))
    names = [hashlib.sha256(p).digest() for p in both]
    coin = hashlib.sha256(b"sides %d " % seed + min(names) + max(names)).digest()[0] & 1
    return (names[0] < names[1]) == bool(coin)
