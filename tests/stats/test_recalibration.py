"""Recalibration: isotonic regression against its formula, symmetry, cross-fitting, and what it does to λ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from dedpo.stats.calibration import calibration
from dedpo.stats.logistic import sigmoid
from dedpo.stats.power import best_power, moments
from dedpo.stats.recalibration import ISOTONIC_LABELS, isotonic, platt, recalibrated

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=25)


def _overconfident(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Hard human preferences with P(z = 1) = σ(h), and an annotator that says σ(4h)."""
    h = rng.normal(size=n)
    return (rng.random(n) < sigmoid(h)).astype(float), sigmoid(4 * h)


def _split(n: int, n_labelled: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs are labelled, and prompts of about three pairs."""
    labelled = np.zeros(n, dtype=bool)
    labelled[rng.permutation(n)[:n_labelled]] = True
    return labelled, rng.integers(0, n // 3, n)


@given(PAIRS)
def test_the_isotonic_curve_is_that_of_pairs_as_shown_and_mirrored(pairs: list[tuple[float, float]]) -> None:
    annotator, human = (np.array(v) for v in zip(*pairs, strict=True))
    c = np.round(annotator - 0.5, 12)
    both, z = np.append(c, -c), np.append(human, 1 - human)
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(place, weights=z) / counts, weights=counts).x
    assert isotonic(annotator, human)(annotator) == pytest.approx(fitted[place][: len(c)], abs=1e-9)


@pytest.mark.parametrize("curve_of", [isotonic, platt])
@given(pairs=PAIRS, asked=st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_curves_rise_stay_inside_and_swap(curve_of, pairs: list[tuple[float, float]], asked: list[float]) -> None:
    annotator, human = (np.array(v) for v in zip(*pairs, strict=True))
    curve, mirrored = curve_of(annotator, human), curve_of(1 - annotator, 1 - human)
    values = np.sort(asked)
    found = curve(values)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= -1e-9).all()
    assert curve(1 - values) == pytest.approx(1 - found, abs=1e-9)
    # Newton's method stops at a gradient of 1e-9.
    assert mirrored(values) == pytest.approx(found, abs=1e-6)
    assert curve(np.array([0.5])) == pytest.approx(0.5)


def test_mirrored_answers_are_one_answer_whatever_their_last_bits() -> None:
    # 0.7 − ½ and ½ − 0.3 differ; one of the two pairs is right.
    values = np.array([0.7, 0.3])
    assert isotonic(values, np.zeros(2))(values) == pytest.approx(0.5)


def test_hard_preferences_become_the_accuracy() -> None:
    human = np.array([1.0, 1, 1, 0, 0, 0, 0, 1])
    annotator = np.array([1.0, 1, 1, 0, 0, 0, 1, 0])
    assert isotonic(annotator, human)(np.array([0.0, 1.0])) == pytest.approx([0.25, 0.75])
    assert platt(annotator, human)(np.array([0.0, 1.0])) == pytest.approx([0.25, 0.75], abs=2e-3)


@pytest.mark.parametrize("curve_of", [isotonic, platt])
def test_an_annotator_that_is_mostly_wrong_is_worth_a_half(curve_of) -> None:
    values = np.array([0.1, 0.3, 0.9])
    assert curve_of(values, 1 - np.round(values))(values) == pytest.approx(0.5)


@pytest.mark.parametrize(("n_labelled", "method"), [(ISOTONIC_LABELS - 1, "platt"), (ISOTONIC_LABELS, "isotonic")])
def test_calibration_gets_better_and_the_best_power_one(n_labelled: int, method: str) -> None:
    rng = np.random.default_rng(0)
    n = 40_000
    human, annotator = _overconfident(n, rng)
    labelled, groups = _split(n, n_labelled, rng)
    found = recalibrated(annotator, human, labelled, groups, rng)
    assert found.method == method
    for part in (labelled, ~labelled):
        # By chance alone 1,000 pairs in ten bins err by 0.03.
        assert calibration(human[part], found.preference[part]).error < 0.05
        assert calibration(human[part], annotator[part]).error > 0.15
    assert best_power(moments(human, annotator)) < 0.6
    assert best_power(moments(human[~labelled], found.preference[~labelled])) > 0.95


@pytest.mark.parametrize(("n_labelled", "least"), [(600, 0.98), (1200, 0.92)])
def test_the_best_power_on_the_labelled_pairs_is_nearly_one(n_labelled: int, least: float) -> None:
    """Not quite one: what a curve of few labels owes to chance is of no use, and isotonic curves owe it more."""
    rng = np.random.default_rng(0)
    powers = []
    for _ in range(60):
        human, annotator = _overconfident(1500, rng)
        labelled, groups = _split(1500, n_labelled, rng)
        found = recalibrated(annotator, human, labelled, groups, rng).preference
        m = moments(human[labelled], found[labelled])
        powers.append(m.cross / m.annotator)
    assert least < np.mean(powers) < 1.02


@pytest.mark.parametrize("n_labelled", [60, ISOTONIC_LABELS])
def test_a_label_has_no_part_in_its_own_prompts_values(n_labelled: int) -> None:
    rng = np.random.default_rng(0)
    n = n_labelled + 200
    human, annotator = _overconfident(n, rng)
    labelled, groups = _split(n, n_labelled, rng)
    before = recalibrated(annotator, human, labelled, groups, np.random.default_rng(1)).preference
    pair = int(np.flatnonzero(labelled)[3])
    human[pair] = 1 - human[pair]
    after = recalibrated(annotator, human, labelled, groups, np.random.default_rng(1)).preference
    same = labelled & (groups == groups[pair])
    assert (before[same] == after[same]).all()
    assert (before[~labelled] != after[~labelled]).any()


def test_a_human_preference_that_is_not_labelled_is_not_read() -> None:
    rng = np.random.default_rng(0)
    human, annotator = _overconfident(100, rng)
    labelled, groups = _split(100, 40, rng)
    hidden = np.where(labelled, human, np.nan)
    found = [recalibrated(annotator, z, labelled, groups, np.random.default_rng(1)).preference for z in (human, hidden)]
    assert (found[0] == found[1]).all()


@pytest.mark.parametrize("n_labelled", [60, ISOTONIC_LABELS])
def test_swapping_all_images_mirrors_all_values(n_labelled: int) -> None:
    rng = np.random.default_rng(0)
    human, annotator = _overconfident(n_labelled + 50, rng)
    labelled, groups = _split(n_labelled + 50, n_labelled, rng)
    straight = recalibrated(annotator, human, labelled, groups, np.random.default_rng(1)).preference
    swapped = recalibrated(1 - annotator, 1 - human, labelled, groups, np.random.default_rng(1)).preference
    assert swapped == pytest.approx(1 - straight, abs=1e-9)


def test_labelled_and_unlabelled_pairs_get_the_same_curve_on_average() -> None:
    """With one answer throughout, in folds of unequal size: debiasing may not find a difference between the two."""
    rng = np.random.default_rng(0)
    human, annotator = (rng.random(40) < 0.8).astype(float), np.full(40, 0.9)
    labelled, groups = np.arange(40) < 30, np.repeat([0, 1, 2, 3], [20, 6, 4, 10])
    found = recalibrated(annotator, human, labelled, groups, rng).preference
    assert len(set(found[labelled])) == 3
    assert found[~labelled] == pytest.approx(found[labelled].mean())


def test_a_missing_answer_stays_missing_and_teaches_nothing() -> None:
    rng = np.random.default_rng(0)
    human, annotator = _overconfident(100, rng)
    labelled, groups = _split(100, 40, rng)
    gone = np.zeros(100, dtype=bool)
    gone[[np.flatnonzero(labelled)[0], np.flatnonzero(~labelled)[0]]] = True
    found = recalibrated(np.where(gone, np.nan, annotator), human, labelled, groups, np.random.default_rng(1))
    assert (np.isnan(found.preference) == gone).all()
    without = recalibrated(
        annotator[~gone], human[~gone], labelled[~gone], groups[~gone], np.random.default_rng(1)
    ).preference
    assert found.preference[~gone] == pytest.approx(without)


def test_one_prompt_alone_leaves_the_annotator_as_it_is() -> None:
    annotator = np.array([0.9, 0.2, 0.7])
    labelled, groups = np.array([True, True, False]), np.array([4, 4, 5])
    found = recalibrated(annotator, np.array([1.0, 0.0, np.nan]), labelled, groups, np.random.default_rng(0))
    assert found.preference == pytest.approx(annotator)
    with pytest.raises(ValueError, match="got none among 3 pairs"):
        recalibrated(annotator, annotator, np.zeros(3, dtype=bool), groups, np.random.default_rng(0))
