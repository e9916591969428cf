"""Which pairs people are asked about next: inclusion probabilities, and a draw that has exactly these.

Pure functions of the annotator's answers. Nothing that people said decides here: rounds are then independent draws, and
the chance that a pair was selected in any of them is exactly 1 − Π(1 − π_r).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dedpo.stats.arrays import Floats, Ints

# Probabilities are whole multiples of 2⁻⁴⁰, so that they add up to the budget exactly and a draw never rounds.
UNIT: Final = 2**40
# What is not known is taken as a toss of a coin.
UNKNOWN_SIZE: Final = 0.5


def expected_size(annotator: Floats) -> Floats:
    """sqrt(ĝ(1 − ĝ)): the root mean square of the rectifier z − ĝ that a calibrated annotator's answer promises.

    The correction of the rectified estimate is Σ R_i/π_i·(z_i − ĝ_i) / n. Drawn pair by pair it has the variance
    Σ (1/π_i − 1)(z_i − ĝ_i)² / n², which, for Σ π_i fixed, is least in expectation at π_i ∝ sqrt(E(z_i − ĝ_i)²), by
    Cauchy and Schwarz (Neyman 1934's allocation with a stratum a pair). If P(z = 1 | ĝ) = ĝ, that root is
    sqrt(ĝ(1 − ĝ)). An annotator that is sure and wrong promises a small rectifier where it is large: what the uniform
    share of `probabilities` is for. One that only says 0 or 1 promises none anywhere.

    Args:
        annotator: ĝ in [0, 1], NaN where there is no answer, which counts as ½; shape (n,).
    """
    size = np.sqrt(annotator * (1 - annotator))
    return np.where(np.isnan(size), UNKNOWN_SIZE, size)


def probabilities(size: Floats, budget: int, uniform_share: float) -> Floats:
    """π_i ∝ (1 − u)·s_i / Σs + u / n, at most 1, with Σπ = budget; exact multiples of 2⁻⁴⁰, shape (n,).

    Where the budget would take a pair with more than certainty, it is taken with certainty and the others share what is
    left in the same proportions. If all sizes are zero, all pairs are alike.

    Args:
        size: s_i ≥ 0, finite, shape (n,).
        budget: between 1 and n.
        uniform_share: u in (0, 1].
    """
    n = len(size)
    assert 0 < budget <= n
    assert 0 < uniform_share <= 1
    total = size.sum()
    shares = size / total if total > 0 else np.full(n, 1 / n)
    weight = (1 - uniform_share) * shares + uniform_share / n
    order = np.argsort(-weight, kind="stable")
    falling = weight[order]
    # rest[m]: the weight of all but the m largest. The fewest certain ones are those that leave nobody above 1.
    rest = np.cumsum(falling[::-1])[::-1]
    left = budget - np.arange(n)
    certain = int(np.argmax(left * falling <= rest))
    scale = (budget - certain) / rest[certain]
    wanted = np.where(np.arange(n) < certain, 1.0, falling * scale)
    found = np.empty(n)
    found[order] = _whole(wanted, budget) / UNIT
    return found


def _whole(wanted: Floats, budget: int) -> Ints:
    """`wanted` in units, each between 1 and UNIT, with the sum budget · UNIT; what rounding leaves goes round."""
    units = np.clip(np.floor(wanted * UNIT), 1, UNIT).astype(np.int64)
    while missing := budget * UNIT - int(units.sum()):
        free = np.flatnonzero(units < UNIT if missing > 0 else units > 1)
        units[free[: abs(missing)]] += 1 if missing > 0 else -1
    return units


def draw(propensity: Floats, rng: np.random.Generator) -> Ints:
    """Positions of the Σπ selected pairs in random order; pair i is among them with probability π_i exactly.

    Systematic sampling on a random permutation (Madow 1949): the probabilities are laid end to end, and every point
    u + k, k = 0, 1, …, with one random u in [0, 1) selects the pair it falls on. In whole units of 2⁻⁴⁰, so that a
    certain pair is hit exactly once and the number of pairs is always Σπ.

    Args:
        propensity: as `probabilities` returns it, shape (n,).
    """
    order = rng.permutation(len(propensity))
    units = np.rint(propensity[order] * UNIT).astype(np.int64)
    ends = np.cumsum(units)
    assert ends[-1] % UNIT == 0
    points = rng.integers(UNIT) + UNIT * np.arange(ends[-1] // UNIT)
    selected = order[np.searchsorted(ends, points, side="right")]
    return np.asarray(rng.permutation(selected), dtype=np.int64)


def uniform(n: int, budget: int, rng: np.random.Generator) -> Ints:
    """`budget` of n positions in random order, each equally likely, without replacement."""
    return np.asarray(rng.permutation(n)[:budget], dtype=np.int64)
