"""Minimise a pair table over a linear logit: mean of a·softplus(h) − b·h with h = x·θ.

It is the trainer's objective with a model small enough to solve exactly: the probe's fit, and every arm of the linear
world. b/a may leave [0, 1], and then the minimum may not exist.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from dedpo.stats.arrays import Floats

_STEPS: Final = 60
_TOLERANCE: Final = 1e-9  # of the gradient, per coordinate; separable choices meet it at |h| of about 20
_ROUNDING: Final = 1e-7  # what is good enough where rounding hides any descent
_SUFFICIENT: Final = 1e-4  # Armijo's constant
_SHORTEST: Final = 1e-6
# Odds of e⁴⁰ a standard deviation: no data say that, the minimum has run away.
_FARTHEST: Final = 40.0


class Fit(NamedTuple):
    """θ of shape (d,), and whether it is the minimum; False where there is none or it was not reached."""

    theta: Floats
    converged: bool


def sigmoid(h: Floats) -> Floats:
    """σ(h) without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * h)))


def softplus(h: Floats) -> Floats:
    """log(1 + eʰ) without overflow; numpy's logaddexp takes three times as long."""
    return np.asarray(np.maximum(h, 0) + np.log1p(np.exp(-np.abs(h))))


def fit(features: Floats, mass: Floats, linear: Floats, ridge: float = 0.0, start: Floats | None = None) -> Fit:
    """Newton's method with backtracking, from θ = `start` (default: 0).

    Args:
        features: x, about unit mean square a column, shape (n, d).
        mass, linear: a ≥ 0 and b, shape (n,).
        ridge: adds ½·ridge·‖θ‖².
    """
    n, d = features.shape
    pull = features.T @ linear / n

    def value(theta: Floats) -> float:
        h = features @ theta
        return float(mass @ softplus(h) / n - pull @ theta + ridge / 2 * theta @ theta)

    theta = np.zeros(d) if start is None else start
    best = value(theta)
    for _ in range(_STEPS):
        p = sigmoid(features @ theta)
        gradient = features.T @ (mass * p) / n - pull + ridge * theta
        if np.abs(gradient).max(initial=0.0) < _TOLERANCE:
            return Fit(theta, True)
        if np.abs(theta).max(initial=0.0) > _FARTHEST:
            break
        try:
            step = np.linalg.solve(hessian(features, mass, p) + ridge * np.eye(d), gradient)
        except np.linalg.LinAlgError:
            break
        scale = 1.0
        while not value(theta - scale * step) <= best - _SUFFICIENT * scale * float(gradient @ step):
            scale /= 2
            if scale < _SHORTEST:
                return Fit(theta, bool(np.abs(gradient).max() < _ROUNDING))
        theta = theta - scale * step
        best = value(theta)
    return Fit(theta, False)


def hessian(features: Floats, mass: Floats, predicted: Floats) -> Floats:
    """Mean of a·σ(h)(1 − σ(h))·x xᵀ, shape (d, d)."""
    return np.asarray((features * (mass * predicted * (1 - predicted))[:, None]).T @ features / len(features))
