"""Running out of memory, told as what to set: shared by the stages that fill a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dedpo.errors import UserError

# torch has a class of its own for a GPU's memory and a plain RuntimeError for the machine's and for its libraries'.
_TEXTS: Final = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


@contextmanager
def memory_errors(what: str, remedy: str) -> Iterator[None]:
    """Within: running out of memory is an error that says what to do about it.

    Args:
        what: was done, with how many at a time, such as 'training: 16 pairs a forward pass'.
        remedy: the setting that helps.

    Raises:
        UserError: memory ran out.
    """
    try:
        yield
    except Exception as error:
        is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if is_memory or (isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)):
            raise UserError(f"{what}: out of memory; {remedy}") from error
        raise
