"""Checkpoints that are whole or absent, the last few of a run, each in one file without code in it.

Weights that are in shards on the ranks are whole in the file, so that a run may go on with other ranks than it began.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dedpo import disk
from dedpo.errors import UserError

# The dot makes it a working file: it goes when the run has finished.
PATTERN = ".checkpoint-*.pt"
BEST = ".best-*.pt"
_NAME = re.compile(r"\.checkpoint-(\d+)\.pt")


def save(folder: Path, steps_done: int, state: dict[str, Any], keep: int) -> None:
    """Write `state` under a temporary name, rename it, then let go of all but the last `keep` checkpoints.

    Args:
        state: tensors, numbers, strings, None, lists and dicts of them.
    """
    _write(folder / f".checkpoint-{steps_done:08d}.pt", state)
    for old in _all(folder)[:-keep]:
        old.unlink()


def latest(folder: Path) -> dict[str, Any] | None:
    """The state of the last checkpoint, its tensors mapped from the file; None if there is no checkpoint.

    Raises:
        UserError: the file is there but cannot be read.
    """
    found = _all(folder)
    if not found:
        return None
    return _read(
        found[-1], "delete it to go on from the one before it" if len(found) > 1 else "delete it to start again"
    )


def newest(folder: Path) -> Path | None:
    """The file of the last checkpoint; None if there is none."""
    found = _all(folder)
    return found[-1] if found else None


def save_best(folder: Path, step: int, weights: dict[str, Tensor], former: int | None = None) -> None:
    """Keep the weights with the lowest held-out NLL so far, those after step number `step`, in place of those before.

    Args:
        former: the step whose weights stay, too.
    """
    _write(_best(folder, step), weights)
    for old in set(folder.glob(BEST)) - {_best(folder, s) for s in (step, former) if s is not None}:
        old.unlink()


def best(folder: Path, step: int) -> dict[str, Tensor]:
    """What `save_best` kept of a step.

    Raises:
        UserError: it cannot be read.
    """
    return _read(_best(folder, step), "delete the folder to start again")


def _best(folder: Path, step: int) -> Path:
    return folder / f".best-{step:08d}.pt"


def _write(path: Path, state: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
    disk.replace(temporary, path)


def _read(path: Path, remedy: str) -> dict[str, Any]:
    try:
        # Mapped, the ranks of a machine share one copy of it.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        # torch raises UnpicklingError, RuntimeError, EOFError or OSError for the same thing: a damaged file.
        raise UserError(f"{path}: damaged checkpoint ({type(error).__name__}); {remedy}") from None
    assert isinstance(state, dict)
    return state


def _all(folder: Path) -> list[Path]:
    """In the order of their steps."""
    return sorted(path for path in folder.glob(PATTERN) if _NAME.fullmatch(path.name))
