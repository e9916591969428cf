"""Several annotators as one: shares by hand, what they are worth, and cross-fitting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.stats.combination import combined
from dedpo.stats.power import best_power, effective_labels, moments


def _hard(human: np.ndarray, accuracy: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(len(human)) < accuracy, human, 1 - human)


def _pairs(n: int, accuracies: list[float], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Human preferences, shape (n,), and hard annotators with independent errors, shape (n, k)."""
    human = rng.integers(0, 2, n).astype(float)
    return human, np.stack([_hard(human, a, rng) for a in accuracies], axis=1)


def _worth(human: np.ndarray, annotator: np.ndarray) -> float:
    m = moments(human, annotator)
    return effective_labels(m, 500, 2000, best_power(m))


def test_shares_by_hand() -> None:
    # Of ten pairs with z = 1 the first errs on two, the second on three others; so in every prompt, and in every fold.
    first, second = np.ones(10), np.ones(10)
    first[:2], second[2:5] = 0, 0
    annotations = np.tile(np.stack([first, second], axis=1), (5, 1))
    groups = np.repeat(np.arange(5), 10)
    # λ₁ + c·λ₂ = 0.6 and c·λ₁ + λ₂ = 0.4, in units of ¼; they agree on five pairs of ten, so that c = 0.
    found = combined(annotations, np.ones(50), np.ones(50, dtype=bool), groups, np.random.default_rng(0))
    assert found.shares == pytest.approx([0.6, 0.4], abs=1e-4)
    assert found.preference == pytest.approx(annotations @ [0.6, 0.4], abs=1e-4)


def test_predictions_and_weights_decide_what_counts() -> None:
    """The first annotator is right where the weight is, the second where the probe does not know yet."""
    human = np.tile([1.0, 1.0, 0.0, 0.0], 10)
    annotations = np.stack([np.tile([1.0, 0.0, 0.0, 1.0], 10), np.tile([0.0, 1.0, 1.0, 0.0], 10)], axis=1)
    everyone, groups, rng = np.ones(40, dtype=bool), np.arange(40) // 4, np.random.default_rng(0)
    assert combined(annotations, human, everyone, groups, rng).shares == pytest.approx([0.5, 0.5])
    weights = np.tile([3.0, 1.0, 3.0, 1.0], 10)
    assert combined(annotations, human, everyone, groups, rng, weights=weights).shares == pytest.approx([1, 0])
    # With z = 1 and answers (1, 1, 0, 0) and (1, 0, 1, 1): 8λ₁ − 2λ₂ = 4 and 8λ₂ − 2λ₁ = 2.
    mixed, weights = (
        np.tile([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], (10, 1)),
        np.tile([3.0, 3.0, 1.0, 1.0], 10),
    )
    found = combined(mixed, np.ones(40), everyone, groups, rng, weights=weights)
    assert found.shares == pytest.approx([0.6, 0.4], abs=1e-4)
    predicted = np.tile([0.9, 0.5, 0.1, 0.5], 10)
    assert combined(annotations, human, everyone, groups, rng, predicted).shares == pytest.approx([0, 1])


def test_two_annotators_with_independent_errors_are_worth_more_than_either() -> None:
    rng = np.random.default_rng(0)
    human, annotations = _pairs(20_000, [0.8, 0.75], rng)
    labelled = np.arange(20_000) < 2000
    found = combined(annotations, human, labelled, np.arange(20_000), rng)
    for part in (labelled, ~labelled):
        together = _worth(human[part], found.preference[part])
        assert together > 1.1 * max(_worth(human[part], g) for g in annotations[part].T)
    # λ ∝ (1, ρ; ρ, 1)⁻¹ (ρ₁, ρ₂) with ρ = ρ₁ρ₂: 0.6 − 0.6·0.25 to 0.5 − 0.5·0.36.
    assert found.shares == pytest.approx(np.array([0.45, 0.32]) / 0.77, abs=0.05)


def test_a_useless_or_contrary_annotator_has_no_share() -> None:
    rng = np.random.default_rng(0)
    human, annotations = _pairs(4000, [0.8, 0.5, 0.3], rng)
    found = combined(annotations, human, np.ones(4000, dtype=bool), np.arange(4000), rng)
    assert found.shares[0] > 0.95
    assert found.shares[2] == 0


def test_annotators_of_unknown_worth_share_alike() -> None:
    human, annotations = np.array([1.0, 0.0, 1.0]), np.array([[0.0, 0.1], [1.0, 0.9], [0.2, 0.4]])
    found = combined(annotations, human, np.ones(3, dtype=bool), np.arange(3), np.random.default_rng(0))
    assert found.shares == pytest.approx([0.5, 0.5])
    twice = np.stack([human, human], axis=1)
    found = combined(twice, human, np.ones(3, dtype=bool), np.arange(3), np.random.default_rng(0))
    assert found.shares == pytest.approx([0.5, 0.5])
    assert found.preference == pytest.approx(human)


def test_one_annotator_is_returned_as_it_is() -> None:
    column = np.array([0.3, np.nan, 0.9])
    found = combined(
        column[:, None], np.array([1.0, 1.0, 0.0]), np.ones(3, dtype=bool), np.arange(3), np.random.default_rng(0)
    )
    assert np.array_equal(found.preference, column, equal_nan=True)
    assert found.shares.tolist() == [1.0]


@given(st.integers(0, 10_000))
def test_swapping_the_images_changes_no_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    human, annotations = rng.choice([0.0, 0.5, 1.0], 40), rng.random((40, 3))
    predicted, weights = rng.uniform(0.1, 0.9, 40), rng.random(40)
    labelled, groups = rng.random(40) < 0.7, rng.integers(0, 12, 40)
    labelled[0] = True
    straight = combined(annotations, human, labelled, groups, np.random.default_rng(1), predicted, weights)
    swapped = combined(1 - annotations, 1 - human, labelled, groups, np.random.default_rng(1), 1 - predicted, weights)
    assert swapped.shares == pytest.approx(straight.shares)
    assert swapped.preference == pytest.approx(1 - straight.preference)
    assert straight.shares.sum() == pytest.approx(1)
    assert (straight.shares >= 0).all()


def test_a_label_has_no_part_in_its_own_prompts_values() -> None:
    rng = np.random.default_rng(0)
    human, annotations = _pairs(200, [0.8, 0.7], rng)
    annotations = np.clip(annotations + rng.normal(size=annotations.shape) / 5, 0, 1)
    labelled, groups = np.arange(200) < 120, rng.integers(0, 60, 200)
    before = combined(annotations, human, labelled, groups, np.random.default_rng(1)).preference
    human[7] = 1 - human[7]
    human[~labelled] = np.nan
    after = combined(annotations, human, labelled, groups, np.random.default_rng(1)).preference
    same = labelled & (groups == groups[7])
    assert (before[same] == after[same]).all()
    assert (before[~labelled] != after[~labelled]).any()


def test_unlabelled_pairs_get_the_labelled_ones_shares_on_average() -> None:
    """In folds of unequal size: debiasing may not find a difference between the two."""
    rng = np.random.default_rng(0)
    human, annotations = _pairs(60, [0.8, 0.7], rng)
    # Far apart, so that ĝ tells the share of the first.
    annotations = annotations * 0.4 + [0.6, 0.0]
    labelled, groups = np.arange(60) < 50, np.repeat([0, 1, 2, 3], [30, 12, 8, 10])
    found = combined(annotations, human, labelled, groups, rng)
    first = (found.preference - annotations[:, 1]) / (annotations[:, 0] - annotations[:, 1])
    assert len(set(first[labelled].round(9))) == 3
    assert first[labelled].mean() == pytest.approx(found.shares[0])
    assert first[~labelled] == pytest.approx(found.shares[0])


def test_missing_answers_are_made_up_for_by_the_others() -> None:
    rng = np.random.default_rng(0)
    human, annotations = _pairs(400, [0.9, 0.8, 0.3], rng)
    annotations[:4] = [[1.0, np.nan, 0.0], [np.nan, np.nan, 0.2], [np.nan, np.nan, np.nan], [1.0, 0.0, np.nan]]
    labelled = np.arange(400) >= 100
    found = combined(annotations, human, labelled, np.arange(400), rng)
    s = found.shares
    assert s[2] == 0
    # The first alone; one without a share, alone; nobody; the first two as ever.
    assert found.preference[:4] == pytest.approx([1.0, 0.2, np.nan, s[0] / (s[0] + s[1])], nan_ok=True)
    assert not np.isnan(found.preference[4:]).any()


def test_a_missing_answer_on_a_labelled_pair_is_no_residual() -> None:
    rng = np.random.default_rng(0)
    human, annotations = _pairs(400, [0.9, 0.8], rng)
    everyone = np.ones(400, dtype=bool)
    gone, silent = annotations.copy(), annotations.copy()
    gone[::3, 1], silent[::3, 1] = np.nan, 0.5
    shares = [combined(a, human, everyone, np.arange(400), np.random.default_rng(1)).shares for a in (gone, silent)]
    assert shares[0] == pytest.approx(shares[1])


def test_nothing_to_combine_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="got 0 annotators and 2 labelled"):
        combined(np.empty((2, 0)), np.ones(2), np.ones(2, dtype=bool), np.arange(2), rng)
    with pytest.raises(ValueError, match="got 2 annotators and 0 labelled"):
        combined(np.ones((2, 2)), np.ones(2), np.zeros(2, dtype=bool), np.arange(2), rng)
