"""Reading what is known of the training pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dedpo.contract import tables
from dedpo.errors import UserError
from dedpo.targets.reading import TrainingPairs, read
from tests.targets.cases import opinions, write

NAN = np.nan


def _read(work: Path, features: bool = False) -> TrainingPairs:
    names = ["ratings.parquet", "splits.parquet", "labels.parquet"]
    return read(*(work / name for name in names), work / "features.parquet" if features else None)


def _rewrite(path: Path, rule: tables.Table, rows: list[dict[str, object]]) -> None:
    tables.write(pa.Table.from_pylist(rows, schema=rule.schema), rule, path)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    known = opinions(
        [1, 0.5, 0],
        [0.9, 0.5, NAN, 0.1, 1],
        [NAN, 0.25, NAN, 0.75, 1],
        n=5,
        propensity=[0.5, 0.5, 1.0, 0.25, 0.25],
        features=np.array([[1.0, -2.0], [0.5, 0.0], [NAN, NAN], [3.0, 1.0], [0.0, 0.0]]),
        groups=[1, 0, 2, 1, 0],
    )
    write(tmp_path, known)
    found = _read(tmp_path, features=True)
    assert found.annotators == ("a", "b")
    for name in ("pair_ids", "human", "annotations", "is_labelled", "propensity", "features"):
        np.testing.assert_array_equal(getattr(found, name), getattr(known, name), err_msg=name)
    same = found.groups[:, None] == found.groups
    # The third pair has no features, and so is nobody's neighbour.
    np.testing.assert_array_equal(same, known.groups[:, None] == known.groups)


def test_without_features_every_pair_is_its_own_group(tmp_path: Path) -> None:
    write(tmp_path, opinions([1, 0], [1, 0], n=4))
    found = _read(tmp_path)
    assert found.features.shape == (4, 0)
    assert len(set(found.groups.tolist())) == 4


def test_rows_keep_together_and_held_out_pairs_stay_out(tmp_path: Path) -> None:
    """Whatever the tables' order, and whatever other pairs they hold."""
    write(tmp_path, opinions([1, 0, 0.5], [0.1, 0.2, 0.3, 0.4], n=4))
    for name in ("ratings", "splits", "labels"):
        rule, path = tables.TABLES[name], tmp_path / f"{name}.parquet"
        rows = tables.read(path, rule).to_pylist()
        if name == "splits":
            rows[3]["split"] = "holdout"
        _rewrite(path, rule, rows[::-1])
    found = _read(tmp_path)
    assert found.pair_ids.tolist() == ["0000", "0001", "0002"]
    assert found.human.tolist() == [1, 0, 0.5]
    assert found.annotations[:, 0].tolist() == [0.1, 0.2, 0.3]


def test_several_ratings_of_a_pair_are_averaged(tmp_path: Path) -> None:
    write(tmp_path, opinions([1, 0], [1, 0]))
    path = tmp_path / "ratings.parquet"
    rows = tables.read(path, tables.RATINGS).to_pylist()
    _rewrite(path, tables.RATINGS, [*rows, rows[0] | {"rater": "other", "preference": 0.5}])
    assert _read(tmp_path).human.tolist() == [0.75, 0]


def test_a_model_with_two_templates_is_two_annotators(tmp_path: Path) -> None:
    write(tmp_path, opinions([1, 0], [0.9, 0.1]))
    path = tmp_path / "labels.parquet"
    rows = tables.read(path, tables.LABELS).to_pylist()
    more = [row | {"template": "other", "preference": 0.5} for row in rows]
    _rewrite(path, tables.LABELS, [*more, *rows, *(row | {"annotator": "b"} for row in rows)])
    found = _read(tmp_path)
    answers = dict(zip(found.annotators, found.annotations.T.tolist(), strict=True))
    assert answers == {"a (other)": [0.5, 0.5], "a (t)": [0.9, 0.1], "b": [0.9, 0.1]}


def test_an_annotator_that_never_answered_is_still_one(tmp_path: Path) -> None:
    write(tmp_path, opinions([1, 0], [NAN, NAN]))
    assert np.isnan(_read(tmp_path).annotations).all()


def test_where_keeps_the_named_rows_of_everything() -> None:
    known = opinions([1, 0, 0.5], [0.1, 0.2, 0.3], features=np.eye(3))
    kept = known.where(np.array([False, True, True]))
    assert kept.pair_ids.tolist() == ["0001", "0002"]
    assert (kept.human.tolist(), kept.annotations.tolist()) == ([0, 0.5], [[0.2], [0.3]])
    assert kept.features.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert kept.annotators == known.annotators


def test_features_of_different_lengths_are_refused(tmp_path: Path) -> None:
    write(tmp_path, opinions([1, 0], [1, 0], features=np.ones((2, 3))))
    path = tmp_path / "features.parquet"
    rows = tables.read(path, tables.FEATURES).to_pylist()
    _rewrite(path, tables.FEATURES, [rows[0], rows[1] | {"features": [1.0]}])
    with pytest.raises(UserError, match="features.parquet: pair 0001 has 1 features and another has 3"):
        _read(tmp_path, features=True)


def test_no_training_pair_is_refused(tmp_path: Path) -> None:
    write(tmp_path, opinions([1, 0], [1, 0]))
    path = tmp_path / "splits.parquet"
    _rewrite(path, tables.SPLITS, [row | {"split": "holdout"} for row in tables.read(path, tables.SPLITS).to_pylist()])
    with pytest.raises(UserError, match="no row has split 'train'; lower data.holdout"):
        _read(tmp_path)
