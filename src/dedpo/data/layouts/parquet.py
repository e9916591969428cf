"""Parquet files as a stream of rows: a few at a time, and only the columns and the row groups that are needed."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from dedpo.errors import UserError

# Rows in memory at a time; with images of a megabyte, 32 MB. Of columns that hold none, more.
ROWS: Final = 16
_LIGHT_ROWS: Final = 4096
# Of a column chunk, which is otherwise read as a whole. What decides the memory is then the size of the file's pages.
_BUFFER: Final = 2**20
_NUMBERED: Final = re.compile(r"^(?P<stem>.*-)(?P<number>\d{5})-of-(?P<total>\d{5})")


def files_of(source: Path) -> list[Path]:
    """`source` itself, or the Parquet files in that folder or in its folder data/, in name order."""
    if source.is_file():
        return [source]
    return sorted(source.glob("*.parquet")) or sorted(source.glob("data/*.parquet"))


def open_file(path: Path) -> pq.ParquetFile:
    """Open one file, of which only the footer is read.

    Raises:
        UserError: it is not a whole Parquet file.
    """
    try:
        return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a whole Parquet file ({_line(error)}); download it again") from None


def columns_of(files: Sequence[Path]) -> list[str]:
    """The columns that all files have, in the first one's order.

    Raises:
        UserError: a file is not a whole Parquet file, or lacks a column of the first one.
    """
    columns: list[str] = []
    for path in files:
        with open_file(path) as file:
            there = file.schema_arrow.names
        columns = columns or there
        for name in columns:
            if name not in there:
                raise UserError(f"{path}: column '{name}' is missing, which {files[0].name} has; download it again")
    return columns


def features_of(path: Path) -> dict[str, Any]:
    """The `datasets` library's description of the columns, as a dictionary; empty if it did not write the file."""
    with open_file(path) as file:
        told = (file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        found = json.loads(told)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def count(files: Sequence[Path]) -> int:
    """Rows of all files, from their footers alone."""
    return sum(open_file(path).metadata.num_rows for path in files)


def part_of(path: Path) -> str:
    """The published split that a file's name begins with, such as 'train' of train-00000-of-00646.parquet, or ''."""
    name = re.match(r"(train|validation|val|test)(_[a-z]+)?(?=[-_.])", path.name)
    return name.group(0) if name else ""


def missing(files: Sequence[Path]) -> list[str]:
    """Names, up to their hash, of numbered shards (train-00002-of-00646) that are not among the files."""
    there: dict[tuple[str, int], set[int]] = {}
    for path in files:
        if found := _NUMBERED.match(path.name):
            there.setdefault((found["stem"], int(found["total"])), set()).add(int(found["number"]))
    return [
        f"{stem}{number:05d}-of-{total:05d}"
        for (stem, total), numbers in there.items()
        for number in range(total)
        if number not in numbers
    ]


def stream(
    files: Sequence[Path], columns: Sequence[str], wanted: Sequence[int] | None = None
) -> Iterator[tuple[int, Path, dict[str, Any]]]:
    """(number of the row, its file, its values), rows being counted from 0 over all files.

    Args:
        wanted: numbers, ascending, of the rows to read; None: all. Row groups without one are skipped.

    Raises:
        UserError: a file is broken.
    """
    begin = 0
    for path in files:
        with open_file(path) as file:
            try:
                for group in range(file.metadata.num_row_groups):
                    end = begin + file.metadata.row_group(group).num_rows
                    rows = None if wanted is None else wanted[bisect_left(wanted, begin) : bisect_left(wanted, end)]
                    if rows is None or len(rows):
                        for number, values in _group(file, group, columns, begin, rows):
                            yield number, path, values
                    begin = end
            except (pa.ArrowInvalid, OSError) as error:
                raise UserError(
                    f"{path}: broken in the rows from {begin} on ({_line(error)}); download it again"
                ) from None


def _group(
    file: pq.ParquetFile, group: int, columns: Sequence[str], begin: int, wanted: Sequence[int] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    kinds = [file.schema_arrow.field(name).type for name in columns]
    is_heavy = any(pa.types.is_binary(k) or pa.types.is_large_binary(k) or pa.types.is_nested(k) for k in kinds)
    for batch in file.iter_batches(ROWS if is_heavy else _LIGHT_ROWS, row_groups=[group], columns=list(columns)):
        end = begin + batch.num_rows
        if wanted is None:
            yield from zip(range(begin, end), _rows(batch), strict=True)
        elif numbers := wanted[bisect_left(wanted, begin) : bisect_left(wanted, end)]:
            few = batch.take(pa.array([n - begin for n in numbers], pa.int64()))
            yield from zip(numbers, _rows(few), strict=True)
        begin = end


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    # Python's time knows no nanoseconds.
    exact = [
        column.cast(pa.timestamp("us", column.type.tz), safe=False) if pa.types.is_timestamp(column.type) else column
        for column in batch.columns
    ]
    rows: list[dict[str, Any]] = pa.RecordBatch.from_arrays(exact, names=batch.schema.names).to_pylist()
    return rows


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
