"""Whether an annotator's probabilities can be taken at their word, and whether its answer depends on the order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dedpo.stats.agreement import choices
from dedpo.stats.arrays import Floats, Ints
from dedpo.stats.intervals import Z95, Interval, wilson


@dataclass(frozen=True)
class Calibration:
    """A reliability diagram (Murphy & Winkler 1977).

    Attributes:
        said: the annotator's mean preference in each occupied bin, shape (k,), ascending.
        human: the mean human preference there, with Wilson's interval.
        counts: pairs in each bin, shape (k,).
        error: expected calibration error, the mean of |said − human| over pairs, in [0, 1]; NaN for no pair.
    """

    said: Floats
    human: list[Interval]
    counts: Ints
    error: float


def calibration(human: Floats, annotator: Floats, bins: int = 10) -> Calibration:
    """Bin preferences in [0, 1] without NaN, shape (n,), into `bins` of equal width by what the annotator said."""
    place = np.minimum((annotator * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = counts > 0
    n = counts[filled]
    said = np.bincount(place, weights=annotator, minlength=bins)[filled] / n
    sums = np.bincount(place, weights=human, minlength=bins)[filled]
    error = float((n * np.abs(said - sums / n)).sum() / n.sum()) if n.size else float("nan")
    return Calibration(said, [wilson(s, int(k)) for s, k in zip(sums, n, strict=True)], n, error)


@dataclass(frozen=True)
class Swap:
    """What the order in which two images are shown does to an annotator.

    Attributes:
        consistency: share of pairs whose choice is the same in both orders, Wilson's interval.
        bias: mean of P(image 1) shown second minus P(image 1) shown first, in [−1, 1]; negative: it leans to the
            image shown first; 95 % normal interval.
    """

    consistency: Interval
    bias: Interval
    n: int


def swap(p_order_01: Floats, p_order_10: Floats) -> Swap:
    """Compare P(image 1 is better) asked in the order 0, 1 and in the order 1, 0; without NaN, shape (n,)."""
    n = len(p_order_01)
    same = int((choices(p_order_01) == choices(p_order_10)).sum())
    change = p_order_01 - p_order_10
    mean = float(change.mean()) if n else float("nan")
    half = Z95 * float(change.std(ddof=1)) / np.sqrt(n) if n > 1 else np.nan
    return Swap(wilson(same, n), Interval(mean, mean - half, mean + half), n)
