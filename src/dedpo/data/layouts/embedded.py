"""Tables whose images lie in them as bytes: Parquet, saved datasets, datasets on the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dedpo.data.importing import columns
from dedpo.data.importing.columns import ColumnOptions
from dedpo.data.importing.distinct_pairs import Pair
from dedpo.data.importing.row_reader import RowReader
from dedpo.data.layouts import parquet
from dedpo.data.layouts.source import Bytes, Rows, Source

# (number, published split, values) of the rows with these numbers, ascending; None: of all.
Read = Callable[[Sequence[str], Sequence[int] | None], Iterator[tuple[int, str, dict[str, Any]]]]


class ImageTable(NamedTuple):
    """A table that can be read by columns and rows.

    Attributes:
        place: what an error calls it.
        total: how many rows there will be, for the progress bar; 0: unknown.
        settings: what else decides the rows.
        wanted: the rows that are read at all; None: all.
        peek: the rows by which the preferences' coding is recognised; None: all that are wanted.
        notes: what a user should know of the source.
        classes: column → the names that its whole numbers stand for, as the `datasets` library's ClassLabel.
    """

    place: str
    name: str
    columns: Sequence[str]
    read: Read
    inputs: Mapping[str, Path]
    total: int
    settings: Mapping[str, Any] = {}
    wanted: Sequence[int] | None = None
    peek: Sequence[int] | None = None
    notes: Sequence[str] = ()
    classes: Mapping[str, Sequence[str]] = {}


def source(opened: ImageTable, layout: str, asked: ColumnOptions, seed: int) -> Source:
    """Its rows, whose images are bytes; a path or an address in it is never followed.

    Raises:
        UserError: a column is missing, or what the preferences mean is not certain.
    """
    if opened.classes:
        opened = opened._replace(read=partial(_named, opened.read, opened.classes))
    reading = columns.choose(opened.columns, asked.columns, opened.place, inside, seed)
    few = opened.read(reading.label_columns, opened.wanted if opened.peek is None else opened.peek)
    reading = reading.recognised((values for _, _, values in few), opened.place, asked.values)
    settings = {**opened.settings, **asked.settings}
    return Source(
        name=opened.name,
        layout=layout,
        inputs=opened.inputs,
        rows=partial(_rows, opened, reading),
        pictures=partial(_pictures, opened.read, reading),
        total=opened.total,
        settings=settings | ({"sides_seed": seed} if reading.is_drawn else {}),
        ignored_columns=[name for name in opened.columns if name not in reading.used],
        notes=opened.notes,
    )


def classes(features: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """The names of each column of ClassLabel, or of lists of it, in what `datasets.Features.to_dict` returns."""
    found: dict[str, Sequence[str]] = {}
    for column, feature in features.items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else None
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and isinstance(inner.get("names"), list):
            found[column] = [str(name) for name in inner["names"]]
    return found


def _named(
    read: Read, names: Mapping[str, Sequence[str]], columns: Sequence[str], numbers: Sequence[int] | None
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The same rows with names where numbers stand for them: what 0 and 1 mean is what they are called."""
    for number, part, values in read(columns, numbers):
        yield number, part, {c: _name(v, names[c]) if c in names else v for c, v in values.items()}


def _name(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_name(one, names) for one in value]
    # datasets writes −1 where there is no class.
    return None if value == -1 else names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def of_parquet(path: Path, files: Sequence[Path], wanted: Sequence[int] | None = None) -> ImageTable:
    """Parquet files as one table.

    Raises:
        UserError: a file is not whole, or lacks a column of the first one.
    """

    def read(columns: Sequence[str], numbers: Sequence[int] | None) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for number, file, values in parquet.stream(files, columns, numbers):
            yield number, parquet.part_of(file), values

    gaps = parquet.missing(files)
    return ImageTable(
        str(path),
        path.resolve().name,
        parquet.columns_of(files),
        read,
        {file.name: file for file in files},
        parquet.count(files) if wanted is None else len(wanted),
        wanted=wanted,
        classes=classes(parquet.features_of(files[0])),
        notes=[f"{len(gaps)} of the numbered Parquet files are not there, the first is {gaps[0]}"] if gaps else [],
    )


def inside(value: Any) -> bytes | None:
    """An image's bytes, also of the `datasets` library's Image convention."""
    found = value.get("bytes") if isinstance(value, dict) else value
    return found if isinstance(found, bytes) else None


def _rows(opened: ImageTable, reading: RowReader) -> Rows:
    for number, part, values in opened.read(reading.used, opened.wanted):
        yield from reading.rows(number, values, part)


def _pictures(read: Read, reading: RowReader, pairs: Iterable[Pair]) -> Bytes:
    for _, _, values in read(reading.images, [pair.number for pair in pairs]):
        yield reading.pictures(values)
