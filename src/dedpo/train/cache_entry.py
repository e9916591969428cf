"""One entry of the cache on disk: the encodings of one shard of pairs, finished or absent."""

from __future__ import annotations

import fcntl
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dedpo import disk
from dedpo.outputs.manifest import write_json

Floats = NDArray[np.float32]
_INDEX: Final = "index.json"


@dataclass
class Index:
    """What the numbers belong to.

    Attributes:
        row: pair_id → index of its latents.
        caption: pair_id → index of its text; the same pairs.
        set_aside: pair_id → why its images cannot be decoded; the other pairs of the shard.
        cut: distinct prompts beyond the token limit.
        enlarged: pairs with an image smaller than the square.
        cropped: pairs with an image of which most lies outside the square.
    """

    row: dict[str, int] = field(default_factory=dict)
    caption: dict[str, int] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    enlarged: list[str] = field(default_factory=list)
    cropped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """A finished entry, memory-mapped.

    Attributes:
        name: hash of the shard.
        latents: float32 (rows of the shard, 1 or 2 flips, 2 images, 2, C, H, W): mean and standard deviation of the
            scaled posterior; zeros for a pair that was set aside.
        text: float32 (1 + distinct prompts, tokens, width); the first is the empty prompt's.
        pooled: float32 (1 + distinct prompts, width); None for SD1.5-class models.
    """

    name: str
    index: Index
    latents: Floats
    text: Floats
    pooled: Floats | None


def read(folder: Path) -> Entry | None:
    """The entry in `folder`; None if there is none, or a damaged one: a file missing, too short or unreadable."""
    try:
        index = Index(**json.loads((folder / _INDEX).read_text(encoding="utf-8")))
        arrays = {path.stem: _mapped(path) for path in folder.glob("*.npy")}
        entry = Entry(folder.name, index, arrays["latents"], arrays["text"], arrays.get("pooled"))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    fits = max(index.row.values(), default=-1) < len(entry.latents)
    return entry if fits and max(index.caption.values(), default=0) < len(entry.text) else None


def _mapped(path: Path) -> Floats:
    return np.asarray(np.load(path, mmap_mode="r"))


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` at the end; an exception leaves nothing."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        # A damaged entry may be in the way.
        shutil.rmtree(folder, ignore_errors=True)
        disk.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_rows(path: Path, rows: Iterator[Floats], shape: tuple[int, ...]) -> None:
    """Write a .npy file of `shape` row by row: memory-mapped writing to a full disk would end the process instead."""
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for row in rows:
            file.write(np.ascontiguousarray(row, dtype="<f4").tobytes())
    disk.sync(path)


def write_array(path: Path, array: Floats) -> None:
    """Write a .npy file."""
    with path.open("wb") as file:
        np.save(file, array)
    disk.sync(path)


def write_index(folder: Path, index: Index) -> None:
    """Write index.json."""
    write_json(folder / _INDEX, asdict(index))


@contextmanager
def claimed(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the entry's lock, so that no two processes encode the same shard; yield whether it was to be had."""
    path = folder.with_name(f".{folder.name}.lock")
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            is_free = True
        except BlockingIOError:
            is_free = False
        except OSError:
            # A file system without locks: two processes may do the same work, and the second's counts.
            is_free = True
        else:
            # Nobody works here, so what lies about was left by a process that was killed.
            for left in folder.parent.glob(f".{folder.name}.*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
        yield is_free
        if is_free and folder.is_dir():
            # Whoever still waits for it will find the finished entry.
            path.unlink(missing_ok=True)
