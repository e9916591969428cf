"""Intervals: published values, coverage by seeded simulation, and honest NaN."""

from __future__ import annotations

import numpy as np
import pytest

from dedpo.stats.intervals import student, student_quantile, wilson


def test_wilson_matches_a_published_case() -> None:
    # Newcombe (1998), table I: 81 of 263.
    value, low, high = wilson(81, 263)
    assert (value, low, high) == pytest.approx((0.3080, 0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize("successes", [0, 20])
def test_wilson_stays_inside_at_the_ends(successes: int) -> None:
    _, low, high = wilson(successes, 20)
    assert -1e-12 <= low < high <= 1 + 1e-12


def test_nothing_gives_nan() -> None:
    assert np.isnan(wilson(0, 0)).all()
    assert np.isnan(student(np.array([]))).all()
    assert np.isnan(student(np.array([3.0]))[1:]).all()


def test_student_quantile() -> None:
    assert student_quantile(4) == pytest.approx(2.776, abs=1e-3)


def test_intervals_cover_95_percent() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(1.0, 2.0, (4000, 5))
    means = [student(row) for row in draws]
    covered = np.mean([i.low <= 1.0 <= i.high for i in means])
    assert 0.94 < covered < 0.96
    hits = rng.binomial(150, 0.85, 4000)
    covered = np.mean([i.low <= 0.85 <= i.high for i in (wilson(int(k), 150) for k in hits)])
    assert 0.93 < covered < 0.97
