"""What is known of the training pairs, read from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dedpo.contract import tables
from dedpo.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class TrainingPairs:
    """The training pairs, row by row, sorted by pair_id.

    Attributes:
        human: mean human preference, NaN where nobody rated; shape (n,).
        annotations: synthetic preference of each annotator, NaN where it gave none; shape (n, k).
        annotators: their names, 'model (template)' where one model answered several templates; length k.
        is_labelled: whether the run may see `human`; shape (n,).
        propensity: the chance with which it was to be seen, in (0, 1]; shape (n,).
        groups: the prompt group's number of each pair; each pair its own where no features are known; shape (n,).
        features: antisymmetric features, NaN rows where none are known; shape (n, d), d = 0 without features.
    """

    pair_ids: NDArray[np.object_]
    human: Floats
    annotations: Floats
    annotators: tuple[str, ...]
    is_labelled: Bools
    propensity: Floats
    groups: Ints
    features: Floats

    def of(self, annotators: Sequence[int]) -> TrainingPairs:
        """The same pairs with some of the annotators, by their places."""
        names = tuple(self.annotators[i] for i in annotators)
        return replace(self, annotators=names, annotations=self.annotations[:, list(annotators)])

    def where(self, keep: Bools) -> TrainingPairs:
        """The rows to keep."""
        rows = ("pair_ids", "human", "annotations", "is_labelled", "propensity", "groups", "features")
        return replace(self, **{name: getattr(self, name)[keep] for name in rows})


def read(ratings: Path, splits: Path, labels: Path | None, features: Path | None) -> TrainingPairs:
    """Join the tables over the training pairs; no image is read.

    Raises:
        UserError: an input is missing or wrong, no pair is for training, a labelled pair has no rating, or pairs have
            features of different lengths.
    """
    split = tables.read(splits, tables.SPLITS)
    split = split.filter(pc.equal(split.column("split"), "train")).sort_by("pair_id")
    if split.num_rows == 0:
        raise UserError(f"{splits}: no row has split 'train'; lower data.holdout and split again")
    ids = split.column("pair_id")
    rated = tables.read(ratings, tables.RATINGS).group_by("pair_id").aggregate([("preference", "mean")])
    nobody: tuple[tuple[str, ...], Floats] = ("nobody",), np.full((len(ids), 1), np.nan)
    names, annotations = nobody if labels is None else _annotations(ids, tables.read(labels, tables.LABELS))
    groups, matrix = _features(ids, features)
    opinions = TrainingPairs(
        pair_ids=np.array(ids.to_pylist(), dtype=object),
        human=aligned(ids, rated, "preference_mean"),
        annotations=annotations,
        annotators=names,
        is_labelled=np.array(split.column("is_labelled").to_pylist(), dtype=bool),
        propensity=floats(split.column("propensity")),
        groups=groups,
        features=matrix,
    )
    unrated = opinions.is_labelled & np.isnan(opinions.human)
    if unrated.any():
        pair = opinions.pair_ids[unrated][0]
        raise UserError(f"{splits}: pair {pair} is marked labelled but {ratings} holds no rating of it; split again")
    return opinions


def _aligned(ids: pa.ChunkedArray, rows: pa.Table, column: str) -> pa.ChunkedArray:
    """`column` of `rows` in the order of `ids`, null where a pair is missing."""
    return rows.column(column).take(pc.index_in(ids, rows.column("pair_id").combine_chunks()))


def aligned(ids: pa.ChunkedArray, rows: pa.Table, column: str) -> Floats:
    """Numbers in the order of `ids`, NaN where a pair is missing or has none; shape (n,)."""
    return floats(_aligned(ids, rows, column))


def floats(column: pa.ChunkedArray) -> Floats:
    """A column as numbers, NaN for null; shape (n,)."""
    return np.asarray(pc.fill_null(column, np.nan).to_numpy(), dtype=np.float64)


def by_annotator(answers: pa.Table) -> dict[str, pa.Table]:
    """The rows of each annotator and template in a labels table, by the annotator's name in `TrainingPairs`."""
    kinds = answers.group_by(["annotator", "template"]).aggregate([]).to_pylist()
    kinds.sort(key=lambda kind: (kind["annotator"], kind["template"]))
    models = [k["annotator"] for k in kinds]
    found = {}
    for kind in kinds:
        mine = pc.and_(
            pc.equal(answers.column("annotator"), kind["annotator"]),
            pc.equal(answers.column("template"), kind["template"]),
        )
        several = models.count(kind["annotator"]) > 1
        name = f"{kind['annotator']} ({kind['template']})" if several else kind["annotator"]
        found[name] = answers.filter(mine)
    return found


def _annotations(ids: pa.ChunkedArray, answers: pa.Table) -> tuple[tuple[str, ...], Floats]:
    """Names and preferences, shape (n, k), of every annotator and template in the table."""
    found = by_annotator(answers)
    columns = [aligned(ids, rows, "preference") for rows in found.values()]
    return tuple(found), np.stack(columns, axis=1)


def _features(ids: pa.ChunkedArray, path: Path | None) -> tuple[Ints, Floats]:
    """Group numbers, shape (n,), and features, shape (n, d)."""
    if path is None:
        return np.arange(len(ids)), np.empty((len(ids), 0))
    rows = tables.read(path, tables.FEATURES)
    found = _aligned(ids, rows, "features").to_pylist()
    width = max((len(f) for f in found if f is not None), default=0)
    for pair, values in zip(ids.to_pylist(), found, strict=True):
        if values is not None and len(values) != width:
            raise UserError(f"{path}: pair {pair} has {len(values)} features and another has {width}; make them again")
    matrix = np.array([f if f is not None else [np.nan] * width for f in found], dtype=np.float64)
    names = _aligned(ids, rows, "group").to_pylist()
    # A pair without features is its own group.
    keys = [name if name is not None else f"\0{i}" for i, name in enumerate(names)]
    _, groups = np.unique(np.array(keys, dtype=object).astype(str), return_inverse=True)
    return groups.astype(np.int64), matrix.reshape(len(found), width)
