"""What every layout is turned into: rows in file order, and the bytes of the images that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dedpo.data.importing.distinct_pairs import Pair
from dedpo.data.importing.rows import Row
from dedpo.tabular.rejected import SetAside

Rows = Iterator[Row | SetAside]
Bytes = Iterator[tuple[bytes, bytes]]


class Source(NamedTuple):
    """Something that can be imported.

    Attributes:
        name: what the tables' column 'source' says.
        layout: one of `layouts.LAYOUTS`.
        inputs: the files whose hashes the manifest records. Images beside them are pinned by the pairs' ids.
        rows: reads the source from its beginning; in file order, so that what is appended comes last.
        pictures: the two image files of some of its pairs, which are given in file order.
        total: how many rows there will be, for the progress bar; 0: unknown.
        done: how far the rows have been read, where `total` counts something else.
        settings: what else decides the rows.
        folder: to which images given as paths are relative; None: images are given as bytes.
        ignored_columns: those that mean nothing here.
        notes: what a user should know of the source, in sentences.
    """

    name: str
    layout: str
    inputs: Mapping[str, Path]
    rows: Callable[[], Rows]
    pictures: Callable[[Iterable[Pair]], Bytes]
    total: int
    done: Callable[[], int] | None = None
    settings: Mapping[str, Any] = {}
    folder: Path | None = None
    ignored_columns: Sequence[str] = ()
    notes: Sequence[str] = ()
