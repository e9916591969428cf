"""pairs.csv as typed rows: what a line says, before any image is looked at."""

from __future__ import annotations

import csv
import difflib
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from dedpo.errors import UserError

REQUIRED: Final = ("prompt", "image_0", "image_1")
OPTIONAL: Final = ("preference", "rater", "group", "order_shown", "time")
DEFAULT_RATER: Final = "human"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of pairs.csv.

    Attributes:
        number: as a spreadsheet counts: the header is row 1.
        image_0, image_1: paths as written, relative to the CSV's folder.
        preference: P(image_1 preferred over image_0) in [0, 1]; None: unrated.
        order_shown: '01' or '10', the order in which the rater saw the images; None: unknown.
        time: when, in UTC; None: unknown.
    """

    number: int
    prompt: str
    image_0: str
    image_1: str
    preference: float | None
    rater: str
    group: str
    order_shown: str | None
    time: datetime | None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A line that is not used: where, why (a short category), the offending value, and its prompt."""

    number: int
    reason: str
    detail: str
    prompt: str


@dataclass(frozen=True)
class Sheet:
    """A parsed pairs.csv: usable rows, refused ones, and the columns that mean nothing here."""

    rows: list[Row]
    set_aside: list[SetAside]
    ignored_columns: list[str]


class _RefusedError(ValueError):
    """A value that sets its row aside."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def read_sheet(path: Path) -> Sheet:
    """Parse pairs.csv; a bad value sets its row aside.

    Raises:
        UserError: no such file, not UTF-8, another delimiter, broken quoting, no row, or a column is missing,
            doubled or misspelled.
    """
    number = 0
    sheet: Sheet | None = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            _refuse_other_delimiter(file, path)
            # strict: otherwise an unclosed quote swallows the rest of the file without a word.
            for number, fields in enumerate(csv.reader(file, strict=True), start=1):
                if not any(field.strip() for field in fields):
                    continue
                if sheet is None:
                    header = [name.strip() for name in fields]
                    sheet = Sheet([], [], _check_header(header, path))
                else:
                    _add(sheet, number, header, fields)
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text (after row {number}); save it again as 'CSV UTF-8'") from None
    except csv.Error as error:
        raise UserError(
            f"{path}: row {number + 1} or below: {error}; put text with commas, quotes or line breaks in "
            'double quotes and write a quote inside as ""'
        ) from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a folder that holds a pairs.csv") from None
    if sheet is None:
        raise UserError(f"{path}: the file is empty; it needs the columns {', '.join(REQUIRED)}")
    if not sheet.rows and not sheet.set_aside:
        raise UserError(f"{path}: there is no row below the header; write one row a pair")
    return sheet


def _refuse_other_delimiter(file: TextIO, path: Path) -> None:
    line = file.readline().rstrip("\r\n")
    file.seek(0)
    for delimiter, name in ((";", "';'"), ("\t", "tabs")):
        names = {field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])}
        if names.issuperset(REQUIRED):
            raise UserError(f"{path}: the columns are separated by {name}; save it again separated by commas")


def _check_header(header: list[str], path: Path) -> list[str]:
    """Return the columns that are ignored; refuse a header that cannot be meant."""
    known = REQUIRED + OPTIONAL
    for name in REQUIRED:
        if name not in header:
            raise UserError(f"{path}: column '{name}' is missing; there are: {', '.join(header)}")
    for name in header:
        if header.count(name) > 1:
            raise UserError(f"{path}: column '{name}' occurs twice; keep one of them")
    ignored = [name for name in header if name not in known]
    for name in ignored:
        # A misspelled optional column would drop every rating in silence.
        close = difflib.get_close_matches(name.lower(), [k for k in known if k not in header], n=1, cutoff=0.75)
        if close:
            raise UserError(f"{path}: unknown column '{name}'; did you mean '{close[0]}'? Rename or remove it")
    return ignored


def _add(sheet: Sheet, number: int, header: list[str], fields: list[str]) -> None:
    named = dict(zip(header, fields, strict=False))
    try:
        if len(fields) != len(header):
            raise _RefusedError("wrong number of fields", f"{len(fields)} where the header has {len(header)}")
        sheet.rows.append(_parse(number, named))
    except _RefusedError as refused:
        sheet.set_aside.append(SetAside(number, refused.reason, refused.detail, named.get("prompt", "")))


def _parse(number: int, named: dict[str, str]) -> Row:
    text = {name: named.get(name, "").strip() for name in REQUIRED + OPTIONAL}
    if not text["prompt"]:
        raise _RefusedError("empty prompt")
    return Row(
        number=number,
        prompt=text["prompt"],
        image_0=text["image_0"],
        image_1=text["image_1"],
        preference=_preference(text["preference"]) if text["preference"] else None,
        rater=text["rater"] or DEFAULT_RATER,
        group=text["group"] or text["prompt"],
        order_shown=_order(text["order_shown"]) if text["order_shown"] else None,
        time=_time(text["time"]) if text["time"] else None,
    )


def _preference(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _RefusedError("preference is not a number", text) from None
    if math.isnan(value):
        raise _RefusedError("preference is not a number", text)
    if not 0 <= value <= 1:
        raise _RefusedError("preference outside [0, 1]", text)
    return value


def _order(text: str) -> str:
    # Spreadsheets turn 01 into 1.
    order = {"1": "01"}.get(text, text)
    if order not in ("01", "10"):
        raise _RefusedError("order_shown is neither 01 nor 10", text)
    return order


def _time(text: str) -> datetime:
    """The instant in UTC; a time without a zone is taken as UTC."""
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _RefusedError("time is not ISO 8601", text) from None
