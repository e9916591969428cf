"""A table whose rows name image files: pairs.csv, an image folder's metadata, or a CSV or JSON file of any name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from dedpo.data.importing import columns, distinct_pairs
from dedpo.data.importing.columns import MEANINGS, ColumnOptions
from dedpo.data.importing.distinct_pairs import Pair
from dedpo.data.importing.row_reader import RowReader
from dedpo.data.importing.rows import Picture
from dedpo.data.layouts.json_list import entries
from dedpo.data.layouts.source import Bytes, Rows, Source
from dedpo.errors import UserError, excerpt
from dedpo.tabular import sheets
from dedpo.tabular.rejected import SetAside

SHEET: Final = "pairs.csv"
METADATA: Final = ("metadata.csv", "metadata.jsonl")
TEXT: Final = (".csv", ".tsv", ".tab")
LINES: Final = (".jsonl", ".ndjson")
TABLES: Final = (*TEXT, *LINES, ".json")
PARTS: Final = ("train", "validation", "val", "valid", "dev", "test")
_KNOWN: Final = frozenset(name for names in MEANINGS.values() for name in names) | {"file_name"}


class TableFile(NamedTuple):
    """One file of rows, and the folder below the source's from which its paths count."""

    path: Path
    below: str = ""

    @property
    def part(self) -> str:
        """The published split that its folder is called after, or ''."""
        first = self.below.split("/")[0]
        return first if first in PARTS else ""


def find_tables(source: Path) -> list[TableFile]:
    """The tables that a file or folder means; empty if it has none.

    Raises:
        UserError: two files of metadata lie in one folder.
    """
    if source.is_file():
        return [TableFile(source)] if source.suffix.lower() in TABLES else []
    if (source / SHEET).is_file():
        return [TableFile(source / SHEET)]
    found = []
    # As `datasets` has it, the splits are folders, each with its own metadata.
    for place in (source, *(p for p in sorted(source.iterdir()) if p.is_dir() and not p.name.startswith("."))):
        there = [place / name for name in METADATA if (place / name).is_file()]
        if len(there) > 1:
            raise UserError(f"{there[0]}: {there[1].name} lies there as well; keep one of them")
        found += [TableFile(path, "" if place == source else place.name) for path in there]
    return found


def open_folder(source: Path, asked: ColumnOptions | None = None, seed: int = 0) -> Source:
    """The pairs in a folder's pairs.csv or metadata, or in a file of that kind.

    Columns: prompt, image_0, image_1 (paths relative to the table's folder), or chosen and rejected instead, and, where
    known, preference (P(image_1 preferred over image_0) in [0, 1] or a coding that `codings` knows; empty: unrated),
    rater, group (default: the prompt), order_shown ('01' or '10') and time (ISO 8601).

    Raises:
        UserError: there is no such file, it cannot be read, has no row, lacks a column or has one that is misspelled,
            or what the preferences mean is not certain.
    """
    asked = asked or ColumnOptions()
    found = find_tables(source)
    if not found:
        raise UserError(
            f"{source}: neither {SHEET} nor {' or '.join(METADATA)} lies there; name a folder that holds one"
        )
    folder = (source if source.is_dir() else source.parent).resolve()
    place = str(found[0].path)
    names: dict[str, None] = {}
    total = 0
    for table in found:
        before = total
        for _, values in _records(table):
            names |= dict.fromkeys(values if isinstance(values, dict) else _header(table.path))
            total += 1
        if total == before:
            raise UserError(f"{table.path}: there is no row below the header; write one row a pair")
    there = list(names)
    reading = columns.choose(there, asked.columns, place, path_in, seed)
    cells = (v for t in found for _, v in _records(t) if isinstance(v, dict))
    reading = reading.recognised(cells, place, asked.values)
    ignored = [name for name in there if name and name not in reading.used]
    columns.refuse_misspelled(ignored, reading, place)
    return Source(
        name=folder.name if found[0].path.name in (SHEET, *METADATA) else found[0].path.stem,
        layout="folder",
        # The tables alone are hashed: pair ids pin the images, and the folder may hold much else.
        inputs={_input(table): table.path for table in found},
        rows=partial(_rows, found, reading),
        pictures=partial(read_files, folder),
        total=total,
        settings=asked.settings | ({"sides_seed": seed} if reading.is_drawn else {}),
        folder=folder,
        ignored_columns=ignored,
    )


def _input(table: TableFile) -> str:
    return "pairs_csv" if table.path.name == SHEET else f"{table.below}/{table.path.name}".lstrip("/")


def path_in(value: Any) -> Picture | None:
    """A path as text; None for anything else."""
    return value.strip() or None if isinstance(value, str) else None


def read_files(folder: Path, pairs: Iterable[Pair]) -> Bytes:
    """The files that the pairs name; empty bytes for one that is no longer there."""
    for pair in pairs:
        yield _read(folder, pair.image_0), _read(folder, pair.image_1)


def _read(folder: Path, name: str) -> bytes:
    path = distinct_pairs.locate(folder, name)
    return path.read_bytes() if isinstance(path, Path) else b""


def _rows(tables: Iterable[TableFile], reading: RowReader) -> Rows:
    for table in tables:
        for number, values in _records(table):
            if isinstance(values, SetAside):
                yield values
            else:
                below = {
                    n: f"{table.below}/{values[n]}" for n in reading.images if table.below and path_in(values.get(n))
                }
                yield from reading.rows(number, values | below, table.part)


def _records(table: TableFile) -> Iterator[tuple[int, dict[str, Any] | SetAside]]:
    """Rows as column → value: of a CSV counted as a spreadsheet does, of JSON from 0; a row that is none is set aside.

    Raises:
        UserError: the file cannot be read.
    """
    suffix = table.path.suffix.lower()
    if suffix in TEXT:
        yield from _text_records(table.path)
        return
    for number, entry in enumerate(entries(table.path) if suffix == ".json" else _lines(table.path)):
        if not isinstance(entry, dict):
            raise UserError(f"{table.path}: entry {number} is no object with columns; write one a pair")
        names = entry.get("file_names")
        if isinstance(names, list) and len(names) == 2:
            entry = {"image_0": names[0], "image_1": names[1]} | entry
        yield number, entry


def _header(path: Path) -> list[str]:
    return sheets.header(next(sheets.records(path, _KNOWN)), path)


def _text_records(path: Path) -> Iterator[tuple[int, dict[str, Any] | SetAside]]:
    lines = sheets.records(path, _KNOWN)
    header = sheets.header(next(lines), path)
    for number, _, cells in lines:
        named = dict(zip(header, cells, strict=False))
        if len(cells) != len(header):
            detail = f"{len(cells)} where the header has {len(header)}"
            yield number, SetAside(number, "wrong number of fields", detail, named.get("prompt", ""))
        else:
            yield number, named


def _lines(path: Path) -> Iterator[Any]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except (ValueError, RecursionError) as error:
                        raise UserError(
                            f"{path}: line {number} is no JSON ({excerpt(str(error), 80)}); write one object a line"
                        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it again as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name another file") from None
