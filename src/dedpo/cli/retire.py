"""What the settings no longer name, out of the way of what they do: nothing is deleted.

A stage of dvc.yaml cannot depend on a list of folders that the settings name (treeverse/dvc#8171, #7151), so those that
read every policy depend on the folder above them. An arm or a seed that was taken out of the settings would stay in it,
here and in the hash that dvc.lock keeps, and not in a clone, which would then find everything changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from dedpo.contract.sections import ARMS
from dedpo.outputs import locks
from dedpo.outputs.ownership import last_of

RETIRED: Final = "retired"
PARTIAL: Final = ".partial"


def retire(work: Path, *, seeds: Collection[int], arms: Collection[str]) -> dict[Path, Path]:
    """Move what `work`/policies and `work`/targets hold of other seeds and arms to `work`/retired.

    Only what the stages make is moved: folders by a seed's number and an arm's name, unfinished ones, too.

    Returns:
        where each lay → where it lies now.

    Raises:
        UserError: one of them is being made.
    """
    moved = {}
    for folder in [*_seeds(work / "targets", seeds), *_policies(work / "policies", seeds, arms)]:
        target = _free(work / RETIRED / folder.relative_to(work))
        target.parent.mkdir(parents=True, exist_ok=True)
        with locks.alone(folder.with_name(folder.name.removesuffix(PARTIAL))):
            moved[folder] = folder.rename(target)
            if (last := last_of(folder)).exists():
                last.rename(last_of(target))
        if folder.parent.parent == work / "policies" and not any(folder.parent.iterdir()):
            folder.parent.rmdir()
    return moved


def _seeds(root: Path, kept: Collection[int]) -> Iterator[Path]:
    for folder in sorted(root.glob("*")):
        name = folder.name.removesuffix(PARTIAL)
        if folder.is_dir() and name.isascii() and name.isdigit() and int(name) not in kept:
            yield folder


def _policies(root: Path, seeds: Collection[int], arms: Collection[str]) -> Iterator[Path]:
    everything = list(_seeds(root, ()))
    for folder in (path for seed in everything for path in sorted(seed.glob("*"))):
        arm = folder.name.removesuffix(PARTIAL)
        if folder.is_dir() and arm in ARMS and not (int(folder.parent.name) in seeds and arm in arms):
            yield folder


def _free(path: Path) -> Path:
    """`path`, or with a number behind it where an earlier one of the name lies."""
    return next(p for n in range(10_000) if not (p := path.with_name(f"{path.name}.{n}" if n else path.name)).exists())
