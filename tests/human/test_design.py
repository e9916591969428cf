"""Whom people are asked about: the probabilities' algebra by property, the draw by counting every start."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.human import design
from dedpo.human.design import UNIT, draw, expected_size, probabilities, uniform

sizes = st.lists(st.floats(0, 0.5), min_size=1, max_size=40).map(np.array)
shares = st.floats(0.01, 1.0)


@given(sizes, shares, st.data())
def test_probabilities_add_up_to_the_budget_and_none_exceeds_one(size, share, data):
    budget = data.draw(st.integers(1, len(size)))
    found = probabilities(size, budget, share)
    units = found * UNIT
    assert (units == np.rint(units)).all()
    assert int(units.sum()) == budget * UNIT
    assert found.min() > 0
    assert found.max() <= 1
    # No pair has less than its part of the uniform draw.
    assert found.min() >= share * budget / len(size) - len(size) / UNIT


@given(sizes, shares, st.data())
def test_what_is_not_certain_keeps_its_proportions(size, share, data):
    budget = data.draw(st.integers(1, len(size)))
    found = probabilities(size, budget, share)
    total = size.sum()
    weight = (1 - share) * (size / total if total else np.full(len(size), 1 / len(size))) + share / len(size)
    free = found < 1
    if free.any():
        factor = found[free].sum() / weight[free].sum()
        # Each is cut to whole units, and what is left over is dealt out one by one.
        np.testing.assert_allclose(found[free], weight[free] * factor, rtol=0, atol=3 / UNIT)
        # Only those are certain that the common factor would have taken beyond 1.
        assert (weight[~free] * factor >= 1 - 1e-9).all()


def test_probabilities_by_hand():
    np.testing.assert_allclose(probabilities(np.array([0.3, 0.1, 0.0, 0.0]), 1, 0.2), [0.65, 0.25, 0.05, 0.05])
    # The first would be drawn with 3 × 0.65: it is certain, and the others share 2.
    np.testing.assert_allclose(probabilities(np.array([0.3, 0.1, 0.0, 0.0]), 2, 0.2), [1, 5 / 7, 1 / 7, 1 / 7])
    np.testing.assert_allclose(probabilities(np.zeros(4), 2, 0.2), 0.5)
    np.testing.assert_allclose(probabilities(np.array([0.5, 0.1]), 2, 0.1), 1)


def test_the_expected_size_is_the_standard_deviation_of_a_coin_that_the_annotator_is_right_about():
    found = expected_size(np.array([0.5, 0.1, 0.9, 0.0, 1.0, np.nan]))
    np.testing.assert_allclose(found, [0.5, 0.3, 0.3, 0, 0, 0.5])


@given(sizes, shares, st.data())
def test_a_draw_has_exactly_the_budget_and_everyone_who_is_certain(size, share, data):
    budget = data.draw(st.integers(1, len(size)))
    found = probabilities(size, budget, share)
    drawn = draw(found, np.random.default_rng(data.draw(st.integers(0, 2**32))))
    assert len(set(drawn.tolist())) == len(drawn) == budget
    assert set(np.flatnonzero(found == 1)) <= set(drawn.tolist())


class Start:
    """A generator with one start, for counting them all."""

    def __init__(self, order: np.ndarray, start: int) -> None:
        self.order, self.start = order, start

    def permutation(self, what: object) -> np.ndarray:
        return self.order if isinstance(what, int) else np.asarray(what)

    def integers(self, end: int) -> int:
        assert 0 <= self.start < end
        return self.start


@pytest.mark.parametrize("seed", range(3))
def test_in_every_order_each_pair_is_selected_by_as_many_starts_as_it_has_units(seed, monkeypatch):
    monkeypatch.setattr(design, "UNIT", 32)
    rng = np.random.default_rng(seed)
    found = probabilities(rng.random(9) ** 3, 4, 0.1)
    order = rng.permutation(9)
    counts = np.zeros(9, dtype=int)
    for start in range(32):
        counts[draw(found, Start(order, start))] += 1
    assert counts.tolist() == (found * 32).tolist()


def test_the_correction_is_right_on_average_and_pooling_is_not():
    """A sure annotator is right, an unsure one always too low: π and the rectifier go together."""
    rng = np.random.default_rng(0)
    annotator = np.where(np.arange(300) < 100, 0.5, 0.97)
    human = np.where(np.arange(300) < 100, 1.0, (rng.random(300) < 0.97).astype(float))
    propensity = probabilities(expected_size(annotator), 60, 0.2)
    rectifier = human - annotator
    corrected, pooled = [], []
    for _ in range(2000):
        drawn = draw(propensity, rng)
        corrected.append(annotator.mean() + (rectifier[drawn] / propensity[drawn]).sum() / 300)
        pooled.append(annotator.mean() + rectifier[drawn].mean())
    standard_error = np.std(corrected) / np.sqrt(2000)
    assert abs(np.mean(corrected) - human.mean()) < 3 * standard_error
    assert abs(np.mean(pooled) - human.mean()) > 10 * np.std(pooled) / np.sqrt(2000)


def test_for_a_calibrated_annotator_the_design_is_more_precise_than_uniform_labels():
    rng = np.random.default_rng(1)
    annotator = rng.beta(0.3, 0.3, 2000)
    human = (rng.random(2000) < annotator).astype(float)
    spreads = []
    for share in (0.2, 1.0):
        propensity = probabilities(expected_size(annotator), 200, share)
        draws = [draw(propensity, rng) for _ in range(400)]
        spreads.append(np.std([((human - annotator)[d] / propensity[d]).sum() / 2000 for d in draws]))
    assert spreads[0] < 0.85 * spreads[1]


def test_a_uniform_draw_takes_every_pair_equally_often():
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([uniform(20, 5, rng) for _ in range(2000)]), minlength=20)
    assert counts.sum() == 10_000
    assert np.abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)
