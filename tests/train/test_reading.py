"""What is trained on: zero rows, pairs that were set aside, the holdout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dedpo.contract import tables
from dedpo.contract.records.targets import Targets
from dedpo.errors import UserError
from dedpo.targets.arms import table
from dedpo.train import reading
from tests.fixtures import write_tables, write_targets
from tests.records import record

N, N_LABELLED = 12, 4
IDS = [f"{i:024x}" for i in range(N)]
LABELLED = np.arange(N) < N_LABELLED
HUMAN = np.where(np.arange(N) % 2 == 0, 1.0, 0.0)
ANNOTATOR = np.linspace(0.05, 0.95, N)


def _write(folder: Path, arm: str, ids: list[str] = IDS, keep: np.ndarray | None = None) -> Path:
    keep = np.full(N, True) if keep is None else keep
    a, b = table(arm, HUMAN[keep], ANNOTATOR[keep], LABELLED[keep], 0.5)
    columns = {"pair_id": [p for p, k in zip(ids, keep, strict=True) if k], "a": a, "b": b}
    tables.write(pa.table(columns | {"is_labelled": LABELLED[keep]}), tables.TARGETS, folder / "targets.parquet")
    objective = arm if arm.startswith("self_training") else "preference"
    (folder / "targets.json").write_text(json.dumps(record(Targets, objective=objective)))
    return folder


def test_zero_rows_go_and_the_mean_stays_a_mean(tmp_path: Path) -> None:
    data = reading.training_set(_write(tmp_path, "dpo_human"), set(IDS), {})
    assert data.pair_ids == IDS[:N_LABELLED]
    assert data.is_labelled.all()
    np.testing.assert_allclose(data.a, 1.0)
    np.testing.assert_allclose(data.b, HUMAN[:N_LABELLED])


@pytest.mark.parametrize("arm", ["self_training", "self_training_split"])
def test_the_zero_rows_of_self_training_stay(arm: str, tmp_path: Path) -> None:
    data = reading.training_set(_write(tmp_path, arm), set(IDS), {})
    assert data.pair_ids == IDS
    np.testing.assert_allclose(data.a, np.where(LABELLED, N / N_LABELLED, 0))


@pytest.mark.parametrize("arm", ["dpo_human", "self_training"])
def test_with_pairs_set_aside_r_is_counted_anew(arm: str, tmp_path: Path) -> None:
    """As if the targets had been made without them; these two arms' tables are R·r and R·r·z."""
    bad = {IDS[1]: "broken", IDS[5]: "broken", IDS[7]: "broken"}
    kept = np.array([pair not in bad for pair in IDS])
    found = reading.training_set(_write(tmp_path / "all", arm), set(IDS) - bad.keys(), bad)
    expected = reading.training_set(_write(tmp_path / "kept", arm, keep=kept), set(IDS), {})
    assert found.pair_ids == expected.pair_ids
    np.testing.assert_allclose(found.a, expected.a)
    np.testing.assert_allclose(found.b, expected.b)


def test_a_group_weighs_what_it_weighed(tmp_path: Path) -> None:
    """Over groups of equal rows the objective is what it was, however many of each were set aside."""
    whole = reading.training_set(_write(tmp_path / "all", "dpo_synthetic_split"), set(IDS), {})
    bad = {IDS[0]: "broken", IDS[4]: "broken", IDS[5]: "broken", IDS[6]: "broken"}
    part = reading.training_set(tmp_path / "all", set(IDS) - bad.keys(), bad)
    for group in (True, False):
        before, after = (d.a[d.is_labelled == group].sum() / len(d.a) for d in (whole, part))
        assert after == pytest.approx(before)


def test_all_unlabelled_pairs_may_be_set_aside(tmp_path: Path) -> None:
    bad = dict.fromkeys(IDS[N_LABELLED:], "broken")
    data = reading.training_set(_write(tmp_path, "dpo_human"), set(IDS) - bad.keys(), bad)
    np.testing.assert_allclose(data.a, 1.0)


def test_without_a_labelled_pair_left_nothing_is_trained(tmp_path: Path) -> None:
    bad = dict.fromkeys(IDS[:N_LABELLED], "broken")
    with pytest.raises(UserError, match="none of its 4 labelled pairs has images that can be decoded"):
        reading.training_set(_write(tmp_path, "dedpo"), set(IDS) - bad.keys(), bad)


def test_targets_of_other_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"pair {IDS[5]} .and 6 more. is not among the pairs; make the targets from"):
        reading.training_set(_write(tmp_path, "dedpo"), set(IDS[:5]), {})


def test_targets_without_facts_are_refused(tmp_path: Path) -> None:
    (_write(tmp_path, "dedpo") / "targets.json").unlink()
    with pytest.raises(UserError, match="targets.json: no such file; run .dedpo targets. again"):
        reading.training_set(tmp_path, set(IDS), {})


def test_targets_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = _write(tmp_path, "dedpo") / "targets.parquet"
    found = pq.read_table(path)
    broken = found.set_column(1, "a", pa.array([float("nan")] + [1.0] * (N - 1)))
    pq.write_table(broken, path)
    with pytest.raises(UserError, match=r"targets.parquet: column 'a', row 0: nan must be finite"):
        reading.training_set(tmp_path, set(IDS), {})


def test_the_holdout_is_rated_pairs_that_the_cache_has(tmp_path: Path) -> None:
    write_tables(tmp_path, n=10, n_labelled=4, n_holdout=5)
    write_targets(tmp_path, "dpo_human")
    ratings, splits = tmp_path / "data" / "ratings.parquet", tmp_path / "splits" / "0" / "splits.parquet"
    ids = [f"{i:024x}" for i in range(15)]
    found = reading.held_out(ratings, splits, set(ids[:13]))
    assert found.pair_ids == ids[10:13]
    assert set(found.human) <= {0.0, 0.5, 1.0}
    assert reading.held_out(ratings, splits, set(ids[:10])).pair_ids == []
