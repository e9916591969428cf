from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from dedpo.errors import UserError
from dedpo.report import summary
from dedpo.report.summary import estimate

NAN = np.nan


def test_grid_arranges_rows_by_method_and_training_seed() -> None:
    found = summary.grid(
        ["a_b-1", "reference", "a_b-0", "a_b-1"],
        ["p", "p", "q", "q"],
        [7, 7, 7, 7],
        ["m"] * 4,
        np.array([1.0, 2, 3, 4]),
    )
    assert found.seeds == [0, 1]
    assert found.prompt_ids == ["p", "q"]
    np.testing.assert_array_equal(found.metrics["m"]["a_b"], [[[NAN], [3]], [[1], [4]]])
    np.testing.assert_array_equal(found.metrics["m"]["reference"], [[[2], [NAN]]])


@pytest.mark.parametrize("model", ["dedpo", "dedpo-x", "../../x-0", ""])
def test_a_stranger_among_the_models(model: str) -> None:
    with pytest.raises(UserError, match="neither 'reference' nor"):
        summary.grid([model], ["p"], [0], ["m"], np.array([1.0]))


def test_interval_over_seeds_by_hand() -> None:
    # Means per training seed: 1, 2, 6; mean 3, variance 7.
    cells = np.array([[[0.0, 2.0]], [[2.0, 2.0]], [[5.0, 7.0]]])
    found = estimate(cells)
    half = t.ppf(0.975, 2) * np.sqrt(7 / 3)
    assert found == pytest.approx((3.0, 3 - half, 3 + half, 3, "seeds"))


def test_one_seed_is_a_bootstrap_over_prompts() -> None:
    prompts = np.random.default_rng(0).normal(size=200)
    # Sampling seeds ±10 about the prompt's mean: they are averaged first, or the interval would be ten times as wide.
    found = estimate(np.stack([prompts - 10, prompts + 10], axis=1)[None])
    assert found.n == 200
    assert found.over == "prompts"
    assert found.mean == pytest.approx(prompts.mean())
    normal = 1.96 * prompts.std() / np.sqrt(200)
    assert found.high - found.low == pytest.approx(2 * normal, rel=0.1)


def test_an_estimate_is_repeatable() -> None:
    cells = np.random.default_rng(0).normal(size=(1, 50, 2))
    assert estimate(cells) == estimate(cells)


def test_too_little_for_an_interval() -> None:
    found = estimate(np.array([[[1.0, 2.0]]]))
    assert found.mean == 1.5
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(estimate(np.full((2, 3, 1), NAN)).mean)


def test_untrained_seeds_and_missing_cells_are_left_out() -> None:
    cells = np.array([[[1.0, NAN], [3.0, 3.0]], [[NAN, NAN], [NAN, NAN]]])
    found = estimate(cells)
    assert found.mean == 2.0
    assert (found.n, found.over) == (2, "prompts")


@pytest.mark.parametrize("seeds", [1, 5])
def test_ninety_five_percent_of_intervals_cover(seeds: int) -> None:
    """Where what varies is what the interval is over: prompts with one training seed, training seeds with five."""
    rng = np.random.default_rng(3)
    runs, covered = 400, 0
    for _ in range(runs):
        prompt = rng.normal(size=(1, 60, 1)) if seeds == 1 else 0.0
        training = rng.normal(size=(seeds, 1, 1)) if seeds > 1 else 0.0
        found = estimate(prompt + training + 0.3 * rng.normal(size=(seeds, 60, 2)))
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / runs <= 0.98


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    shared = 10 * rng.normal(size=(1, 80, 2))
    first, second = shared + 0.5 + 0.01 * rng.normal(size=shared.shape), shared
    found = summary.difference(first, second)
    assert 0.49 < found.low < 0.5 < found.high < 0.51


def test_the_reference_pairs_with_every_training_seed() -> None:
    arm, reference = np.array([[[1.0]], [[3.0]]]), np.array([[[0.5]]])
    found = summary.differences("arm", {"m": {"arm": arm, "reference": reference}})["reference"]["m"]
    assert found.mean == 1.5
    assert (found.n, found.over) == (2, "seeds")


def test_only_common_seeds_are_compared() -> None:
    first, second = np.array([[[1.0]], [[2.0]], [[9.0]]]), np.array([[[0.0]], [[0.0]], [[NAN]]])
    assert summary.difference(first, second).mean == 1.5


def test_win_rate_by_hand() -> None:
    first, second = np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.array([[[0.0, 2.0], [5.0, NAN]]])
    # Prompt 1: a win and a tie; prompt 2: a loss and a missing cell. Prompts weigh the same.
    assert summary.win_rate(first, second).mean == pytest.approx((0.75 + 0) / 2)


@pytest.mark.parametrize("seeds", [1, 4])
def test_win_rates_are_antisymmetric(seeds: int) -> None:
    rng = np.random.default_rng(0)
    cells = {name: np.round(rng.normal(size=(seeds, 30, 2)), 1) for name in "abc"} | {"r": np.zeros((1, 30, 2))}
    table = summary.win_rates(cells)
    for i in cells:
        assert i not in table[i]
        for j in set(cells) - {i}:
            mine, theirs = table[i][j], table[j][i]
            assert mine.mean + theirs.mean == pytest.approx(1)
            assert mine.low + theirs.high == pytest.approx(1)
            assert 0 <= mine.low <= mine.mean <= mine.high <= 1
            assert mine.mean == pytest.approx(summary.win_rate(cells[i], cells[j]).mean)


def test_interval_kind_is_the_weakest() -> None:
    seeds, prompts = summary.Estimate(0, 0, 0, 3, "seeds"), summary.Estimate(0, 0, 0, 9, "prompts")
    assert summary.interval_kind({"reference": prompts, "a": seeds}) == "over seeds"
    assert summary.interval_kind({"a": seeds, "b": prompts}) == "over prompts only"
    assert summary.interval_kind({"reference": prompts}) == "over prompts only"
