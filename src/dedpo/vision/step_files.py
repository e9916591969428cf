"""A policy as it was after some of its steps: `steps/000050` below it, adapters or the UNet alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final

STEPS: Final = "steps"
UNET: Final = "unet"


def folder(policy: Path, steps_done: int) -> Path:
    """Where the weights after so many steps lie."""
    return policy / STEPS / f"{steps_done:06d}"


def found(policy: Path) -> dict[int, Path]:
    """Steps → folder, ascending, of what was kept of a policy's training on the way."""
    return {int(path.name): path for path in sorted((policy / STEPS).glob("*")) if path.name.isdecimal()}


def policy_of(model: Path) -> Path | None:
    """The policy whose other parts a folder with a UNet alone needs; None: it is none of these."""
    is_step = model.parent.name == STEPS and model.name.isdecimal() and (model / UNET).is_dir()
    return model.parent.parent if is_step else None
