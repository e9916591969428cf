"""Tables as text from anywhere: commas, semicolons, tabs or bars, as UTF-8 or as Excel's UTF-16."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from dedpo.errors import UserError, excerpt

DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Tables that are no text.
OTHERS: Final = dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet; save it as 'CSV UTF-8' and name that file")
_BEGINNINGS: Final = {
    b"PK\x03\x04": "a spreadsheet or an archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"PAR1": "Parquet",
    b"[": "JSON",
    b"{": "JSON",
}
_LONGEST_FIELD: Final = 2**24  # characters
# What Excel is told, and writes, of the delimiter.
_TOLD: Final = re.compile(r"\"?sep=(.)\"?\s*")


class SheetRow(NamedTuple):
    """One record that is not blank; `row` counts as a spreadsheet does, `line` is the text's line where it ends."""

    row: int
    line: int
    cells: list[str]


def records(path: Path, known: Collection[str] = ()) -> Iterator[SheetRow]:
    """The header and then every other record.

    Args:
        known: names that columns may have; the delimiter is the one that shows most of them, else most columns.

    Raises:
        UserError: no such file, neither UTF-8 nor marked as UTF-16, broken quoting, or nothing but blank lines.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    row, found = 0, False
    try:
        with path.open(encoding=_encoding(path), newline="") as file:
            head = file.readline()
            told = _TOLD.fullmatch(head)
            while head and not told and not head.strip():
                head = file.readline()
            if not head.strip():
                raise UserError(f"{path}: the file is empty; its first row names the columns")
            if "\0" in head:
                raise UserError(f"{path}: not UTF-8 text; save it again as 'CSV UTF-8'")
            delimiter = told[1] if told else _delimiter(head, known)
            if not told:
                file.seek(0)
            # strict: otherwise an unclosed quote swallows the rest of the file without a word.
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for row, cells in enumerate(reader, start=2 if told else 1):
                if any(cell.strip() for cell in cells):
                    found = True
                    yield SheetRow(row, reader.line_num, cells)
    except UnicodeError:
        raise UserError(f"{path}: not UTF-8 text (after row {row}); save it again as 'CSV UTF-8'") from None
    except csv.Error as error:
        raise UserError(
            f"{path}: row {row + 1} or below: {error}; put text with {DELIMITERS.get(delimiter, repr(delimiter))}, "
            'quotes or line breaks in double quotes and write a quote inside as ""'
        ) from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a CSV with a header") from None
    if not found:
        raise UserError(f"{path}: the file is empty; its first row names the columns")


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        begin = file.read(4)
    if kind := next((kind for mark, kind in _BEGINNINGS.items() if begin.startswith(mark)), None):
        raise UserError(f"{path}: {kind}; write it as a CSV with a header")
    return next((name for mark, name in _MARKS if begin.startswith(mark)), "utf-8")


def _delimiter(head: str, known: Collection[str]) -> str:
    def shows(delimiter: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
        return len(set(names) & set(known)), len(names)

    return max(DELIMITERS, key=shows)


def header(record: SheetRow, path: Path) -> list[str]:
    """The names of the columns.

    Raises:
        UserError: a name stands over two columns; without a name, as spreadsheets leave empty ones, they may be many.
    """
    names = [cell.strip() for cell in record.cells]
    for name in names:
        if name and names.count(name) > 1:
            raise UserError(f"{path}: column '{excerpt(name, 60)}' occurs twice; keep one of them")
    return names
