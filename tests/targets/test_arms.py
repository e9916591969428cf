"""Every arm's table: the paper's identities, as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dedpo.contract.sections import ARMS
from dedpo.targets.arms import table

N = 24
LOGITS = arrays(np.float64, N, elements=st.floats(-8, 8))
HUMAN = arrays(np.float64, N, elements=st.sampled_from([0.0, 0.5, 1.0]))
ANNOTATOR = arrays(np.float64, N, elements=st.floats(0, 1))
LABELLED = arrays(np.bool_, N).filter(lambda r: r.any() and not r.all())
PROPENSITY = arrays(np.float64, N, elements=st.floats(0.05, 0.95))
FLIP_RATE = st.floats(0, 0.45)
RATED_ARMS = ("sft", "dpo_human", "dpo_synthetic_split", "dedpo", "dedpo_tuned", "dedpo_ipo")


def _losses(h: np.ndarray, target: np.ndarray) -> np.ndarray:
    """ℓ(h, w) = softplus(h) − w·h."""
    return np.logaddexp(0, h) - target * h


def _value(coefficients: tuple[np.ndarray, np.ndarray], h: np.ndarray) -> float:
    a, b = coefficients
    return float(np.mean(a * np.logaddexp(0, h) - b * h))


@given(LOGITS, HUMAN, ANNOTATOR, LABELLED)
def test_equation_8_is_equation_11(h: np.ndarray, z: np.ndarray, g: np.ndarray, r: np.ndarray) -> None:
    three_means = _losses(h, g).mean() + _losses(h, z)[r].mean() - _losses(h, g)[r].mean()
    assert _value(table("dedpo", z, g, r), h) == pytest.approx(three_means, abs=1e-12, rel=1e-12)


@given(LOGITS, HUMAN, ANNOTATOR, LABELLED)
def test_the_split_arm_is_equation_7(h: np.ndarray, z: np.ndarray, g: np.ndarray, r: np.ndarray) -> None:
    two_means = _losses(h, z)[r].mean() + _losses(h, g)[~r].mean()
    assert _value(table("dpo_synthetic_split", z, g, r), h) == pytest.approx(two_means, abs=1e-11)


@given(LOGITS, HUMAN, ANNOTATOR, LABELLED)
def test_human_labels_alone_are_a_mean_over_the_labelled(
    h: np.ndarray, z: np.ndarray, g: np.ndarray, r: np.ndarray
) -> None:
    assert _value(table("dpo_human", z, g, r), h) == pytest.approx(_losses(h, z)[r].mean(), abs=1e-12)


@given(LOGITS, HUMAN, ANNOTATOR, LABELLED)
def test_power_interpolates_between_human_only_and_dedpo(
    h: np.ndarray, z: np.ndarray, g: np.ndarray, r: np.ndarray
) -> None:
    ends = [_value(table(arm, z, g, r), h) for arm in ("dpo_human", "dedpo")]
    for power in (0.0, 0.3, 1.0):
        tuned = _value(table("dedpo_tuned", z, g, r, power), h)
        assert tuned == pytest.approx((1 - power) * ends[0] + power * ends[1], abs=1e-10)


@given(LOGITS, HUMAN, LABELLED)
def test_a_perfect_annotator_makes_dedpo_full_supervision(h: np.ndarray, z: np.ndarray, r: np.ndarray) -> None:
    full = table("dpo_all_human", z, z, r)
    for arm in ("dedpo", "dpo_synthetic"):
        assert _value(table(arm, z, z, r), h) == pytest.approx(_value(full, h), abs=1e-10)


@given(LOGITS, HUMAN, ANNOTATOR, LABELLED, st.floats(0, 1), FLIP_RATE, st.none() | PROPENSITY)
def test_swapping_the_images_changes_nothing(
    h: np.ndarray, z: np.ndarray, g: np.ndarray, r: np.ndarray, power: float, flips: float, pi: np.ndarray | None
) -> None:
    for arm in ARMS:
        straight = _value(table(arm, z, g, r, power, flip_rate=flips, propensity=pi), h)
        swapped = _value(table(arm, 1 - z, 1 - g, r, power, flip_rate=flips, propensity=pi), -h)
        assert swapped == pytest.approx(straight, abs=1e-9), arm


@given(HUMAN, ANNOTATOR, LABELLED, st.floats(0, 1))
def test_ipo_has_the_table_of_the_tuned_arm(z: np.ndarray, g: np.ndarray, r: np.ndarray, power: float) -> None:
    for mine, theirs in zip(table("dedpo_ipo", z, g, r, power), table("dedpo_tuned", z, g, r, power), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@given(LOGITS, HUMAN, ANNOTATOR, LABELLED, FLIP_RATE)
def test_cdpo_smooths_the_labels(h: np.ndarray, z: np.ndarray, g: np.ndarray, r: np.ndarray, flips: float) -> None:
    y = np.where(r, z, g)
    smoothed = (1 - flips) * _losses(h, y).mean() + flips * _losses(h, 1 - y).mean()
    assert _value(table("cdpo", z, g, r, flip_rate=flips), h) == pytest.approx(smoothed, abs=1e-11)


@given(LOGITS, HUMAN, ANNOTATOR, LABELLED, FLIP_RATE)
def test_rdpo_is_unbiased_under_symmetric_flips(
    h: np.ndarray, z: np.ndarray, g: np.ndarray, r: np.ndarray, flips: float
) -> None:
    """Its expectation over flips of every choice is the loss of the clean ones (Chowdhury et al. 2024)."""
    clean = _value(table("dpo_synthetic", z, g, r), h)
    kept = _losses(h, table("rdpo", z, g, r, flip_rate=flips).b)
    flipped = _losses(h, table("rdpo", 1 - z, 1 - g, r, flip_rate=flips).b)
    assert np.mean((1 - flips) * kept + flips * flipped) == pytest.approx(clean, abs=1e-10)


@given(HUMAN, ANNOTATOR, LABELLED)
def test_without_flips_both_robust_arms_are_pooling(z: np.ndarray, g: np.ndarray, r: np.ndarray) -> None:
    for arm in ("cdpo", "rdpo"):
        np.testing.assert_array_equal(table(arm, z, g, r).b, table("dpo_synthetic", z, g, r).b)


@given(HUMAN, ANNOTATOR, PROPENSITY, st.floats(0, 1))
def test_known_propensities_make_every_debiased_row_unbiased(
    z: np.ndarray, g: np.ndarray, pi: np.ndarray, power: float
) -> None:
    """A row's expectation over R ~ Bernoulli(π), exactly: a pair's row depends on its own R alone."""
    for arm in RATED_ARMS:
        with_r, without = (_rows(arm, z, g, labelled, pi, power) for labelled in (True, False))
        expected = [pi * a + (1 - pi) * b for a, b in zip(with_r, without, strict=True)]
        mass, linear = (2.0, z + g) if arm == "dpo_synthetic_split" else (1.0, z)
        np.testing.assert_allclose(expected[0], mass, atol=1e-12)
        np.testing.assert_allclose(expected[1], linear, atol=1e-12)


def _rows(
    arm: str, z: np.ndarray, g: np.ndarray, labelled: bool, pi: np.ndarray, power: float
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of all pairs if all were labelled, or none (one more pair keeps the table from being empty)."""
    r = np.append(np.full(N, labelled), True)
    a, b = table(arm, np.append(z, 1.0), np.append(g, 1.0), r, power, propensity=np.append(pi, 0.5))
    return a[:-1], b[:-1]


@given(HUMAN, ANNOTATOR, LABELLED)
def test_a_constant_propensity_is_the_ratio_of_the_counts(z: np.ndarray, g: np.ndarray, r: np.ndarray) -> None:
    for arm in ARMS:
        known = table(arm, z, g, r, 0.3, propensity=np.full(N, r.mean()))
        for mine, theirs in zip(known, table(arm, z, g, r, 0.3), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_pair_that_was_certain_to_be_labelled_counts_once() -> None:
    z, g, r, pi = np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.array([True, False]), np.array([1.0, 0.25])
    assert table("dedpo", z, g, r, propensity=pi).b.tolist() == [1.0, 0.5]
    assert table("dpo_synthetic_split", z, g, r, propensity=pi).a.tolist() == [1.0, pytest.approx(4 / 3)]


@given(HUMAN, ANNOTATOR, LABELLED)
def test_only_the_human_arms_have_zero_rows(z: np.ndarray, g: np.ndarray, r: np.ndarray) -> None:
    for arm in ("dpo_human", "sft", "self_training", "self_training_split"):
        a, b = table(arm, z, g, r)
        assert ((a == 0) & (b == 0) == ~r).all()
    a, _ = table("dedpo_tuned", z, g, r, 0.5)
    assert (a > 0).all()


def test_unrated_pairs_do_not_leak_into_the_arms() -> None:
    r = np.array([True, False])
    z, g = np.array([1.0, np.nan]), np.array([0.2, 0.7])
    for arm in ARMS:
        if arm != "dpo_all_human":
            assert np.isfinite(np.concatenate(table(arm, z, g, r, 0.5))).all()


def test_dedpo_is_unbiased_and_pooling_is_not() -> None:
    """Over random labelled subsets the loss must average to that of full supervision, whatever the annotator says."""
    rng = np.random.default_rng(0)
    n, n_labelled, replicates = 400, 40, 4000
    z = rng.integers(0, 2, n).astype(float)
    g = np.where(rng.random(n) < 0.6, z, rng.random(n))
    h = rng.normal(0, 2, n)
    full = _value(table("dpo_all_human", z, g, np.ones(n, dtype=bool)), h)

    def errors(arm: str, power: float) -> np.ndarray:
        found = []
        for _ in range(replicates):
            r = np.zeros(n, dtype=bool)
            r[rng.permutation(n)[:n_labelled]] = True
            found.append(_value(table(arm, z, g, r, power), h) - full)
        return np.array(found)

    def t(values: np.ndarray) -> float:
        return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))

    assert abs(t(errors("dedpo", 1.0))) < 3
    assert abs(t(errors("dedpo_tuned", 0.4))) < 3
    assert abs(t(errors("dpo_synthetic", 1.0))) > 10
