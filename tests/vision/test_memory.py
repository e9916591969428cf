from __future__ import annotations

import pytest
import torch

from dedpo.errors import UserError
from dedpo.vision.memory import memory_errors


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes"),
    ],
)
def test_running_out_of_memory_says_what_to_do(error: Exception) -> None:
    with (
        pytest.raises(UserError, match="16 pairs: out of memory; lower it"),
        memory_errors("16 pairs", "lower it"),
    ):
        raise error


def test_torchs_own_error_is_known() -> None:
    """The words are torch's and may change."""
    with pytest.raises(UserError, match="4 pairs: out of memory; lower it"), memory_errors("4 pairs", "lower it"):
        torch.empty(1 << 50)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors("16 pairs", "lower it"):
        raise RuntimeError("wrong shape")
