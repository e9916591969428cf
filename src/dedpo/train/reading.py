"""What is trained on and what is held out, read from the tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from dedpo.contract import records, tables
from dedpo.contract.records.targets import Targets
from dedpo.errors import UserError

# Whose zero rows are filled in while training.
_FILLED = ("self_training", "self_training_split")


@dataclass(frozen=True)
class TrainingSet:
    """The table that is minimised over; zero rows are gone and the rest renormalised.

    Attributes:
        a, b: shape (n,).
        is_labelled: shape (n,).
        objective: of targets.json, see objective.py.
    """

    pair_ids: list[str]
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    is_labelled: NDArray[np.bool_]
    objective: str


@dataclass(frozen=True)
class HeldOut:
    """Human-rated pairs that are never trained on; `human` is P(x¹ ≻ x⁰), shape (n,), ties are ½."""

    pair_ids: list[str]
    human: NDArray[np.float64]


def read_targets(folder: Path) -> Targets:
    """One arm's targets.json.

    Raises:
        UserError: there is none, or it is broken.
    """
    return records.read(folder / "targets.json", Targets, "run 'dedpo targets' again")


def training_set(targets: Path, row: Collection[str], set_aside: Mapping[str, str]) -> TrainingSet:
    """Read a targets table without the pairs that cannot be trained on or contribute nothing; the mean stays a mean.

    Pairs that the cache has set aside are dropped, and the rest of their group, labelled or unlabelled, is scaled up to
    weigh what the whole group weighed: that is r = n / n_l counted anew in the correction term, and the same mixture of
    the two groups everywhere else.

    Args:
        targets: one arm's folder.
        row: the pairs that the cache has.
        set_aside: pair_id → why its images cannot be decoded.

    Raises:
        UserError: a pair is neither in the cache nor set aside, or no labelled pair, or nothing at all, is left.
    """
    table = tables.read(targets / "targets.parquet", tables.TARGETS)
    data = TrainingSet(
        pair_ids=table.column("pair_id").to_pylist(),
        a=table.column("a").to_numpy(),
        b=table.column("b").to_numpy(),
        is_labelled=np.asarray(table.column("is_labelled").to_numpy(zero_copy_only=False)),
        objective=read_targets(targets)["objective"],
    )
    unknown = [pair for pair in data.pair_ids if pair not in row and pair not in set_aside]
    if unknown:
        raise UserError(
            f"{targets}/targets.parquet: pair {unknown[0]} (and {len(unknown) - 1} more) is not among the pairs; "
            "make the targets from the same import"
        )
    data = _without(data, np.array([pair in set_aside for pair in data.pair_ids]), targets)
    is_filled = data.objective in _FILLED
    if not data.pair_ids or not (is_filled or data.a.any() or data.b.any()):
        raise UserError(f"{targets}/targets.parquet: every row has a = b = 0; there is nothing to train on")
    return data if is_filled else without_zeros(data)


def _without(data: TrainingSet, bad: NDArray[np.bool_], targets: Path) -> TrainingSet:
    """Drop bad pairs; each group keeps its share of the objective."""
    if not bad.any():
        return data
    factor = np.full(len(bad), 1 - bad.mean())
    for group in (data.is_labelled, ~data.is_labelled):
        if (group & ~bad).any():
            factor[group] *= group.sum() / (group & ~bad).sum()
    if data.is_labelled.any() and not (data.is_labelled & ~bad).any():
        raise UserError(
            f"{targets}/targets.parquet: none of its {data.is_labelled.sum()} labelled pairs has images that can be "
            "decoded; import them again"
        )
    return rows(data, ~bad, factor)


def without_zeros(data: TrainingSet) -> TrainingSet:
    """Without rows of a = b = 0; the mean over all rows becomes a mean over the kept ones."""
    keep = (data.a != 0) | (data.b != 0)
    return rows(data, keep, float(keep.mean()))


def rows(data: TrainingSet, keep: NDArray[np.bool_], factor: NDArray[np.float64] | float) -> TrainingSet:
    """The rows to keep, a and b times `factor`; `keep` and `factor` of shape (n,)."""
    return replace(
        data,
        pair_ids=[pair for pair, k in zip(data.pair_ids, keep, strict=True) if k],
        a=(data.a * factor)[keep],
        b=(data.b * factor)[keep],
        is_labelled=data.is_labelled[keep],
    )


def held_out(ratings: Path, splits: Path, row: Collection[str]) -> HeldOut:
    """The human-rated pairs of the holdout that the cache has, each with its mean rating."""
    split = tables.read(splits, tables.SPLITS)
    ids = split.filter(pc.equal(split.column("split"), "holdout")).column("pair_id")
    rated = tables.read(ratings, tables.RATINGS)
    rated = rated.filter(pc.is_in(rated.column("pair_id"), ids.combine_chunks()))
    human = rated.group_by("pair_id").aggregate([("preference", "mean")]).sort_by("pair_id")
    found = zip(human.column("pair_id").to_pylist(), human.column("preference_mean").to_pylist(), strict=True)
    kept = [(pair, mean) for pair, mean in found if pair in row]
    return HeldOut([pair for pair, _ in kept], np.array([mean for _, mean in kept], dtype=np.float64))
