"""An annotator's preferences replaced by what they have meant: g̃ = E[z | ĝ], cross-fitted on the labelled pairs.

Calibration is fitted to every pair as shown and mirrored (1 − ĝ, 1 − z), so that swapping a pair's images swaps its
preference: g̃(1 − ĝ) = 1 − g̃(ĝ). In c = ĝ − ½ it is odd, and so is fitted on |c| alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import numpy as np

from dedpo.stats.arrays import Bools, Floats, Ints
from dedpo.stats.folds import group_folds
from dedpo.stats.logistic import fit, sigmoid

Method = Literal["isotonic", "platt"]
Curve = Callable[[Floats], Floats]

# With fewer labelled pairs isotonic regression follows chance; one slope does not (Niculescu-Mizil & Caruana 2005).
ISOTONIC_LABELS: Final = 1000
# ĝ beyond these is as good as certain, and its logit would outweigh all others.
_SUREST: Final = 0.005
# Keeps the slope finite where the annotator was always right; of a feature with unit mean square.
_RIDGE: Final = 1e-3
# ĝ and 1 − (1 − ĝ) differ in their last bits, and must not fall on different sides of a step.
_DIGITS: Final = 12


class Recalibrated(NamedTuple):
    """g̃ in [0, 1] of each pair, shape (n,), and how it was fitted."""

    preference: Floats
    method: Method


def recalibrated(
    annotator: Floats, human: Floats, is_labelled: Bools, groups: Ints, rng: np.random.Generator, folds: int = 5
) -> Recalibrated:
    """Isotonic regression for `ISOTONIC_LABELS` labelled pairs or more, Platt's scaling below.

    A labelled pair gets the curve of the folds without its group, so that its own label has no part in its value. An
    unlabelled one gets the mean of all curves, each weighted by the labelled pairs that it serves: labelled and
    unlabelled pairs then get the same curve on average, as debiasing needs (cross-prediction, Zrnic & Candès 2024).
    Where no other fold has a labelled pair, ĝ stays as it is.

    Args:
        annotator: ĝ in [0, 1], shape (n,); NaN stays NaN.
        human: z in [0, 1], read where `is_labelled`; shape (n,).
        is_labelled: R, shape (n,).
        groups: the prompt's number of each pair, shape (n,).

    Raises:
        ValueError: no labelled pair has an answer of the annotator.
    """
    known = is_labelled & ~np.isnan(annotator)
    n_known = int(known.sum())
    if n_known == 0:
        raise ValueError(f"need a labelled pair with an annotator's answer, got none among {len(annotator)} pairs")
    method: Method = "isotonic" if n_known >= ISOTONIC_LABELS else "platt"
    curve_of = isotonic if method == "isotonic" else platt
    g, z = annotator[known], human[known]
    fold = group_folds(groups[known], folds, rng)
    preference, mine = np.zeros(len(annotator)), np.empty(n_known)
    for k in np.unique(fold):
        held_out = fold == k
        curve = curve_of(g[~held_out], z[~held_out])
        mine[held_out] = curve(g[held_out])
        preference += held_out.mean() * curve(annotator)
    preference[known] = mine
    return Recalibrated(np.clip(preference, 0.0, 1.0), method)


def isotonic(annotator: Floats, human: Floats) -> Curve:
    """The odd non-decreasing curve nearest to z in least squares, linear between the annotator's values.

    Mirroring makes it the regression of (z − ½)·sign(c) on |c|, c = ĝ − ½, kept at 0 or above: an annotator that is
    wrong more often than right is worth ½, and is not turned round.

    Args:
        annotator, human: ĝ and z in [0, 1] without NaN, shape (n,); n = 0 gives the identity.
    """
    from scipy.optimize import isotonic_regression  # scipy takes 0.3 s to import

    if not len(annotator):
        return np.copy
    distance, side = _apart(annotator)
    decided = side != 0
    knots, place, counts = np.unique(distance[decided], return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=((human - 0.5) * side)[decided]) / counts
    risen = isotonic_regression(means, weights=counts).x
    knots, heights = np.append(0.0, knots), np.append(0.0, np.maximum(risen, 0.0))

    def curve(values: Floats) -> Floats:
        distance, side = _apart(values)
        return np.asarray(0.5 + side * np.interp(distance, knots, heights))

    return curve


def platt(annotator: Floats, human: Floats) -> Curve:
    """σ(s·logit ĝ) with slope s ≥ 0 and no intercept (Platt 1999), ĝ clipped to [0.005, 0.995].

    Args:
        annotator, human: ĝ and z in [0, 1] without NaN, shape (n,); n = 0 gives the identity.
    """
    if not len(annotator):
        return np.copy
    x = _logit(annotator)
    scale = float(np.sqrt((x**2).mean())) or 1.0
    theta, _ = fit((x / scale)[:, None], np.ones(len(x)), human, _RIDGE)
    slope = max(float(theta[0]), 0.0) / scale
    return lambda values: sigmoid(slope * _logit(values))


def _apart(preference: Floats) -> tuple[Floats, Floats]:
    """|c| and the sign of c, c = ĝ − ½."""
    c = np.round(preference - 0.5, _DIGITS)
    return np.abs(c), np.sign(c)


def _logit(preference: Floats) -> Floats:
    p = np.clip(preference, _SUREST, 1 - _SUREST)
    return np.asarray(np.log(p) - np.log1p(-p))
