"""Models that look and models that do not, drawn by seed."""

from __future__ import annotations

import numpy as np
import pytest

from dedpo.label.looking import END_PAIRS, HARD_PAIRS, SOFT_PAIRS, Both, blindness


def answers(n: int, *, looks: float, lean: float, noise: float, seed: int) -> list[Both]:
    """P(second shown) in both orders: a logit that turns round with the pictures, a lean that does not, and noise."""
    rng = np.random.default_rng(seed)
    taste = looks * rng.normal(size=(n, 1)) * [1, -1]
    words = rng.normal(size=(n, 1))  # what the prompt alone moves
    logit = taste + words - lean + noise * rng.normal(size=(n, 2))
    return [(float(a), float(b)) for a, b in 1 / (1 + np.exp(-logit))]


def hard(pairs: list[Both]) -> list[Both]:
    return [(float(a > 0.5), float(b > 0.5)) for a, b in pairs]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("lean", [0.0, 3.0])
def test_who_does_not_look_is_found(seed: int, lean: float) -> None:
    deaf = answers(SOFT_PAIRS, looks=0, lean=lean, noise=0.03, seed=seed)
    assert blindness(deaf) is not None
    assert blindness(deaf[:-1]) is None
    assert blindness(hard(answers(HARD_PAIRS, looks=0, lean=lean, noise=0, seed=seed))) is not None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("lean", [0.0, 2.0, 6.0])
def test_who_looks_is_not_however_strongly_it_leans(seed: int, lean: float) -> None:
    for n in (SOFT_PAIRS, 60, 400):
        assert blindness(answers(n, looks=1.0, lean=lean, noise=0.03, seed=seed)) is None


@pytest.mark.parametrize("seed", range(20))
def test_letters_of_one_who_leans_and_looks_are_not(seed: int) -> None:
    assert blindness(hard(answers(HARD_PAIRS, looks=3.0, lean=2.0, noise=0, seed=seed))) is None


def test_the_first_letter_every_time_is_counted() -> None:
    said = blindness([(0.0, 0.0)] * HARD_PAIRS)
    assert said is not None
    assert f"the first letter for {HARD_PAIRS} pairs" in said
    assert blindness([(0.0, 0.0)] * (HARD_PAIRS - 1)) is None
    assert blindness([(0.0, 0.0)] * (HARD_PAIRS - 1) + [(0.0, 1.0)]) is None


def test_at_the_end_few_pairs_do() -> None:
    assert blindness([(1.0, 1.0)] * END_PAIRS, at_end=True) is not None
    assert blindness([(1.0, 1.0)] * (END_PAIRS - 1), at_end=True) is None
    assert blindness([], at_end=True) is None
