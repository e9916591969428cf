"""95 % intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dedpo.stats.arrays import Floats

Z95 = 1.959963984540054


class Interval(NamedTuple):
    """A value with its 95 % interval; low and high are NaN where none can be given."""

    value: float
    low: float
    high: float


def wilson(successes: float, n: int, z: float = Z95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927), z standard errors wide; NaN for n = 0."""
    if n == 0:
        return Interval(np.nan, np.nan, np.nan)
    p = successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n * n)) / (1 + z**2 / n)
    return Interval(p, float(centre - half), float(centre + half))


def student(values: Floats) -> Interval:
    """Student's t interval of a mean of independent values, shape (n,); no bounds for n < 2."""
    mean = float(np.mean(values)) if len(values) else np.nan
    if len(values) < 2:
        return Interval(mean, np.nan, np.nan)
    half = student_quantile(len(values) - 1) * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def student_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.stats import t  # scipy takes 0.3 s to import, and only reports need it

    return float(t.ppf(0.975, degrees))
