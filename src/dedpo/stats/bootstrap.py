"""The bootstrap over prompts: pairs of one prompt are alike, so they are drawn together or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from dedpo.stats.arrays import Floats
from dedpo.stats.intervals import Interval

_CHUNK: Final = 2**22  # weights drawn at a time: 32 MB


def resampled(sums: Floats, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Totals over resampled groups, in chunks of shape (chunk, ...); none for fewer than two groups.

    Args:
        sums: what each group adds to the total, shape (n_groups, ...).
    """
    n = len(sums)
    if n < 2:
        return
    flat = sums.reshape(n, -1)
    step = max(1, _CHUNK // n)
    for begin in range(0, draws, step):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=min(step, draws - begin))
        yield (weights.astype(np.float64) @ flat).reshape(-1, *sums.shape[1:])


def percentiles(value: float, drawn: Floats) -> Interval:
    """The 2.5 % and 97.5 % points of the draws that are numbers."""
    known = drawn[np.isfinite(drawn)]
    if not len(known) or not np.isfinite(value):
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(value, float(low), float(high))
