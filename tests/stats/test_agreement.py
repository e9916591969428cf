from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from dedpo.stats.agreement import against_others, agreement, ceiling, choices, confusion, is_reversed, kappa
from dedpo.stats.calibration import calibration, swap
from dedpo.stats.weights import weights


def compare(human, annotator, groups=None, bootstrap=200):
    human, annotator = np.array(human, float), np.array(annotator, float)
    groups = np.arange(len(human)) if groups is None else np.array(groups)
    return agreement(human, annotator, groups, bootstrap=bootstrap, rng=np.random.default_rng(0))


def test_a_choice_is_a_side_or_a_tie():
    assert choices(np.array([0.0, 0.49, 0.5, (0.2 + 0.8) / 2, (0.1 + 0.2 + 1.2) / 3, 0.51, 1.0])).tolist() == [
        0, 0, 1, 1, 1, 2, 2,
    ]  # fmt: skip


def test_ties_agree_with_ties_only():
    found = compare([0, 0.5, 0.5, 1], [0.2, 0.5, 0.9, 0.5])
    assert found.wilson.value == 0.5
    assert (found.decided.value, found.n_decided, found.n) == (1.0, 1, 4)


def test_kappa_is_cohens():
    rng = np.random.default_rng(1)
    human, annotator = rng.integers(0, 3, 300), rng.integers(0, 3, 300)
    annotator = np.where(rng.random(300) < 0.5, human, annotator)
    table = confusion(human / 2, annotator / 2, np.zeros(300, dtype=np.int64))
    assert kappa(table)[0] == pytest.approx(cohen_kappa_score(human, annotator))


def test_degenerate_input_is_nan_and_not_a_warning():
    empty = compare([], [])
    assert np.isnan([empty.wilson.value, empty.kappa.value, empty.outer.low]).all()
    same = compare([1, 1, 1], [1, 1, 1])
    assert np.isnan(same.kappa.value)
    assert same.outer.low == same.wilson.low < 1
    one_prompt = compare([0, 1, 1], [0, 1, 0], [0, 0, 0])
    assert np.isnan(one_prompt.clustered.low)
    assert one_prompt.outer == one_prompt.wilson


def test_the_clustered_interval_covers_where_pairs_of_a_prompt_are_alike():
    covered = {"wilson": 0, "outer": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(60), 10)
        agrees = rng.random(600) < rng.beta(2, 0.5, 60)[groups]
        found = agreement(np.ones(600), agrees.astype(float), groups, bootstrap=200, rng=rng)
        for name in covered:
            interval = getattr(found, name)
            covered[name] += interval.low <= 0.8 <= interval.high
    assert covered["outer"] >= 180
    assert covered["wilson"] < 160, "so the wider interval is needed"


def test_the_ceiling_counts_pairs_of_raters():
    votes = np.array([[3.0, 0, 0], [2, 0, 1], [1, 0, 0]])
    found = ceiling(votes, np.array([0.0, 1.0, 1.0]), np.arange(3), bootstrap=50, rng=np.random.default_rng(0))
    assert found.share.value == pytest.approx(4 / 6)
    assert found.one_human == pytest.approx(4 / 6)
    assert (found.n_pairs, found.n_rater_pairs) == (2, 6)
    p = np.array([5, 0, 1]) / 6
    assert found.fleiss == pytest.approx((4 / 6 - (p**2).sum()) / (1 - (p**2).sum()))


def test_calibration_of_a_calibrated_annotator():
    rng = np.random.default_rng(0)
    said = rng.random(20_000)
    found = calibration((rng.random(20_000) < said).astype(float), said)
    assert found.error < 0.02
    assert found.counts.sum() == 20_000
    assert np.isnan(calibration(np.empty(0), np.empty(0)).error)


def test_swap_sees_a_lean_to_the_first():
    found = swap(np.array([0.3, 0.8, 0.4]), np.array([0.5, 0.9, 0.7]))
    assert found.consistency.value == pytest.approx(1 / 3)
    assert found.bias.value == pytest.approx(-0.2)


def test_weights_find_the_property_and_cover():
    hits = np.zeros(3)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, groups = rng.normal(size=(300, 3)), rng.integers(0, 60, 300)
        shared = rng.normal(size=60)[groups]
        human = (x[:, 0] + rng.normal(size=300) > 0).astype(float)
        annotator = (x[:, 0] + 1.5 * x[:, 1] + shared + rng.normal(size=300) > 0).astype(float)
        found = weights(x, human, annotator, groups)
        assert found is not None
        hits += found.p < 0.05
    assert hits[1] == 200
    assert hits[2] <= 22, "a property that neither looks at"


def test_weights_need_prompts_and_free_columns():
    x = np.ones((10, 2))
    assert weights(x, np.zeros(10), np.zeros(10), np.arange(10)) is None
    assert weights(np.eye(3)[:, :2], np.zeros(3), np.zeros(3), np.arange(3)) is None


def test_a_reversed_side_is_told_from_chance_and_from_few_pairs():
    assert is_reversed(1, 20)
    assert not is_reversed(8, 20)
    assert not is_reversed(0, 5)
    assert not is_reversed(0, 0)
    # Whoever agrees on 0.6 is found when turned round; chance is not, at any size.
    assert is_reversed(3_800, 10_000)
    assert not is_reversed(5_000, 10_000)
    # One of forty is unlucky sooner than one alone.
    assert is_reversed(0, 7)
    assert not is_reversed(0, 7, among=40)
    assert is_reversed(0, 20, among=40)


def test_raters_are_held_against_the_majority_of_the_others():
    rows = np.repeat(np.arange(4), 3)
    raters = np.tile(np.arange(3), 4)
    preferences = np.array([1, 1, 0, 0, 0, 1, 1, 0, 0.5, 1, np.nan, 1])
    same, decided = against_others(rows, raters, preferences)
    # On the third pair rater 2 ties; on the fourth rater 1 gave no answer.
    assert same.tolist() == [1, 0, 1]
    assert decided.tolist() == [2, 1, 3]
