"""Checkpoints that are whole or absent, in one file without code in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from dedpo.errors import UserError


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists and dicts of them) under a temporary name, then rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The saved state, or None if there is none.

    Raises:
        UserError: the file is there but cannot be read.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        # torch raises UnpicklingError, RuntimeError, EOFError or OSError for the same thing: a damaged file.
        raise UserError(f"{path}: damaged checkpoint ({type(error).__name__}); delete it to start again") from None
    assert isinstance(state, dict)
    return state
