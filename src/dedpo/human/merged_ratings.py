"""People's merged answers on disk, one file of ratings a merge and round, named by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from dedpo.contract import tables
from dedpo.human.annotations import HumanAnswer
from dedpo.tabular.rejected import SetAside, cells, write_csv

# Which pairs are rated, and nothing of how.
RATED: Final = tables.Table("rated", ("pair_id",), pa.schema([pa.field("pair_id", pa.string(), nullable=False)]))


def rating_files(folder: Path) -> Iterator[tuple[Path, pa.Table]]:
    """Each file of merged ratings with its rows, in name order; none if the folder is not there."""
    for path in sorted(folder.glob("*.parquet")) if folder.is_dir() else []:
        yield path, tables.read(path, tables.RATINGS)


def read_ratings(path: Path) -> pa.Table:
    """A ratings table that may be empty.

    Raises:
        UserError: it is missing or wrong.
    """
    return tables.read(path, tables.RATINGS) if tables.count_rows(path) else tables.RATINGS.schema.empty_table()


def ratings_table(given: list[HumanAnswer]) -> pa.Table:
    """Rows of the ratings table, sorted by pair and rater."""
    rows = sorted(given, key=lambda a: (a.pair_id, a.rater))
    names = ("pair_id", "rater", "preference", "order_shown", "time")
    columns: dict[str, Any] = {name: [getattr(a, name) for a in rows] for name in names}
    columns["source"] = [f"label-studio:{a.round}" for a in rows]
    return pa.table(columns, schema=tables.RATINGS.schema)


def write_ratings(table: pa.Table, folder: Path, round_: str) -> Path:
    """Write a round's new ratings, named by their content, beside the earlier ones."""
    text = json.dumps(table.to_pylist(), sort_keys=True, default=str)
    path = folder / f"{round_}-{short_hash(text)}.parquet"
    tables.write(table, tables.RATINGS, path)
    return path


def withdraw(keys: Collection[tuple[str, str]], files: Iterable[Path]) -> list[dict[str, Any]]:
    """Take ratings out of files of merged ones; a file that changes is written anew, named by its content.

    Args:
        keys: (pair_id, rater).

    Returns:
        the rows that were taken out.
    """
    taken: list[dict[str, Any]] = []
    for path in files:
        rows = tables.read(path, tables.RATINGS).to_pylist()
        out = [row for row in rows if (row["pair_id"], row["rater"]) in keys]
        if not out:
            continue
        taken += out
        if left := [row for row in rows if (row["pair_id"], row["rater"]) not in keys]:
            round_ = path.name.rpartition("-")[0]
            write_ratings(pa.Table.from_pylist(left, schema=tables.RATINGS.schema), path.parent, round_)
        path.unlink()
    return taken


def write_set_aside(rows: list[SetAside], folder: Path) -> Path:
    """Write what was set aside as a CSV named by its content: the same export gives the same file."""
    lines = cells(rows)
    path = folder / f"set-aside-{short_hash(json.dumps(lines))}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(path, "annotation", lines)
    return path


def short_hash(text: str) -> str:
    """12 hex digits by which files are named."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
