"""What an annotator is worth: the power λ and the effective number of human labels.

A pair's part in the gradient is (σ(h) − target)·∇h. With residuals u = σ(h) − z of the human and v = σ(h) − ĝ of the
annotator, three second moments decide everything: mean u², v² and u·v over the labelled pairs, weighted by ‖∇h‖².
They depend on where the policy stands:

- **at the reference** h = 0, so that u = ½ − z and v = ½ − ĝ: what holds in the first steps and at weak signal;
- **at a probe's residuals**, h being a small model fitted to the human labels (stats/probe.py): what holds once the
  policy has learnt what these labels teach. An annotator that says nothing beyond that has u·v ≈ 0, and gets λ ≈ 0.

Swapping the two images of a pair changes the sign of both residuals, and so nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from dedpo.stats.arrays import Floats
from dedpo.stats.intervals import Z95, Interval

# Pairs that the interval adds: 1.96² ≈ 4.
_PRIOR: Final = 4


@dataclass(frozen=True)
class Moments:
    """Second moments of the residuals on the labelled pairs.

    Attributes:
        human: mean u², ≥ 0.
        annotator: mean v², ≥ 0.
        cross: mean u·v.
        spread: covariance matrix of a pair's (u², v², u·v), shape (3, 3), for intervals; zero for a single pair.
        n: pairs.
    """

    human: float
    annotator: float
    cross: float
    spread: Floats
    n: int


def moments(
    human: Floats, annotator: Floats, predicted: Floats | None = None, weights: Floats | None = None
) -> Moments:
    """Moments of preferences z and ĝ on the same pairs, both in [0, 1], shape (n_l,).

    Args:
        predicted: σ(h) of each pair in (0, 1), shape (n_l,); None: ½, the reference.
        weights: squared gradient norms ‖∇h‖² up to a factor, ≥ 0, shape (n_l,); None: all alike.

    Raises:
        ValueError: the arrays are empty or differ in length.
    """
    return moments_of(products(human, annotator, predicted, weights))


def moments_of(parts: Floats) -> Moments:
    """Moments from what each pair adds to them, shape (3, n_l), as `products` gives it."""
    n = parts.shape[1]
    spread = np.cov(parts) if n > 1 else np.zeros((3, 3))
    uu, vv, uv = (float(m) for m in parts.mean(axis=1))
    return Moments(human=uu, annotator=vv, cross=uv, spread=np.asarray(spread), n=n)


def products(
    human: Floats, annotator: Floats, predicted: Floats | None = None, weights: Floats | None = None
) -> Floats:
    """What each pair adds to the moments: weighted u², v² and u·v, shape (3, n_l); arguments as of `moments`.

    Raises:
        ValueError: the arrays are empty or differ in length.
    """
    if len(human) != len(annotator) or not len(human):
        raise ValueError(f"need two preferences a pair, got {len(human)} human and {len(annotator)} annotator values")
    p = np.full(len(human), 0.5) if predicted is None else predicted
    w = np.ones(len(human)) if weights is None else weights / np.mean(weights)
    u, v = p - human, p - annotator
    return np.asarray(w * np.stack([u * u, v * v, u * v]))


def best_power(m: Moments) -> float:
    """λ̂ = Σ‖∇h‖² u·v / Σ‖∇h‖² v², clipped to [0, 1]: least gradient variance (PPI++, arXiv 2311.01453, eq. 10).

    At the reference with hard labels this is 2·accuracy − 1. An annotator without a residual gets 0.
    """
    if m.annotator == 0:
        return 0.0
    return float(np.clip(m.cross / m.annotator, 0.0, 1.0))


def effective_labels(m: Moments, n_labelled: float, n: int, power: float) -> float:
    """n_eff(λ) = n_l / (1 + (1−f)(λ² v² − 2λ u·v)/u²), f = n_l/n: human labels alone that would be as precise.

    For hard labels at the reference: n_l / (1 + (1−f)(λ² − 2λρ)), ρ = 2·accuracy − 1.

    Returns:
        NaN if the human labels leave no residual (at the reference: if all are ties).
    """
    if m.human == 0:
        return float("nan")
    return n_labelled / (1 + (1 - n_labelled / n) * _change(m, power))


def effective_labels_interval(m: Moments, n_labelled: float, n: int, power: float) -> Interval:
    """The same with its 95 % interval: the delta method on the variance ratio n_l/n_eff, with four pairs added.

    Two of them agree and two disagree, residuals of average size: Agresti & Coull's interval (1998) if preferences are
    hard. Few pairs say too little of rare errors, and without the four an annotator that is seldom wrong looks surer
    than it is. λ is taken as given; at λ̂ that costs nothing to first order, since n_eff is flat there. The upper bound
    is at most n, the value of an annotator that is never wrong.
    """
    value = effective_labels(m, n_labelled, n, power)
    if not np.isfinite(value) or m.n < 2:
        return Interval(value, float("nan"), float("nan"))
    more = _with_prior(m)
    slope = np.array([-_change(more, power), power**2, -2 * power]) / more.human
    variance = float(slope @ more.spread @ slope) / more.n
    half = Z95 * (1 - n_labelled / n) * float(np.sqrt(max(variance, 0.0)))
    ratio = n_labelled / effective_labels(more, n_labelled, n, power)
    return Interval(value, n_labelled / (ratio + half), n_labelled / max(ratio - half, n_labelled / n))


def _with_prior(m: Moments) -> Moments:
    """The moments if _PRIOR more pairs had u², v² of average size, half of them u·v > 0 and half u·v < 0."""
    n = m.n + _PRIOR
    scatter = (m.n - 1) * m.spread
    # Scatter of u·v within the added pairs, and between their mean, 0, and the others'.
    scatter[2, 2] += _PRIOR * (m.human * m.annotator + m.n / n * m.cross**2)
    return Moments(m.human, m.annotator, m.cross * m.n / n, scatter / (n - 1), n)


def _change(m: Moments, power: float) -> float:
    """How much the correction's variance adds, relative to that of the human labels; < 0 where it helps."""
    return (power**2 * m.annotator - 2 * power * m.cross) / m.human
