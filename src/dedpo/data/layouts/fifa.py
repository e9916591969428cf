"""A filtered subset of Pick-a-Pic, such as FiFA's (Yang et al., ICLR 2025): an index beside its Parquet files.

The index lists rows of the training split, counted from 0 in the order of the published files, or ranking_ids:

- index.txt: a row number a line
- index.json: [row, …], {"index": [row, …]} or {"ranking_id": [id, …]}
- index.csv: with a column 'index' (row numbers) or 'ranking_id'
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

from dedpo.data.importing.columns import ColumnOptions
from dedpo.data.layouts import parquet, pickapic
from dedpo.data.layouts.source import Source
from dedpo.errors import UserError, excerpt

NAMES: Final = ("index.txt", "index.json", "index.csv")
KINDS: Final = ("index", "ranking_id")
# Files beside Parquet files that may say which rows are meant, and those that do not.
DATA: Final = (
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth", ".idx",
    ".list", ".feather", ".h5", ".hdf5", ".xlsx",
)  # fmt: skip
_OTHERS: Final = re.compile(
    r"\..*|(dataset_?infos?|state|manifest|croissant|summary)\.json|(readme|licen[cs]e|requirements|(sha\d*|md5|check)sums?)"
    r"\.txt",
    re.IGNORECASE,
)
_FORMS: Final = "it holds row numbers (.txt, .json, .csv) or ranking_ids (.json, .csv); see docs/data.md"


class RowIndex(NamedTuple):
    """`numbers` are rows ('index') or ranking_ids, in ascending order, none of them twice."""

    kind: str
    numbers: list[int]


def find_index(folder: Path) -> Path | None:
    """The index in a folder of Parquet files, or in its folder data/.

    Raises:
        UserError: there are several, or a file that may be one and is none that can be read: without it every row
            would be imported.
    """
    beside = [p for place in (folder, folder / "data") if place.is_dir() for p in sorted(place.iterdir())]
    likely = [p for p in beside if p.suffix.lower() in DATA and not _OTHERS.fullmatch(p.name) and p.is_file()]
    known = [p for p in likely if p.name in NAMES and p.parent == folder]
    if len(likely) > 1 and known:
        raise UserError(f"{likely[0]}: {likely[1].name} lies there as well; keep one index, or name it as the SOURCE")
    if likely and not known:
        raise UserError(
            f"{likely[0]}: it lies beside Parquet files and may be an index of their rows; name it as the SOURCE if it "
            f"is one ({_FORMS}), move it away if it is not, or import all rows with --layout pickapic or datasets"
        )
    return known[0] if known else None


def open_index(path: Path, asked: ColumnOptions | None = None) -> Source:
    """The rows of the Parquet files beside `path` (or in data/ beside it) that the index names.

    Raises:
        UserError: the index cannot be read or names a row twice, a Parquet file is missing or broken, or a row that is
            named is not there.
    """
    index = read_index(path)
    files = [f for f in parquet.files_of(path.parent) if parquet.part_of(f) in ("train", "")]
    if not files:
        raise UserError(f"{path.parent}: no Parquet file of the training split lies there; {path.name} needs them")
    gaps = parquet.missing(files)
    if gaps and index.kind == "index":
        raise UserError(
            f"{path.parent}: {gaps[0]} is missing ({len(gaps)} files are), so that row numbers in {path.name} would be "
            "wrong; download all of the training split, or use ranking_ids"
        )
    rows = index.numbers if index.kind == "index" else _rows_of(index.numbers, files, path)
    total = parquet.count(files)
    if rows and not 0 <= rows[0] <= rows[-1] < total:
        wrong = rows[0] if rows[0] < 0 else rows[-1]
        raise UserError(f"{path}: row {wrong} is not there: the Parquet files hold {total} rows; download all of them")
    found = pickapic.open_files(path.parent, asked, wanted=rows, files=files, layout="fifa")
    return found._replace(inputs={**found.inputs, path.name: path})


def read_index(path: Path) -> RowIndex:
    """Parse an index.

    Raises:
        UserError: it is no such file, or names a number twice.
    """
    readers = {".txt": _text, ".json": _json, ".csv": _csv}
    if path.suffix not in readers:
        raise UserError(f"{path}: not an index; {_FORMS}")
    try:
        kind, values = readers[path.suffix](path.read_text(encoding="utf-8-sig"))
        numbers = sorted(int(value) for value in values)
    except (ValueError, TypeError, KeyError, RecursionError, csv.Error) as error:
        raise UserError(f"{path}: not an index ({excerpt(str(error), 80)}); {_FORMS}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name an index beside Pick-a-Pic's Parquet files") from None
    if not numbers:
        raise UserError(f"{path}: the index is empty; {_FORMS}")
    number, times = Counter(numbers).most_common(1)[0]
    if times > 1:
        raise UserError(f"{path}: {kind} {number} is named {times} times; keep one of them")
    return RowIndex(kind, numbers)


def _text(text: str) -> tuple[str, list[Any]]:
    return "index", text.split()


def _json(text: str) -> tuple[str, list[Any]]:
    found = json.loads(text)
    kind = "index" if isinstance(found, list) else next((k for k in KINDS if k in found), "")
    if not kind:
        raise ValueError(f"neither a list nor {' or '.join(KINDS)}")
    values = found if isinstance(found, list) else found[kind]
    if any(isinstance(value, (bool, float)) for value in values):
        raise ValueError("a number is not whole")
    return kind, values


def _csv(text: str) -> tuple[str, list[Any]]:
    reader = csv.DictReader(text.splitlines(), strict=True)
    kind = next((k for k in KINDS if k in (reader.fieldnames or ())), None)
    if kind is None:
        raise ValueError(f"no column {' or '.join(KINDS)}")
    return kind, [line[kind] for line in reader]


def _rows_of(ids: list[int], files: list[Path], path: Path) -> list[int]:
    if "ranking_id" not in parquet.columns_of(files):
        raise UserError(f"{files[0]}: column 'ranking_id' is missing, which {path.name} needs; give row numbers")
    wanted, there, rows = set(ids), set(), []
    for number, _, values in parquet.stream(files, ["ranking_id"]):
        if values["ranking_id"] in wanted:
            there.add(values["ranking_id"])
            rows.append(number)
    if lost := wanted - there:
        raise UserError(
            f"{path}: ranking_id {min(lost)} is not in the Parquet files beside it ({len(lost)} are not); download all "
            "of the training split"
        )
    return rows
