"""Small cases for hand arithmetic: opinions from a few numbers, and the tables that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dedpo.contract import tables
from dedpo.contract.sections import TargetsConfig
from dedpo.targets import stage
from dedpo.targets.reading import TrainingPairs


def opinions(
    human: Sequence[float],
    *annotations: Sequence[float],
    n: int | None = None,
    propensity: Sequence[float] | None = None,
    features: np.ndarray | None = None,
    groups: Sequence[int] | None = None,
) -> TrainingPairs:
    """Labelled pairs with `human`, then unlabelled ones up to n, on which each annotator says 1.

    Args:
        annotations: of the labelled pairs, or of all, a sequence an annotator.
        propensity: of all pairs; default: the labelled share.
    """
    n_labelled, n = len(human), n or len(human)
    rows = [np.append(a, np.ones(n - len(a))) for a in annotations]
    return TrainingPairs(
        pair_ids=np.array([f"{i:04d}" for i in range(n)], dtype=object),
        human=np.append(human, np.full(n - n_labelled, np.nan)),
        annotations=np.stack(rows, axis=1),
        annotators=tuple("abc"[: len(rows)]),
        is_labelled=np.arange(n) < n_labelled,
        propensity=np.full(n, max(n_labelled, 1) / n) if propensity is None else np.array(propensity, dtype=float),
        groups=np.arange(n) if groups is None else np.array(groups),
        features=np.empty((n, 0)) if features is None else features,
    )


def agreeing(right: int, wrong: int) -> tuple[list[float], list[float]]:
    """Hard human choices, and a hard annotator that agrees on `right` and disagrees on `wrong` of them."""
    human = [float(i % 2) for i in range(right + wrong)]
    return human, [*human[:right], *(1 - z for z in human[right:])]


def run(work: Path, found: TrainingPairs, *arms: str, **settings: Any) -> dict[str, dict[str, Any]]:
    """The stage on tables with these opinions: arm → targets.json."""
    write(work, found)
    return stage.run(
        TargetsConfig(**settings),
        arms=arms,
        ratings=work / "ratings.parquet",
        splits=work / "splits.parquet",
        labels=work / "labels.parquet",
        features=work / "features.parquet" if found.features.shape[1] else None,
        out=work / "targets",
    )


def write(work: Path, found: TrainingPairs) -> None:
    """The stage's inputs; NaN is a rating, an answer or features that are not there."""
    ids, n = found.pair_ids, len(found.pair_ids)
    rated = ~np.isnan(found.human)
    ratings = {"pair_id": ids[rated], "rater": ["h"] * rated.sum(), "preference": found.human[rated]}
    _write(work / "ratings.parquet", tables.RATINGS, ratings | {"source": ["test"] * rated.sum()})
    splits = {"pair_id": ids, "split": ["train"] * n, "is_labelled": found.is_labelled, "propensity": found.propensity}
    _write(work / "splits.parquet", tables.SPLITS, splits)
    k = len(found.annotators)
    answers = found.annotations.T.ravel()
    labels = {
        "pair_id": np.tile(ids, k),
        "annotator": np.repeat(found.annotators, n),
        "template": ["t"] * (n * k),
        "preference": pa.array(answers, mask=np.isnan(answers)),
        "attempts": [1] * (n * k),
    }
    _write(work / "labels.parquet", tables.LABELS, labels)
    if found.features.shape[1]:
        known = np.isfinite(found.features).all(axis=1)
        columns = {
            "pair_id": ids[known],
            "group": [f"g{i}" for i in found.groups[known]],
            "features": found.features[known].tolist(),
        }
        _write(work / "features.parquet", tables.FEATURES, columns)


def _write(path: Path, rule: tables.Table, columns: dict[str, Any]) -> None:
    """Null columns where the schema lets them be."""
    n = len(columns["pair_id"])
    values = {f.name: columns.get(f.name, pa.nulls(n, f.type)) for f in rule.schema}
    arrays = {name: pa.array(v.tolist()) if isinstance(v, np.ndarray) else v for name, v in values.items()}
    tables.write(pa.table(arrays), rule, path)
