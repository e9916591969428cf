"""What an annotator is worth: the power λ and the effective number of human labels.

All second moments are about ½, not about the means, so that swapping the two images of a pair changes nothing.
The variances are those of the loss gradient at the reference, where h = 0 for every pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Second moments about ½ on the labelled pairs.

    Attributes:
        human: mean (z − ½)², in [0, ¼].
        annotator: mean (ĝ − ½)², in [0, ¼].
        cross: mean (z − ½)(ĝ − ½), in [−¼, ¼].
    """

    human: float
    annotator: float
    cross: float


def moments(human: Floats, annotator: Floats) -> Moments:
    """Moments of preferences z and ĝ on the same pairs, both in [0, 1], shape (n_l,).

    Raises:
        ValueError: the arrays are empty or differ in length.
    """
    if len(human) != len(annotator) or not len(human):
        raise ValueError(f"need two preferences a pair, got {len(human)} human and {len(annotator)} annotator values")
    z, g = human - 0.5, annotator - 0.5
    return Moments(float(np.mean(z * z)), float(np.mean(g * g)), float(np.mean(z * g)))


def best_power(m: Moments) -> float:
    """λ̂ = Σ(z−½)(ĝ−½) / Σ(ĝ−½)², clipped to [0, 1]: least gradient variance at the reference (PPI++, arXiv 2311.01453).

    For hard labels this is 2·accuracy − 1. An annotator that always says ½ gets 0.
    """
    if m.annotator == 0:
        return 0.0
    return float(np.clip(m.cross / m.annotator, 0.0, 1.0))


def effective_labels(m: Moments, n_labelled: int, n: int, power: float) -> float:
    """n_eff(λ) = n_l / (1 + (1−f)(λ² s_g² − 2λ s_zg)/s_z²), f = n_l/n: human labels alone that would be as precise.

    Returns:
        NaN if every human rating is a tie.
    """
    if m.human == 0:
        return float("nan")
    unlabelled_share = 1 - n_labelled / n
    change = (power**2 * m.annotator - 2 * power * m.cross) / m.human
    return n_labelled / (1 + unlabelled_share * change)
