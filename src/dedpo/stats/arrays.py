"""Types of arrays, by what they hold; a docstring says their shapes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def numbered(names: Iterable[str]) -> tuple[list[str], Ints]:
    """Every name once, in order of appearance, and each one's place among them."""
    places: dict[str, int] = {}
    numbers = [places.setdefault(name, len(places)) for name in names]
    return list(places), np.array(numbers, dtype=np.int64)
