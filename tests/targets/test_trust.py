"""How far annotators can be trusted: against hand values, and against runs with each alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dedpo.contract import tables
from dedpo.contract.records.trust import Trust
from dedpo.contract.sections import TargetsConfig
from dedpo.stats.power import effective_labels, moments_of
from dedpo.targets import trust
from dedpo.targets.reading import TrainingPairs
from tests.targets.cases import agreeing, opinions, run, write

Answers = list[tuple[float | None, float | None]]


def _labels(path: Path, answers: Answers) -> None:
    """One annotator's P(image 1) of each pair, asked in the orders 01 and 10."""
    rows = [
        {
            "pair_id": f"{i:04d}",
            "annotator": "a",
            "template": "t",
            "preference": None if first is None or second is None else (first + second) / 2,
            "p_order_01": first,
            "p_order_10": second,
            "on_answer_mass": 0.8,
            "attempts": 3,
            "error": "no answer" if first is None or second is None else None,
        }
        for i, (first, second) in enumerate(answers)
    ]
    tables.write(pa.Table.from_pylist(rows, schema=tables.LABELS.schema), tables.LABELS, path)


def _measured(work: Path, human: TrainingPairs, answers: Answers | None = None) -> Trust:
    write(work, human)
    if answers is not None:
        _labels(work / "labels.parquet", answers)
    inputs = {name: work / f"{name}.parquet" for name in ("ratings", "splits", "labels")}
    return trust.measure(TargetsConfig(), **inputs, features=None)


def test_what_asking_showed_is_counted_over_all_pairs(tmp_path: Path) -> None:
    answers: Answers = [(0.8, 0.9), (0.6, 0.4), (0.2, 0.4), (0.1, 0.3), (0.9, 0.9), (None, None)]
    found = _measured(tmp_path, opinions([1, 1, 0, 0], [0.5] * 6, n=6), answers)["annotators"]["a"]
    asking = found["asking"]
    assert asking is not None
    assert (asking["answered"], asking["mass"], asking["requests"]) == (5, pytest.approx(0.8), 6 * 3 / 5)
    assert (asking["consistency"]["value"], asking["consistency"]["n"]) == (4 / 5, 5)
    # In order 01 the first is image 0: chosen with 1 − p; in order 10 it is image 1.
    first = np.mean([(1 - one + other) / 2 for one, other in answers if one is not None and other is not None])
    assert asking["first"]["value"] == pytest.approx(first)
    low, high = asking["first"]["low"], asking["first"]["high"]
    assert low is not None
    assert high is not None
    assert low < first < high
    # 0.5 is a tie; every value stands in a bin of its own.
    assert (found["agreement"]["value"], found["agreement"]["n"]) == (1.0, 3)
    assert found["calibration_error"] == pytest.approx(np.mean([0.15, 0.5, 0.3, 0.2]))


def test_each_annotator_is_worth_what_a_run_with_it_alone_says(tmp_path: Path) -> None:
    human, good = agreeing(45, 5)
    poor = [1 - z if i % 3 == 0 else z for i, z in enumerate(human)]
    both = opinions(human, good, poor, n=200)
    found = _measured(tmp_path / "both", both)
    alone = {name: run(tmp_path / name, both.of([k]), "dedpo_tuned")["dedpo_tuned"] for k, name in enumerate("ab")}
    for name, other in (("a", "b"), ("b", "a")):
        row = found["annotators"][name]
        assert (row["power"], row["n_eff"], row["n_eff_interval"]) == (
            alone[name]["power"],
            alone[name]["n_eff"],
            alone[name]["n_eff_interval"],
        )
        assert row["n_eff_without"] == alone[other]["n_eff"]
        assert row["agreement"]["value"] == alone[name]["accuracy"]["value"]
    together = run(tmp_path / "together", both, "dedpo_tuned")["dedpo_tuned"]
    assert found["together"] is not None
    assert found["together"]["n_eff"] == together["n_eff"]
    assert found["ess"] == 50


def test_one_order_costs_what_the_lean_adds_to_the_residuals(tmp_path: Path) -> None:
    human, said = agreeing(40, 10)
    lean, mild = 0.2, [0.25 + p / 2 for p in said]
    # To the picture shown first: less for image 1 in order 01, more in order 10; the mean is what it was.
    answers: Answers = [(p - lean, p + lean) for p in [*mild, *[0.75] * 150]]
    known = opinions(human, mild, n=200)
    leaning = _measured(tmp_path / "leaning", known, answers)["annotators"]["a"]
    z, g = np.array(human), np.array(mild)
    u, v = 0.5 - z, 0.5 - g
    m = moments_of(np.stack([u**2, v**2 + lean**2, u * v]))
    by_hand = effective_labels(m, 50, 200, m.cross / m.annotator)
    assert leaning["n_eff_one_order"] == pytest.approx(by_hand, abs=0.06)
    assert leaning["n_eff_one_order"] < leaning["n_eff"]  # type: ignore[operator]
    straight = _measured(tmp_path / "straight", known, [(p, p) for p in [*mild, *[0.75] * 150]])["annotators"]["a"]
    assert straight["n_eff_one_order"] == straight["n_eff"] == leaning["n_eff"]


def test_of_one_order_alone_its_price_is_unknown(tmp_path: Path) -> None:
    human, _ = agreeing(10, 0)
    _measured(tmp_path, opinions(human, human))
    rows = tables.read(tmp_path / "labels.parquet", tables.LABELS).to_pylist()
    half = [row | {"p_order_01": row["preference"], "p_order_10": None} for row in rows]
    tables.write(pa.Table.from_pylist(half, schema=tables.LABELS.schema), tables.LABELS, tmp_path / "labels.parquet")
    inputs = {name: tmp_path / f"{name}.parquet" for name in ("ratings", "splits", "labels")}
    found = trust.measure(TargetsConfig(), **inputs, features=None)
    row = found["annotators"]["a"]
    assert row["n_eff_one_order"] is None
    assert row["asking"] is not None
    assert (row["asking"]["consistency"]["value"], row["asking"]["first"]["value"]) == (None, None)
    assert "one order" not in trust.describe(found).splitlines()[1]


def test_the_stage_writes_it_beside_the_arms_and_says_it_in_a_table(tmp_path: Path) -> None:
    human, said = agreeing(18, 2)
    run(tmp_path, opinions(human, said, human, n=40), "dpo_human", "dedpo_tuned")
    found = trust.read(tmp_path / "targets")
    assert found is not None
    told = trust.describe(found).splitlines()
    assert [line.split()[0] for line in told[2:5]] == ["a", "b", "together"]
    assert trust.numbers(found)["b agreement"] == 1.0


def test_without_annotators_there_is_nobody_to_trust(tmp_path: Path) -> None:
    assert trust.read(tmp_path) is None
