"""How evenly the labelled pairs stand for all pairs."""

from __future__ import annotations

import numpy as np

from dedpo.stats.arrays import Floats


def kish(weights: Floats) -> float:
    """Kish's effective sample size (Σw)² / Σw² (Kish 1965): how many evenly drawn pairs these are worth.

    Args:
        weights: inverse propensities 1/π of the labelled pairs, up to a factor, ≥ 0; shape (n_l,).

    Returns:
        Between 1 and n_l, and n_l if all weights are alike; NaN if there is none but zeros.
    """
    largest = float(weights.max(initial=0.0))
    if largest == 0:
        return float("nan")
    # Weights relative to the largest cannot overflow when squared.
    relative = weights / largest
    return float(relative.sum() ** 2 / (relative**2).sum())


def correction_weights(propensity: Floats) -> Floats:
    """How much each labelled pair says of the correction's variance, (1/π)(1/π − 1) up to a factor, shape (n_l,).

    The correction R/π·(z − λĝ) adds (1/π − 1)(z − λĝ)² a pair; the other 1/π makes the labelled pairs stand for all.
    λ must be best where π is small, for there the corrections are large. A constant π gives ones.
    """
    if np.ptp(propensity) == 0:
        return np.ones(len(propensity))
    return np.asarray((1 / propensity - 1) / propensity)
