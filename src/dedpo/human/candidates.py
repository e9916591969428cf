"""Which pairs people can be asked about, and what the annotator says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedpo.contract import tables
from dedpo.contract.holdout import is_held_out
from dedpo.errors import UserError
from dedpo.human import merged_ratings
from dedpo.stats.arrays import Floats


def training_pairs(pairs: Path, splits: Path | None, holdout: float) -> pa.ChunkedArray:
    """The pair_ids that may be trained on, sorted: held out neither by a split with this `holdout` nor by `splits`.

    Args:
        splits: a split's table, which may be older than the pairs; None: none was made.

    Raises:
        UserError: an input is missing or wrong, or there is no such pair.
    """
    rows = tables.read(pairs, tables.PAIRS, ["pair_id", "group"])
    groups = rows.column("group").combine_chunks().dictionary_encode()
    is_out = np.array([is_held_out(group, holdout) for group in groups.dictionary.to_pylist()], dtype=bool)
    ids = rows.column("pair_id").filter(pa.array(~is_out[groups.indices.to_numpy()]))
    if splits is not None:
        split = tables.read(splits, tables.SPLITS, ["pair_id", "split"])
        out = split.column("pair_id").filter(pc.equal(split.column("split"), "holdout"))
        ids = ids.filter(pc.invert(pc.is_in(ids, out.combine_chunks())))
    if not len(ids):
        raise UserError(f"{splits or pairs}: no pair is for training; lower data.holdout")
    return ids.take(pc.sort_indices(ids))


def seen_pairs(splits: Path, ratings: Path) -> pa.ChunkedArray:
    """The pair_ids whose ratings a run sees, labelled or held out, sorted.

    Raises:
        UserError: an input is missing or wrong, or there is no such pair.
    """
    rows = tables.read(splits, tables.SPLITS)
    seen = rows.filter(pc.or_(rows.column("is_labelled"), pc.equal(rows.column("split"), "holdout"))).column("pair_id")
    seen = seen.filter(pc.is_in(seen, merged_ratings.read_ratings(ratings).column("pair_id").combine_chunks()))
    if not len(seen):
        raise UserError(f"{splits}: no labelled or held-out pair is rated in {ratings}; nobody can be asked again")
    return seen.take(pc.sort_indices(seen))


def annotator(labels: Path, ids: pa.ChunkedArray) -> Floats:
    """ĝ of each pair: the mean over annotators and templates, NaN where none answered; shape (n,)."""
    rows = tables.read(labels, tables.LABELS, ["pair_id", "annotator", "template", "preference"])
    means = rows.group_by("pair_id").aggregate([("preference", "mean")])
    found = means.column("preference_mean").take(pc.index_in(ids, means.column("pair_id").combine_chunks()))
    return np.asarray(pc.fill_null(found, np.nan).to_numpy(), dtype=np.float64)
