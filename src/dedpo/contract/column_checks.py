"""What a column's values must be: predicates that the tables' schemas are made of."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

Check = Callable[[pa.ChunkedArray], pa.ChunkedArray]


def between(low: float, high: float, *, low_open: bool = False) -> Check:
    """A column check: True where low ≤ value ≤ high (low < value if `low_open`); NaN fails."""

    def check(column: pa.ChunkedArray) -> pa.ChunkedArray:
        above = pc.greater(column, low) if low_open else pc.greater_equal(column, low)
        return pc.and_(above, pc.less_equal(column, high))

    return check


def finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column check: True where the value is neither NaN nor infinite."""
    return pc.is_finite(column)


def one_of(*values: str) -> Check:
    """A column check: True where the value is one of `values`."""
    return lambda column: pc.is_in(column, pa.array(values))


def not_empty(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column check: True where the text is not empty."""
    return pc.greater(pc.binary_length(column), 0)
