"""Reading opinions: from the stages' folders, or from any CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dedpo import images, tables
from dedpo.bias.opinions import Floats, Opinions, grouped, votes
from dedpo.covariates import PROPERTIES, measure
from dedpo.errors import UserError, excerpt

_MISSING: Final = {"", "nan", "na", "n/a", "null", "none"}
_LONGEST_FIELD: Final = 2**24  # characters


def read_folder(pairs: Path, ratings: Path, splits: Path, labels: Path, max_pixels: int) -> Opinions:
    """Opinions on the pairs whose human ratings a run may see: the labelled ones and the held-out ones.

    Raises:
        UserError: an input is missing or wrong, no such pair is rated, or the labels are of several annotators.
    """
    seen = tables.read(splits, tables.SPLITS)
    seen = seen.filter(pc.or_(seen.column("is_labelled"), pc.equal(seen.column("split"), "holdout")))
    rated = tables.read(ratings, tables.RATINGS)
    rated = rated.filter(pc.is_in(rated.column("pair_id"), seen.column("pair_id").combine_chunks()))
    if rated.num_rows == 0:
        raise UserError(
            f"{splits}: no labelled or held-out pair is rated in {ratings}; raise data.labelled, split again"
        )
    answered = tables.read(labels, tables.LABELS)
    names = pc.unique(answered.column("annotator")).to_pylist()
    if len(names) > 1:
        raise UserError(f"{labels}: answers of several annotators ({', '.join(names)}); give one annotator's table")
    means = rated.group_by("pair_id").aggregate([("preference", "mean")])
    wanted = ["pair_id", "preference", "p_order_01", "p_order_10"]
    joined = means.join(answered.select(wanted), "pair_id").sort_by("pair_id")
    place = {pair: i for i, pair in enumerate(joined.column("pair_id").to_pylist())}
    texts, differences = _read_pairs(pairs, place, max_pixels)
    prompts, groups = grouped(texts)
    rows = np.array([place[p] for p in rated.column("pair_id").to_pylist()], dtype=np.int64)
    return Opinions(
        annotator_name=str(names[0]),
        prompts=prompts,
        groups=groups,
        human=_floats(joined.column("preference_mean")),
        annotator=_floats(joined.column("preference")),
        votes=votes(rows, _floats(rated.column("preference")), len(place)),
        p_order_01=_floats(joined.column("p_order_01")),
        p_order_10=_floats(joined.column("p_order_10")),
        differences=differences,
        notes=[],
    )


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.array(pc.fill_null(column, np.nan).to_pylist(), dtype=np.float64)


def _read_pairs(pairs: Path, place: dict[str, int], max_pixels: int) -> tuple[list[str], Floats]:
    """Each row's prompt, and its images' properties, image 1 minus image 0; NaN where one cannot be read."""
    texts: list[str | None] = [None] * len(place)
    differences = np.full((len(place), len(PROPERTIES)), np.nan)
    wanted = pa.array(list(place))
    for shard in tables.iterate(pairs, tables.PAIRS):
        part = shard.filter(pc.is_in(shard.column("pair_id"), wanted))
        for row in part.to_pylist():
            i = place[row["pair_id"]]
            texts[i] = row["prompt"]
            differences[i] = _properties(row["image_1"], max_pixels) - _properties(row["image_0"], max_pixels)
    absent = [pair for pair, i in place.items() if texts[i] is None]
    if absent:
        raise UserError(f"{pairs}: pair {absent[0]} is rated but not there; import and split again")
    return [str(t) for t in texts], differences


def _properties(image: dict[str, Any], max_pixels: int) -> Floats:
    try:
        return measure(images.decode(image["bytes"] or b"", max_pixels))
    except ValueError:
        return np.full(len(PROPERTIES), np.nan)


def read_table(path: Path, *, human: str, ai: str, prompt: str, raters: Sequence[str]) -> Opinions:
    """Opinions from a CSV (UTF-8) with a header; empty cells and 'nan' are no opinion.

    Args:
        human, ai: columns of preferences in [0, 1].
        prompt: column of texts; rows of one text are taken as alike.
        raters: columns of single people's preferences.

    Raises:
        UserError: no such file, column or row; a cell that is no preference, with its line.
    """
    header, rows = _read_csv(path)
    wanted = list(dict.fromkeys([human, ai, *raters]))
    for name in (*wanted, prompt):
        if name not in header:
            raise UserError(f"{path}: no column '{excerpt(name)}'; it has {excerpt(', '.join(header), 300)}")
    columns = {name: _preferences(path, name, header.index(name), rows) for name in wanted}
    prompts, groups = grouped([cells[header.index(prompt)].strip() for _, cells in rows])
    n = len(rows)
    single = [votes(np.arange(n), columns[name], n) for name in raters]
    nowhere = np.full(n, np.nan)
    return Opinions(
        annotator_name=ai,
        prompts=prompts,
        groups=groups,
        human=columns[human],
        annotator=columns[ai],
        votes=np.sum(single, axis=0) if single else np.zeros((n, 3)),
        p_order_01=nowhere,
        p_order_10=nowhere,
        notes=_remarks(prompts, groups, [cells for _, cells in rows]),
    )


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row that is not empty with the line where it ends."""
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        header = next(reader, [])
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; name a CSV with --table") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a readable UTF-8 CSV ({error}); save it as one") from None
    if not rows:
        raise UserError(f"{path}: no row below the header; nothing can be compared")
    for line, cells in rows:
        if len(cells) != len(header):
            raise UserError(f"{path}, line {line}: {len(cells)} cells under {len(header)} columns; quote the texts")
    return header, rows


def _preferences(path: Path, name: str, place: int, rows: list[tuple[int, list[str]]]) -> NDArray[np.float64]:
    found = np.full(len(rows), np.nan)
    for i, (line, cells) in enumerate(rows):
        text = cells[place].strip()
        if text.casefold() in _MISSING:
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise UserError(
                f"{path}, line {line}, column '{excerpt(name)}': '{excerpt(text, 40)}' is no preference; write P(the "
                "second is better): 0, 0.5 for a tie, 1, or between; leave it empty for none"
            )
        found[i] = value
    return found


def _remarks(prompts: list[str], groups: NDArray[np.int64], rows: list[list[str]]) -> list[str]:
    found = []
    if copies := len(rows) - len({tuple(r) for r in rows}):
        found.append(f"Rows that are exact copies of others: {copies:,}; all are counted.")
    if "" in prompts:
        found.append(f"Rows with an empty prompt, which has no words: {int((groups == prompts.index('')).sum()):,}.")
    return found
