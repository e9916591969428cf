"""Where tensors live: shared by training, sampling and scoring."""

from __future__ import annotations

import torch

from dedpo.errors import UserError


def choose_device(name: str) -> torch.device:
    """'auto' is CUDA where there is a GPU, else the CPU.

    Raises:
        UserError: 'cuda' without a GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': torch sees no GPU here; see 'dedpo doctor', or set device to 'auto'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
