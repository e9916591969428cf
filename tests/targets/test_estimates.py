"""What is estimated once for all arms: by hand on small cases, and on the cases where little is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dedpo.contract.sections import TargetsConfig
from dedpo.stats import overlap, power
from dedpo.stats.logistic import sigmoid
from dedpo.stats.power import effective_labels
from dedpo.targets.arms import table
from dedpo.targets.estimates import Estimates, estimate
from dedpo.targets.reading import TrainingPairs
from tests.targets.cases import agreeing, opinions

CONFIG = TargetsConfig()


def _simulated(n: int, n_labelled: int, *, flips: bool, seed: int = 0) -> TrainingPairs:
    """Humans choose by five features; the annotator sees the same features (with other weights), or flips coins."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    theta = np.full(5, 1.0)
    human = (rng.random(n) < sigmoid(x @ theta)).astype(float)
    wrong = np.array([1.0, 1.0, 1.0, 1.0, -0.5])
    answers = np.where(rng.random(n) < 0.8, human, 1 - human) if flips else (x @ wrong > 0).astype(float)
    return opinions(human[:n_labelled], answers, n=n, features=x)


def test_moments_power_and_accuracy_by_hand() -> None:
    """6 of 8 agree: ρ = ½, so λ̂ = ½, and n_eff = 8 / (1 + ½(¼ − ½)) of 16 pairs."""
    found = estimate(opinions(*agreeing(6, 2), n=16), CONFIG)
    assert (found.n_labelled, found.n, found.ess) == (8, 16, 8.0)
    assert found.power_reference == pytest.approx(0.5)
    assert effective_labels(found.reference, found.ess, found.n, 0.5) == pytest.approx(8 / 0.875)
    assert (found.accuracy.interval.value, found.accuracy.n) == (0.75, 8)
    assert found.accuracy.interval.low == pytest.approx(0.4093, abs=1e-4)
    assert (found.shares, found.calibration) == ({"a": 1.0}, "none")


def test_ties_are_left_out_of_the_accuracy_and_kept_in_the_moments() -> None:
    found = estimate(opinions([1, 0, 0.5, 1], [1, 0, 1, 0.5]), CONFIG)
    assert (found.accuracy.interval.value, found.accuracy.n) == (1.0, 2)
    assert (found.reference.human, found.reference.annotator) == (pytest.approx(3 / 16), pytest.approx(3 / 16))
    assert found.power_reference == pytest.approx(2 / 3)


def test_labels_of_small_propensity_count_for_more() -> None:
    """(1/π)(1/π − 1) is 12 on six pairs that agree and 2 on two that do not: ρ = 68/76; Kish's size is 28²/104."""
    human, annotator = agreeing(6, 2)
    found = estimate(opinions(human, annotator, n=20, propensity=[0.25] * 6 + [0.5] * 14), CONFIG)
    assert found.power_reference == pytest.approx(68 / 76)
    assert found.ess == pytest.approx(784 / 104)


@pytest.mark.parametrize("propensities", [(0.1, 0.9), (0.9, 0.1), (0.2, 0.4)])
def test_uneven_propensities_give_the_power_and_worth_that_they_say(propensities: tuple[float, float]) -> None:
    """An annotator right on 55 % of one half of the pairs and 90 % of the other, each half labelled at its own rate."""
    rng = np.random.default_rng(0)
    n = 4000
    first = np.arange(n) < n // 2
    pi = np.where(first, *propensities)
    gradients, stated, powers = [], [], []
    for _ in range(600):
        human = rng.integers(0, 2, n).astype(float)
        annotator = np.where(rng.random(n) < np.where(first, 0.55, 0.9), human, 1 - human)
        is_labelled = rng.random(n) < pi
        weights = overlap.correction_weights(pi[is_labelled])
        m = power.moments(human[is_labelled], annotator[is_labelled], weights=weights)
        lam = power.best_power(m)
        a, b = table("dedpo_tuned", human, annotator, is_labelled, lam, propensity=pi)
        gradients.append(np.mean((a / 2 - b) * rng.choice([-1.0, 1.0], n)))
        stated.append(power.effective_labels(m, overlap.kish(1 / pi[is_labelled]), n, lam))
        powers.append(lam)
    best = (1 / pi - 1) @ np.where(first, 0.1, 0.8) / (1 / pi - 1).sum()
    assert np.mean(powers) == pytest.approx(best, abs=0.01)
    # The standard error of a variance over 600 replicates is 6 %.
    assert 0.25 / np.var(gradients) == pytest.approx(np.mean(stated), rel=0.15)


def test_only_pairs_with_an_answer_and_a_rating_count() -> None:
    nan = np.nan
    found = estimate(opinions([1, 0, 1, 1], [1, 0, nan, 0, nan, 1], n=6), CONFIG)
    assert (found.reference.n, found.n_labelled, found.n) == (3, 3, 4)
    np.testing.assert_array_equal(np.isnan(found.preference), [False, False, True, False, True, False])
    assert found.power_reference == pytest.approx(1 / 3)


def test_at_the_probe_an_annotator_that_knows_no_more_than_the_features_gets_no_power() -> None:
    found = estimate(_simulated(4000, 2000, flips=False), CONFIG)
    assert found.power_reference > 0.35
    assert found.power_probe == pytest.approx(0, abs=0.05)


def test_at_the_probe_an_annotator_with_knowledge_of_its_own_keeps_its_power() -> None:
    found = estimate(_simulated(4000, 2000, flips=True), CONFIG)
    assert found.power_probe is not None
    assert found.power_probe > 0.25


def test_the_moments_at_the_probe_are_those_of_its_residuals() -> None:
    known = replace(_simulated(60, 30, flips=True), propensity=np.linspace(0.2, 0.9, 60))
    found = estimate(known, CONFIG)
    assert found.probe is not None
    assert found.residual is not None
    u, v = found.probe.predicted - known.human[:30], found.probe.predicted - known.annotations[:30, 0]
    w = found.probe.weights * overlap.correction_weights(known.propensity[:30])
    assert found.power_probe == pytest.approx(float(np.clip((w * u * v).sum() / (w * v * v).sum(), 0, 1)))
    assert found.at("probe") is found.residual
    assert found.at("reference") is found.reference


def test_labelled_pairs_without_features_or_answer_are_set_aside_for_the_probe_alone() -> None:
    known = _simulated(80, 40, flips=True)
    known.features[3] = np.nan
    known.annotations[5] = np.nan
    found = estimate(known, CONFIG)
    assert found.probe is not None
    assert found.residual is not None
    assert (len(found.probe.predicted), found.residual.n, found.reference.n) == (39, 38, 39)


@pytest.mark.parametrize(
    ("features", "answers", "reason"),
    [
        (None, 1.0, "no features of the pairs; run 'dedpo data features'"),
        (np.ones((19, 1)), 1.0, "19 labelled pairs have features, of 20 needed"),
        (np.zeros((20, 2)), 1.0, "all features of the labelled pairs are zero"),
        (np.ones((20, 1)), np.nan, "no labelled pair has both features and an answer"),
    ],
)
def test_without_a_probe_it_is_said_why(features: np.ndarray | None, answers: float, reason: str) -> None:
    n = 19 if features is None else len(features)
    found = estimate(opinions([1.0, 0.0] * (n // 2) + [1.0] * (n % 2), [answers] * n, features=features), CONFIG)
    assert found.no_probe is not None
    assert reason in found.no_probe
    assert found.residual is None
    assert found.at("probe") is found.reference


def test_a_column_that_never_changes_harms_nothing() -> None:
    known = _simulated(200, 100, flips=True)
    wide = np.concatenate([known.features, np.zeros((200, 1)), np.ones((200, 1))], axis=1)
    found = estimate(opinions(known.human[:100], known.annotations[:, 0], n=200, features=wide), CONFIG)
    assert found.probe is not None
    assert found.probe.loss < np.log(2)


def test_several_annotators_are_one_and_the_better_one_counts_more() -> None:
    rng = np.random.default_rng(0)
    human = rng.integers(0, 2, 400).astype(float)
    good, poor = (np.where(rng.random(400) < accuracy, human, 1 - human) for accuracy in (0.9, 0.6))
    found = estimate(opinions(human, good, poor, n=500), CONFIG)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["a"] > 2 * found.shares["b"]
    assert ((found.preference >= 0) & (found.preference <= 1)).all()
    assert found.accuracy.interval.value >= 0.85


def test_shares_favour_who_knows_the_seldom_labelled_pairs() -> None:
    """Each annotator knows a part of the pairs and guesses elsewhere; where labels are rare, corrections are large."""
    rng = np.random.default_rng(0)
    human = rng.integers(0, 2, 400).astype(float)
    seldom = np.arange(400) >= 300
    guess = rng.permuted(human)
    knows_first, knows_second = np.where(seldom, guess, human), np.where(seldom, human, guess)
    pi = np.append(np.where(seldom, 0.1, 0.3), [0.2])
    found = estimate(opinions(human, knows_first, knows_second, n=401, propensity=pi), CONFIG)
    assert found.shares["b"] > found.shares["a"] + 0.2
    even = estimate(opinions(human, knows_first, knows_second, n=401), CONFIG)
    assert even.shares["a"] > even.shares["b"] + 0.2


def test_where_one_of_several_is_silent_the_other_speaks() -> None:
    nan = np.nan
    found = estimate(opinions([1, 0, 1, 0], [1, 0, nan, nan], [nan, 0, 1, nan]), CONFIG)
    np.testing.assert_allclose(found.preference, [1, 0, 1, nan])


def test_recalibration_moves_an_overconfident_annotator_towards_a_half() -> None:
    human, annotator = agreeing(60, 40)
    found = estimate(opinions(human, annotator, n=200), TargetsConfig(calibrate=True))
    assert found.calibration == "platt"
    # It says 1 and is right on 60 %.
    np.testing.assert_allclose(found.preference[100:], 0.6, atol=0.03)
    assert found.power_reference > 0.7 > estimate(opinions(human, annotator, n=200), CONFIG).power_reference


def test_the_seed_is_all_the_chance_there_is() -> None:
    known = _simulated(200, 100, flips=True)
    first, again, other = (estimate(known, TargetsConfig(seed=seed)) for seed in (0, 0, 1))
    assert first.power_probe == again.power_probe != other.power_probe


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(opinions([1, 0], [1, 0], n=10), id="two labels"),
        pytest.param(opinions([0.5, 0.5, 0.5], [1, 0, 1], n=10), id="all ties"),
        pytest.param(opinions([1, 0, 1], [0.5, 0.5, 0.5] + [0.5] * 7, n=10), id="an undecided annotator"),
        pytest.param(opinions([1, 0, 1], [1, 1, 1], n=10), id="a constant annotator"),
        pytest.param(opinions([1, 0, 1], [1, 0, 0]), id="all labelled"),
        pytest.param(opinions([1, 0, 1], [np.nan] * 10, n=10), id="no answer"),
        pytest.param(opinions([1, 0, 1], [np.nan] * 10, [np.nan] * 10, n=10), id="no answer of two"),
        pytest.param(opinions([1, 0, 1], [np.nan] * 3, [np.nan] * 3, n=10), id="two, silent on the labelled"),
        pytest.param(opinions([], [1.0] * 10, n=10), id="no label"),
        pytest.param(opinions([1.0] * 25, [1.0] * 25, n=50, groups=[0] * 50), id="one choice, one prompt"),
        pytest.param(opinions([1.0] * 25, [1.0] * 25, n=50, features=np.ones((50, 2))), id="alike features"),
    ],
)
@pytest.mark.parametrize("calibrate", [False, True])
def test_little_knowledge_is_no_error(known: TrainingPairs, calibrate: bool) -> None:
    found = estimate(known, TargetsConfig(calibrate=calibrate))
    assert isinstance(found, Estimates)
    assert 0 <= found.power_reference <= 1
    assert found.power_probe is None or 0 <= found.power_probe <= 1
    assert found.n_labelled == found.reference.n
