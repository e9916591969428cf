"""The policy as it was on the way: the weights that would be saved then, for a fair comparison of arms.

`steps/000050` below a policy holds the adapters, or the UNet alone: the other parts of a model are its policy's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dedpo import disk
from dedpo.vision import step_files

# Writes what was trained into a folder; on the main process alone.
Write = Callable[[dict[str, Any], Path], None]


def save(trainer: Any, folder: Path, steps_done: int, write: Write) -> None:
    """Keep the averaged weights after so many steps; whole or absent. Every rank must call it at the same time."""
    with trainer.averaged():
        weights = trainer.networks.weights()
        if trainer.accelerator.is_main_process:
            target = step_files.folder(folder, steps_done)
            partial = target.with_name(f".{target.name}.tmp")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write(weights, partial)
            # The step came again: an interrupted run has gone on from before it, to the same weights.
            shutil.rmtree(target, ignore_errors=True)
            disk.sync_folder(partial, [path for path in partial.rglob("*") if path.is_file()])
            partial.rename(target)
            disk.sync(target.parent)
            disk.sync(folder)
    trainer.accelerator.wait_for_everyone()
