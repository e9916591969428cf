"""λ and effective labels: hand arithmetic, swap invariance, and the variance that the formula claims."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.stats.power import best_power, effective_labels, moments
from dedpo.targets.arms import table

PREFERENCES = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)), min_size=2, max_size=30)


def _hard(accuracy: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """n pairs whose hard annotator agrees with hard humans on exactly `accuracy` of them."""
    human = np.arange(n) % 2
    agrees = np.arange(n) < round(accuracy * n)
    return human.astype(float), np.where(agrees, human, 1 - human).astype(float)


@pytest.mark.parametrize(("accuracy", "at_one", "at_best"), [(0.5, 714, 1250), (0.8, 1471, 1712), (0.9, 2273, 2404)])
def test_known_cases_for_1250_of_5000(accuracy: float, at_one: float, at_best: float) -> None:
    m = moments(*_hard(accuracy, 1000))
    assert best_power(m) == pytest.approx(2 * accuracy - 1)
    assert effective_labels(m, 1250, 5000, 1.0) == pytest.approx(at_one, abs=1)
    assert effective_labels(m, 1250, 5000, best_power(m)) == pytest.approx(at_best, abs=1)


def test_the_75_percent_rule() -> None:
    def gain(accuracy: float) -> float:
        return effective_labels(moments(*_hard(accuracy, 1000)), 1250, 5000, 1.0) - 1250

    assert gain(0.74) < 0 < gain(0.76)
    assert gain(0.75) == pytest.approx(0)


@given(PREFERENCES)
def test_swapping_the_images_changes_nothing(pairs: list[tuple[float, float]]) -> None:
    human, annotator = (np.array(v) for v in zip(*pairs, strict=True))
    straight, swapped = moments(human, annotator), moments(1 - human, 1 - annotator)
    assert best_power(straight) == pytest.approx(best_power(swapped))
    assert 0 <= best_power(straight) <= 1


@given(PREFERENCES)
def test_the_best_power_is_never_worse_than_human_labels_alone(pairs: list[tuple[float, float]]) -> None:
    human, annotator = (np.array(v) for v in zip(*pairs, strict=True))
    m = moments(human, annotator)
    if m.human > 0:
        assert effective_labels(m, 100, 1000, best_power(m)) >= 100 - 1e-9


def test_an_undecided_annotator_gets_no_power() -> None:
    assert best_power(moments(np.array([0.0, 1.0]), np.array([0.5, 0.5]))) == 0.0


def test_all_ties_have_no_effective_labels() -> None:
    assert np.isnan(effective_labels(moments(np.array([0.5]), np.array([1.0])), 10, 100, 1.0))


def test_empty_or_unequal_input_is_refused() -> None:
    with pytest.raises(ValueError, match="got 0 human"):
        moments(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="got 2 human and 1"):
        moments(np.array([0.0, 1.0]), np.array([1.0]))


@pytest.mark.parametrize("power", [0.0, 0.6, 1.0])
def test_the_formula_is_the_variance_of_the_gradient_at_the_reference(power: float) -> None:
    """At h = 0 a pair's gradient is (a/2 − b)·∇h; with ∇h = ±1 its variance must shrink as n_eff says."""
    rng = np.random.default_rng(0)
    n, n_labelled, replicates = 2000, 500, 3000
    gradients = []
    for _ in range(replicates):
        human = rng.integers(0, 2, n).astype(float)
        annotator = np.where(rng.random(n) < 0.8, human, 1 - human)
        labelled = np.zeros(n, dtype=bool)
        labelled[rng.permutation(n)[:n_labelled]] = True
        a, b = table("dedpo_tuned", human, annotator, labelled, power)
        gradients.append(np.mean((a / 2 - b) * rng.choice([-1.0, 1.0], n)))
    human, annotator = _hard(0.8, 1000)
    predicted = 0.25 / effective_labels(moments(human, annotator), n_labelled, n, power)
    # The standard error of a variance over 3,000 replicates is 2.6 %.
    assert np.var(gradients) == pytest.approx(predicted, rel=0.08)
