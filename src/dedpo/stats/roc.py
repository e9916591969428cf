"""How well preferences tell people's two choices apart at every threshold (receiver operating characteristic)."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from dedpo.stats.arrays import Floats

POINTS: Final = 101


class RocCurve(NamedTuple):
    """Rates by falling threshold t, 'image 1' being said where the preference is at least t; from (0, 0) to (1, 1).

    Attributes:
        area: under the curve: P(a pair whose people chose image 1 has the higher preference), ties counting half.
    """

    false_positive: Floats
    true_positive: Floats
    threshold: Floats
    area: float


def curve(human: Floats, annotator: Floats) -> RocCurve | None:
    """The curve over pairs on which people decided; None where they always chose the same side.

    Args:
        human, annotator: preferences in [0, 1] without NaN, shape (n,); human ties are left out.

    Returns:
        at most `POINTS` points, evenly among the thresholds where there are more; the area is that of all points.
    """
    decided = human != 0.5
    chose_1, said = human[decided] > 0.5, annotator[decided]
    if chose_1.all() or not chose_1.any():
        return None
    values, place = np.unique(said, return_inverse=True)
    with_1 = np.bincount(place, weights=chose_1, minlength=len(values))[::-1].cumsum()
    with_0 = np.bincount(place, weights=~chose_1, minlength=len(values))[::-1].cumsum()
    true_positive = np.concatenate([[0.0], with_1 / with_1[-1]])
    false_positive = np.concatenate([[0.0], with_0 / with_0[-1]])
    # Nothing reaches the first threshold; infinity would not be JSON.
    threshold = np.concatenate([[np.nextafter(1.0, 2.0)], values[::-1]])
    kept = np.unique(np.linspace(0, len(threshold) - 1, min(len(threshold), POINTS)).round().astype(np.int64))
    area = float(np.trapezoid(true_positive, false_positive))
    return RocCurve(false_positive[kept], true_positive[kept], threshold[kept], area)
