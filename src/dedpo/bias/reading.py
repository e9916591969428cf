"""Reading comparisons: from the stages' folders, or from any CSV."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dedpo.bias.comparison import Comparison
from dedpo.contract import records, tables
from dedpo.contract.records.data import Features
from dedpo.errors import UserError, excerpt
from dedpo.stats.agreement import against_others, count_votes, is_reversed
from dedpo.stats.arrays import Floats, numbered
from dedpo.tabular import codings, recognition, sheets
from dedpo.tabular.codings import ValueMeanings
from dedpo.vision import images
from dedpo.vision.covariates import PROPERTIES, measure


def read_folder(
    pairs: Path,
    ratings: Path,
    splits: Path,
    labels: Path,
    features: Path | None,
    max_pixels: int,
    annotator: str | None = None,
) -> Comparison:
    """The comparison on the pairs whose human ratings a run may see: the labelled ones and the held-out ones.

    Args:
        annotator: whose labels; None: the mean of all annotators'.
        features: the folder of the pairs' features, which holds what was measured of their images; None: there is none.

    Raises:
        UserError: an input is missing or wrong, no such pair is rated, or nobody of that name has labelled.
    """
    seen = tables.read(splits, tables.SPLITS)
    seen = seen.filter(pc.or_(seen.column("is_labelled"), pc.equal(seen.column("split"), "holdout")))
    rated = tables.read(ratings, tables.RATINGS)
    rated = rated.filter(pc.is_in(rated.column("pair_id"), seen.column("pair_id").combine_chunks()))
    if rated.num_rows == 0:
        raise UserError(
            f"{splits}: no labelled or held-out pair is rated in {ratings}; raise data.labelled, split again"
        )
    name, answered = _answers(labels, annotator)
    means = rated.group_by("pair_id").aggregate([("preference", "mean")])
    joined = means.join(answered, "pair_id").sort_by("pair_id")
    place = {pair: i for i, pair in enumerate(joined.column("pair_id").to_pylist())}
    prompts, groups = numbered(_prompts(pairs, place, ratings))
    differences = np.full((len(place), len(PROPERTIES)), np.nan)
    if features is not None:
        differences = _of_features(features, joined.column("pair_id"))
    _measure(pairs, place, differences, max_pixels)
    rows = np.array([place[p] for p in rated.column("pair_id").to_pylist()], dtype=np.int64)
    return Comparison(
        annotator_name=name,
        prompts=prompts,
        groups=groups,
        human=_floats(joined.column("preference_mean")),
        annotator=_floats(joined.column("preference")),
        votes=count_votes(rows, _floats(rated.column("preference")), len(place)),
        p_order_01=_floats(joined.column("p_order_01")),
        p_order_10=_floats(joined.column("p_order_10")),
        differences=differences,
        notes=[],
        remedy="if the imported preferences are, import them again with --first and --second changed over; if the "
        "annotator's are, look at its template",
    )


def _answers(labels: Path, annotator: str | None) -> tuple[str, pa.Table]:
    """Who has labelled, and the preference and both orders' of each pair; of several the mean of those who have one."""
    table = tables.read(labels, tables.LABELS)
    names = pc.unique(table.column("annotator")).to_pylist()
    if annotator is not None:
        if annotator not in names:
            raise UserError(
                f"bias.annotator: '{excerpt(annotator)}' has labelled nothing in {labels}; there are: {names}"
            )
        names, table = [annotator], table.filter(pc.equal(table.column("annotator"), annotator))
    orders = ("p_order_01", "p_order_10")
    is_whole = pc.and_(*(pc.is_valid(table.column(name)) for name in orders))
    known = {name: pc.if_else(is_whole, table.column(name), None) for name in orders}
    table = pa.table({name: table.column(name) for name in ("pair_id", "preference")} | known)
    means = table.group_by("pair_id").aggregate([(name, "mean") for name in ("preference", *orders)])
    name = names[0] if len(names) == 1 else f"mean of {' and '.join(names)}"
    return str(name), means.rename_columns([column.removesuffix("_mean") for column in means.column_names])


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.array(pc.fill_null(column, np.nan).to_pylist(), dtype=np.float64)


def _prompts(pairs: Path, place: Mapping[str, int], ratings: Path) -> list[str]:
    rows = tables.read(pairs, tables.PAIRS, ["pair_id", "prompt"])
    found = dict(zip(*(column.to_pylist() for column in rows.itercolumns()), strict=True))
    if absent := place.keys() - found.keys():
        raise UserError(f"{pairs}: pair {min(absent)} is rated in {ratings} but not there; import and split again")
    return [found[pair] for pair in place]


def _of_features(folder: Path, ids: pa.ChunkedArray) -> Floats:
    """The `PROPERTIES` among the pairs' features, image 1 minus image 0; NaN for a pair without, shape (n, 4)."""
    remedy = "run 'dedpo data features' again"
    names = records.read(folder / "features.json", Features, remedy)["names"]
    rows = tables.read(folder / "features.parquet", tables.FEATURES)
    found = rows.column("features").take(pc.index_in(ids, rows.column("pair_id").combine_chunks())).to_pylist()
    try:
        columns = [names.index(name) for name in PROPERTIES]
        return np.array([[values[j] for j in columns] if values else [np.nan] * len(columns) for values in found])
    except (ValueError, IndexError):
        raise UserError(f"{folder}: features.json does not name the columns of features.parquet; {remedy}") from None


def _measure(pairs: Path, place: Mapping[str, int], differences: Floats, max_pixels: int) -> None:
    """Fill in the pairs of which nothing is known yet; NaN stays where an image cannot be read."""
    wanted = pa.array([pair for pair, i in place.items() if np.isnan(differences[i]).any()], pa.string())
    for shard in tables.iterate(pairs, tables.PAIRS) if len(wanted) else ():
        for row in shard.filter(pc.is_in(shard.column("pair_id"), wanted)).to_pylist():
            difference = _properties(row["image_1"], max_pixels) - _properties(row["image_0"], max_pixels)
            differences[place[row["pair_id"]]] = difference


def _properties(image: dict[str, Any], max_pixels: int) -> Floats:
    try:
        return measure(images.decode(image["bytes"] or b"", max_pixels))
    except ValueError:
        return np.full(len(PROPERTIES), np.nan)


def read_table(
    path: Path, *, human: str, ai: str, prompt: str, raters: Sequence[str], values: Mapping[str, Sequence[str]]
) -> Comparison:
    """The comparison in a text table with a header (commas, semicolons, tabs; UTF-8 or Excel's UTF-16).

    Args:
        human, ai: columns of preferences as `codings` knows them; several names with commas between: the shares of the
            first, the second and a tie. A list in a cell of `human` is several people.
        prompt: column of texts; rows of one text are taken as alike.
        raters: columns of single people's preferences.
        values: what a user says that values mean: first, second, tie, unrated → as `codings.value_meanings` takes it.

    Raises:
        UserError: no such file, column or row; a column whose values' meaning is not certain; a cell that is no
            preference, with its line.
    """
    wanted = list(dict.fromkeys([human, ai, *raters]))
    header, rows = _read_rows(path, {*wanted, prompt})
    places = {name: _places(path, name, header) for name in (*wanted, prompt)}
    told = codings.value_meanings(values, wanted)
    read = {name: _preferences(path, name, places[name], rows, told) for name in wanted}
    columns = {name: column.preferences for name, column in read.items()}
    prompts, groups = numbered([record.cells[places[prompt][0]].strip() for record in rows])
    n = len(rows)
    means = {name: np.array([np.mean(cell) if cell else np.nan for cell in columns[name]]) for name in wanted}
    # Lists of people in the human column are raters as well as those that have columns of their own.
    several = [human] if not raters and any(len(cell) > 1 for cell in columns[human]) else []
    people = [(i, p) for name in (*raters, *several) for i, cell in enumerate(columns[name]) for p in cell]
    single = count_votes(np.array([i for i, _ in people], dtype=np.int64), np.array([p for _, p in people]), n)
    nowhere = np.full(n, np.nan)
    return Comparison(
        annotator_name=ai,
        prompts=prompts,
        groups=groups,
        human=means[human],
        annotator=means[ai],
        votes=single,
        p_order_01=nowhere,
        p_order_10=nowhere,
        notes=_remarks(prompts, groups, [record.cells for record in rows]),
        warnings=_turned({name: read[name] for name in raters}),
        remedy=read[ai].changed_over,
    )


def _read_rows(path: Path, known: Collection[str]) -> tuple[list[str], list[sheets.SheetRow]]:
    """The header, and each row that is not empty."""
    first, *rows = sheets.records(path, known)
    header = sheets.header(first, path)
    if not rows:
        raise UserError(f"{path}: no row below the header; nothing can be compared")
    for record in rows:
        if len(record.cells) != len(header):
            raise UserError(
                f"{path}, line {record.line}: {len(record.cells)} cells under {len(header)} columns; quote the texts"
            )
    return header, rows


def _places(path: Path, name: str, header: Sequence[str]) -> list[int]:
    names = [name] if name in header else [part.strip() for part in name.split(",")]
    for part in names:
        if part not in header:
            raise UserError(f"{path}: no column '{excerpt(part)}'; it has {excerpt(', '.join(header), 300)}")
    return [header.index(part) for part in names]


class _Column(NamedTuple):
    """The preferences in each row's cell (one, several of a list, or none), and what would turn all of them round."""

    preferences: list[list[float]]
    changed_over: str


def _preferences(
    path: Path, name: str, places: Sequence[int], rows: Sequence[sheets.SheetRow], told: Mapping[str, ValueMeanings]
) -> _Column:
    is_shares = len(places) > 1
    cells = [[r.cells[i] for i in places] if is_shares else r.cells[places[0]] for r in rows]
    where = f"{path}, column '{excerpt(name)}'"
    coding = recognition.for_column(cells, name, where, told, is_shares=is_shares)
    found = []
    for record, cell in zip(rows, cells, strict=True):
        try:
            found.append([p for p in coding.read(cell) if p is not None])
        except codings.UnreadError as error:
            right = (
                "write P(the second is better): 0, 0.5 for a tie, 1, or between"
                if coding.is_numeric
                else "write one of the values that have a meaning, or give it one with --first, --second or --tie"
            )
            raise UserError(
                f"{path}, line {record.line}, column '{excerpt(name)}': '{excerpt(error.value, 40)}' is no preference; "
                f"{right}; leave it empty for none"
            ) from None
    return _Column(found, recognition.changed_over(cells, coding, excerpt(name)))


def _turned(columns: Mapping[str, _Column]) -> list[str]:
    """Raters who side with the others so rarely that their columns may be the other way round."""
    cells = [column.preferences for column in columns.values()]
    given = [(i, k, p) for k, each in enumerate(cells) for i, cell in enumerate(each) for p in cell]
    if not given:
        return []
    rows, by, preferences = (np.array(part) for part in zip(*given, strict=True))
    same, decided = against_others(rows, by, preferences)
    return [
        f"{excerpt(name, 60)} sides with the other raters on {same[k]} of {decided[k]} pairs, far below chance: the "
        f"column may be the other way round; {column.changed_over}"
        for k, (name, column) in enumerate(list(columns.items())[: len(same)])
        if is_reversed(same[k], int(decided[k]), len(columns))
    ]


def _remarks(prompts: list[str], groups: NDArray[np.int64], rows: list[list[str]]) -> list[str]:
    found = []
    if copies := len(rows) - len({tuple(r) for r in rows}):
        found.append(f"Rows that are exact copies of others: {copies:,}; all are counted.")
    if "" in prompts:
        found.append(f"Rows with an empty prompt, which has no words: {int((groups == prompts.index('')).sum()):,}.")
    return found
