"""Arms at equal drift and at their own best: hand values, and an arm that only takes larger steps."""

from __future__ import annotations

import numpy as np
import pytest

from dedpo.report.frontier import Point, at_drift, frontier
from dedpo.report.summary import Cells, Floats

PROMPTS = 40


def cells(*values: float) -> Floats:
    """A row a training seed, the same for two prompts and one sampling seed."""
    return np.array([[[v], [v]] for v in values])


def test_between_two_points_the_metric_is_linear_in_the_drift() -> None:
    way = [Point(10, np.array([0.2, 0.1]), cells(1, 2)), Point(20, np.array([0.4, 0.3]), cells(2, 4))]
    start = cells(-1)
    np.testing.assert_allclose(at_drift(way, start, 0.1), cells(0, 2))
    np.testing.assert_allclose(at_drift(way, start, 0.3), cells(1.5, 4))
    # The second training seed does not come so far.
    np.testing.assert_allclose(at_drift(way, start, 0.35), cells(1.75, np.nan))


def test_where_an_arm_turns_back_its_first_arrival_counts() -> None:
    drift = [0.2, 0.1, 0.3]
    way = [Point(i, np.array([d]), cells(v)) for i, (d, v) in enumerate(zip(drift, [2, 9, 5], strict=True), 1)]
    np.testing.assert_allclose(at_drift(way, cells(0), 0.15), cells(1.5))


def run(
    arms: dict[str, tuple[float, float]], seeds: int = 4, validation: bool = True
) -> tuple[Cells, Cells, dict[tuple[str, int], dict[int, float]]]:
    """Arms (step size, quality) on a taste with a peak: reward = quality·d − d², d the drift, and noise for all.

    Six points each, the last one the policy.
    """
    rng = np.random.default_rng(3)
    noise = {kind: rng.normal(0, 0.05, (1, PROMPTS, 2)) for kind in ("test", "validation")}
    own = rng.normal(0, 0.01, (seeds, 1, 1))
    found: dict[str, Cells] = {kind: {"reference": noise[kind]} for kind in noise}
    drifts = {
        (arm, seed): {10 * i: size * i * (1 + 0.01 * seed) for i in range(1, 7)}
        for arm, (size, _) in arms.items()
        for seed in range(seeds)
    }
    for arm, (_, quality) in arms.items():
        for i in range(1, 7):
            d = np.array([drifts[arm, seed][10 * i] for seed in range(seeds)])[:, None, None]
            name = arm if i == 6 else f"{arm}@{10 * i}"
            for kind, shared in noise.items():
                found[kind][name] = quality * d - d**2 + shared + own
    return found["test"], found["validation"] if validation else {}, drifts


STEPS = {"dedpo_tuned": 60, "dpo_human": 60, "dpo_synthetic": 60}


def test_an_arm_that_only_takes_larger_steps_gets_no_credit() -> None:
    """The same labels at another learning rate: far ahead at equal settings, equal where the comparison is fair."""
    arms = {"dedpo_tuned": (0.1, 1.0), "dpo_human": (0.02, 1.0), "dpo_synthetic": (0.1, 0.4)}
    test, validation, drifts = run(arms)
    ahead = (test["dedpo_tuned"] - test["dpo_human"]).mean()
    found = frontier("dedpo_tuned", test, validation, drifts, [0, 1, 2, 3], STEPS)
    assert found is not None
    assert found.drift == pytest.approx(0.12)
    assert ahead > 0.1
    # d² between two points lies at most a quarter of their distance squared below the line.
    assert abs(found.at_drift["dpo_human"].mean) < 0.1**2 / 4 + 1e-9
    assert found.at_drift["dpo_synthetic"].low > 0
    assert found.at_drift["dpo_synthetic"].mean == pytest.approx(0.6 * 0.12, abs=1e-3)


def test_each_arm_is_taken_at_its_own_best_step() -> None:
    """One that goes too far is not held against its end."""
    arms = {"dedpo_tuned": (0.1, 1.0), "dpo_human": (0.25, 1.0), "dpo_synthetic": (0.1, 0.4)}
    test, validation, drifts = run(arms)
    found = frontier("dedpo_tuned", test, validation, drifts, [0, 1, 2, 3], STEPS)
    assert found is not None
    assert found.best == {"dedpo_tuned": 50, "dpo_human": 20, "dpo_synthetic": 20}
    assert (test["dedpo_tuned"] - test["dpo_human"]).mean() > 0.9
    assert abs(found.at_best["dpo_human"].mean) < 0.01
    assert found.at_best["dpo_synthetic"].mean == pytest.approx(0.25 - 0.04, abs=0.01)


def test_the_best_step_is_chosen_on_validation_prompts_alone() -> None:
    test, validation, drifts = run({"dedpo_tuned": (0.1, 1.0), "dpo_human": (0.1, 1.0)})
    steps = {"dedpo_tuned": 60, "dpo_human": 60}
    chosen = frontier("dedpo_tuned", test, validation, drifts, [0, 1, 2, 3], steps)
    turned = {name: -found for name, found in test.items()}
    assert chosen is not None
    other = frontier("dedpo_tuned", turned, validation, drifts, [0, 1, 2, 3], steps)
    assert other is not None
    assert chosen.best == other.best


def test_what_is_missing_is_left_out() -> None:
    test, _, drifts = run({"dedpo_tuned": (0.1, 1.0), "dpo_human": (0.1, 1.0)}, validation=False)
    steps = {"dedpo_tuned": 60, "dpo_human": 60}
    found = frontier("dedpo_tuned", test, {}, drifts, [0, 1, 2, 3], steps)
    assert found is not None
    assert (found.best, found.at_best) == ({}, {})
    assert found.at_drift
    without = frontier("dedpo_tuned", test, {}, {}, [0, 1, 2, 3], steps)
    assert without is not None
    assert (without.drift, without.at_drift) == (None, {})
    plain = {name: c for name, c in test.items() if not name.startswith("dedpo_tuned@")}
    assert frontier("dedpo_tuned", plain, {}, drifts, [0, 1, 2, 3], steps) is None


def test_a_step_of_which_a_seed_was_not_scored_is_left_out() -> None:
    """Its mean over the other seeds would compare seeds, and not steps."""
    arms = {"dedpo_tuned": (0.1, 1.0), "dpo_human": (0.1, 1.0)}
    test, validation, drifts = run(arms)
    steps = {"dedpo_tuned": 60, "dpo_human": 60}
    for cells_of in (test, validation):
        cells_of["dpo_human@50"] = np.where(np.arange(4)[:, None, None] == 1, np.nan, cells_of["dpo_human@50"])
    found = frontier("dedpo_tuned", test, validation, drifts, [0, 1, 2, 3], steps)
    assert found is not None
    assert [place.steps for place in found.curves["dpo_human"]] == [0, 10, 20, 30, 40, 60]
    assert found.best["dpo_human"] in (40, 60)
    assert (found.at_best["dpo_human"].n, found.at_best["dpo_human"].over) == (4, "seeds")
    without = {name: c for name, c in test.items() if name != "reference"}
    assert frontier("dedpo_tuned", without, validation, drifts, [0, 1, 2, 3], steps) is None
