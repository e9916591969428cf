"""Preferences computed elsewhere: a CSV or Parquet, a row a pair, in whichever coding the values are certain.

A row says which pair it is about by its pair_id, or by the prompt and the two image files in either order.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from dedpo.contract import tables
from dedpo.contract.pair_names import image_name, pair_id
from dedpo.contract.sections import AnnotatorConfig
from dedpo.errors import UserError, excerpt
from dedpo.label.table import Asked, plain
from dedpo.tabular import codings, recognition, rejected, sheets
from dedpo.tabular.rejected import RefusedError, SetAside
from dedpo.terminal import note

LACKING: Final = "the file has no preference for it"
# Where no column is named: a meaning and what it is usually called.
USUAL: Final = {
    "pair_id": ("pair_id",),
    "prompt": ("prompt", "caption"),
    "image_0": ("image_0", "jpg_0"),
    "image_1": ("image_1", "jpg_1"),
}
_BY_IMAGES: Final = ("prompt", "image_0", "image_1")
_ROWS: Final = 256


@dataclass(frozen=True)
class _Sheet:
    """A table's rows: their numbers and the cells of the columns that are read, by column."""

    path: Path
    columns: Mapping[str, str]
    preference: tuple[str, ...]
    numbers: list[int]
    cells: Mapping[str, list[Any]]

    def coding(self, config: AnnotatorConfig) -> codings.Coding:
        """What the preferences' values mean; refuses what is not certain."""
        name = ",".join(self.preference)
        shown = tuple(self.columns.get(side, "") for side in ("image_0", "image_1"))
        said = codings.value_meanings({meaning: [values] for meaning, values in config.values.items()})
        try:
            found = recognition.recognise(
                self.labels(),
                f"{self.path}: column '{name}'",
                said.get(""),
                names=(shown[0], shown[1]),
                is_shares=len(self.preference) > 1,
                column=name,
            )
        except UserError as error:
            raise UserError(f"{error}; here these are label.values, such as {{first: A, second: B}}") from None
        if found.is_positional and "order_shown" in self.columns:
            raise UserError(
                f"{self.path}: column '{name}': left may be image_1 where order_shown is 10; write P(image_1 is better)"
            )
        return found

    def labels(self) -> Iterator[Any]:
        """The preferences as they stand, a list of shares where they are spread over columns."""
        columns = [self.cells[name] for name in self.preference]
        yield from columns[0] if len(columns) == 1 else map(list, zip(*columns, strict=True))


def label(config: AnnotatorConfig, pair_ids: list[str], *, pairs: Path, out: Path) -> Asked:
    """The preference of each pair that the file has one for, the mean where it has several.

    Args:
        pair_ids: those to label, sorted.
        pairs: the folder of all shards; what the file has of none of them is foreign.
        out: where rows that are set aside are written down.

    Raises:
        UserError: the file is no table, lacks a column, codes its preferences in a way that is not certain, or has no
            preference for any pair.
    """
    sheet = _sheet(config)
    opinions, foreign, set_aside = _opinions(sheet, sheet.coding(config), _first_images(pairs))
    if not opinions:
        first = f" (the first: row {set_aside[0].number}: {set_aside[0].reason})" if set_aside else ""
        raise UserError(
            f"{sheet.path}: none of its {len(sheet.numbers):,} rows has a preference for a pair here{first}"
        )
    found = {name: sum(given) / len(given) for name, given in opinions.items()}
    rows = [(name, found.get(name), None if name in found else LACKING) for name in pair_ids]
    lacking = [name for name, p, _ in rows if p is None]
    _tell(sheet.path, lacking, len(rows), foreign)
    if set_aside:
        slug = "".join(c if c.isalnum() else "-" for c in config.annotator)
        note(f"{sheet.path}: {len(set_aside):,} rows are set aside, listed in set_aside-{slug}.csv")
        rejected.write_csv(out / f"set_aside-{slug}.csv", "row", rejected.cells(set_aside))
    return Asked(plain(config, rows), Counter({LACKING: len(lacking)} if lacking else {}), 0, len(rows))


def _tell(path: Path, lacking: Sequence[str], total: int, foreign: Sequence[str]) -> None:
    if lacking:
        note(f"{path}: {len(lacking):,} of {total:,} pairs are not in it, such as {lacking[0]}; they have no label")
    if foreign:
        note(f"{path}: {len(foreign):,} rows are about pairs that are not here, such as {excerpt(foreign[0], 80)}")


def _first_images(pairs: Path) -> dict[str, str]:
    """pair_id → what its image_0 is called."""
    found: dict[str, str] = {}
    for shard in tables.shard_paths(pairs):
        with _parquet(shard) as file:  # `read_table` reads no part of a struct
            table = file.read(columns=["pair_id", "image_0.path"])
        ids, images = (table.column(name).to_pylist() for name in ("pair_id", "image_0"))
        found |= {name: str(image["path"]) for name, image in zip(ids, images, strict=True)}
    return found


def _opinions(
    sheet: _Sheet, coding: codings.Coding, first_images: Mapping[str, str]
) -> tuple[dict[str, list[float]], list[str], list[SetAside]]:
    """Each pair's preferences in its own orientation, the foreign pairs, and what is set aside."""
    opinions: dict[str, list[float]] = defaultdict(list)
    foreign, set_aside = [], []
    hashes: dict[str, str] = {}
    is_inverted = sheet.preference == ("label_0",)
    for i, (number, cell) in enumerate(zip(sheet.numbers, sheet.labels(), strict=True)):
        try:
            given = [p for p in coding.read(cell) if p is not None]
            name, is_swapped = _pair(sheet, i, hashes, first_images)
        except codings.UnreadError as error:
            set_aside.append(SetAside(number, "preference has no meaning", error.value, ""))
            continue
        except RefusedError as error:
            set_aside.append(SetAside(number, error.reason, error.detail, ""))
            continue
        if name not in first_images:
            foreign.append(name)
        elif given:
            opinions[name] += [1 - p if is_swapped != is_inverted else p for p in given]
    return opinions, foreign, set_aside


def _pair(sheet: _Sheet, i: int, hashes: dict[str, str], first_images: Mapping[str, str]) -> tuple[str, bool]:
    """Which pair a row is about, and whether it shows the images the other way round."""
    cells = {meaning: sheet.cells[column][i] for meaning, column in sheet.columns.items()}
    if "pair_id" in cells:
        name = str(cells["pair_id"] or "").strip()
        if not name:
            raise RefusedError("no pair_id")
        return name, False
    prompt = cells["prompt"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise RefusedError("no prompt")
    shas = [_sha256(cells[side], sheet.path.parent, hashes) for side in ("image_0", "image_1")]
    name = pair_id(prompt.strip(), *shas)
    return name, not first_images.get(name, "").startswith(image_name(shas[0], ""))


def _sha256(cell: Any, folder: Path, hashes: dict[str, str]) -> str:
    if isinstance(cell, _Hash):
        return str(cell)
    if isinstance(cell, dict):
        cell = cell.get("path")
    if not isinstance(cell, str) or not cell.strip():
        raise RefusedError("no image", excerpt(str(cell), 60))
    if cell not in hashes:
        try:
            hashes[cell] = hashlib.sha256((folder / cell.strip()).read_bytes()).hexdigest()
        except OSError as error:
            raise RefusedError("no such image", f"{excerpt(cell, 80)}: {error.strerror}") from None
    return hashes[cell]


def _sheet(config: AnnotatorConfig) -> _Sheet:
    path = Path(config.path or "")
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    if is_parquet:
        names = _parquet(path).schema_arrow.names
        columns, preference = _columns(config, names, path)
        numbers, cells = _of_parquet(path, [*columns.values(), *preference])
    else:
        records = sheets.records(path, {n for usual in USUAL.values() for n in usual} | {"preference"})
        names = sheets.header(next(records), path)
        columns, preference = _columns(config, names, path)
        rows = list(records)
        numbers = [row.row for row in rows]
        places = {name: names.index(name) for name in (*columns.values(), *preference)}
        cells = {n: [row.cells[at] if at < len(row.cells) else "" for row in rows] for n, at in places.items()}
    return _Sheet(path, columns, preference, numbers, cells)


def _columns(config: AnnotatorConfig, there: Sequence[str], path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Meaning → column, and the columns of the preference.

    Raises:
        UserError: one that is named, or that is needed, is not there.
    """
    asked = {str(meaning): column for meaning, column in config.columns.items()}
    named = asked.pop("preference", None)
    preference = tuple(part.strip() for part in named.split(",")) if named else ("preference",)
    if not named and "preference" not in there and {"label_0", "label_1"} <= set(there):
        preference = ("label_0", "label_1")
    found = dict(asked)
    for meaning, usual in USUAL.items():
        if column := next((name for name in usual if name in there), None):
            found.setdefault(meaning, column)
    listed = excerpt(", ".join(there), 300)
    for column in (*asked.values(), *preference):
        if column not in there:
            raise UserError(f"{path}: no column '{excerpt(column, 60)}'; name it in label.columns; there are: {listed}")
    if "pair_id" not in found and (missing := [name for name in _BY_IMAGES if name not in found]):
        raise UserError(
            f"{path}: neither a column 'pair_id' nor '{missing[0]}' says which pair a row is about; name them in "
            f"label.columns; there are: {listed}"
        )
    keys = ("pair_id",) if "pair_id" in found else _BY_IMAGES
    order = {"order_shown": "order_shown"} if "order_shown" in there else {}
    return {meaning: found[meaning] for meaning in keys} | order, preference


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({excerpt(str(error), 100)}); write it again") from None


def _of_parquet(path: Path, columns: Sequence[str]) -> tuple[list[int], dict[str, list[Any]]]:
    """A few rows at a time: of images only the hash is kept."""
    cells: dict[str, list[Any]] = {name: [] for name in columns}
    with _parquet(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS, columns=list(dict.fromkeys(columns))):
            for name in cells:
                cells[name] += map(_light, batch.column(name).to_pylist())
    return list(range(len(cells[columns[0]]))), cells


def _light(cell: Any) -> Any:
    """An image's bytes give way to their hash."""
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return _Hash(hashlib.sha256(data).hexdigest()) if isinstance(data, bytes) and data else cell


class _Hash(str):
    """SHA-256 of an image that the table itself held."""

    __slots__ = ()
