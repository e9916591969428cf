"""The reference's errors, shared by runs: with the same draws they are the same for every arm and need one pass.

They lie in the cache's folder, a file a shard, seed and numeric path, so that other weights, encoders, resolutions or
precisions never meet. A cell is 8 bytes at a place that only (pair, visit) decides, and holes read as zero, which no
error is: nothing need be allocated ahead for visits that may come. The first process to write a cell wins, and the
others take what it wrote: the last bits depend on who else was in the batch, and a resumed run must see what it saw.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dedpo import disk
from dedpo.train.backbone import NoiseSchedule
from dedpo.train.cache import Cache
from dedpo.vision.diffusion import weights_hash

Floats = NDArray[np.float32]
# Increase it when draws or the error's definition change.
VERSION: Final = 1
_CELL: Final = np.dtype(("<f4", 2))


def reference_key(unet: Any, schedule: NoiseSchedule, precision: str) -> str:
    """A hash of everything beside cache, seed, pair and visit that decides a reference error.

    Args:
        unet: the reference as loaded, before adapters, wrappers or compilation.
        precision: whatever else decides the rounding, such as 'bf16 on cuda, compiled'.
    """
    parts = (VERSION, weights_hash(unet), hashlib.sha256(schedule.identity).hexdigest(), precision)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


class ReferenceErrors:
    """Errors of one reference under the draws of one seed."""

    def __init__(self, cache: Cache, key: str, seed: int) -> None:
        """
        Args:
            cache: where the pairs' encodings are; the errors lie in its folder.
            key: from `reference_key`.
            seed: of the draws; evaluation on held-out pairs has its own.
        """
        self._cache = cache
        self._folder = cache.folder / "reference" / f"{key}-seed{seed}"

    def get(self, pair_ids: Sequence[str], visits: Sequence[int]) -> Floats:
        """ρ of images 0 and 1, shape (2, batch); NaN where it is not known yet."""
        cells = np.full((len(pair_ids), 2), np.nan, dtype=np.float32)
        for entry, places in self._places(pair_ids, visits).items():
            try:
                file = os.open(self._path(entry), os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                for i, offset in places:
                    cells[i] = _read(file, offset)
            finally:
                os.close(file)
        return np.ascontiguousarray(cells.T)

    def put(self, pair_ids: Sequence[str], visits: Sequence[int], errors: Floats) -> Floats:
        """Keep errors of shape (2, batch) where none are known and they are finite.

        Returns:
            shape (2, batch): what is kept now, which is what to use; where nothing is, `errors`.
        """
        cells = np.array(errors.T, dtype="<f4", order="C")
        self._folder.mkdir(parents=True, exist_ok=True)
        for entry, places in self._places(pair_ids, visits).items():
            file = os.open(self._path(entry), os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(file)
                for i, offset in places:
                    kept = _read(file, offset)
                    if np.isfinite(kept).all():
                        cells[i] = kept
                    elif np.isfinite(cells[i]).all():
                        os.pwrite(file, cells[i].tobytes(), offset)
            finally:
                os.close(file)
        return np.ascontiguousarray(cells.T)

    def sync(self) -> None:
        """Force what is kept to the disk: before a checkpoint of steps that have seen it."""
        if self._folder.is_dir():
            disk.sync_folder(self._folder, self._folder.glob("*.f32"))

    def _path(self, entry: int) -> Path:
        return self._folder / f"{self._cache.entries[entry].name}.f32"

    def _places(self, pair_ids: Sequence[str], visits: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
        """entry → (position in the batch, offset in bytes) of its pairs."""
        places: dict[int, list[tuple[int, int]]] = {}
        for i, (pair, visit) in enumerate(zip(pair_ids, visits, strict=True)):
            assert visit >= 0
            entry, row = self._cache.row[pair]
            rows = len(self._cache.entries[entry].latents)
            places.setdefault(entry, []).append((i, (int(visit) * rows + row) * _CELL.itemsize))
        return places


def _read(file: int, offset: int) -> Floats:
    """Shape (2,); NaN for a cell that was never written."""
    data = os.pread(file, _CELL.itemsize, offset)
    cell = np.frombuffer(data, dtype="<f4") if len(data) == _CELL.itemsize else np.zeros(2, dtype=np.float32)
    return cell if cell.all() else np.full(2, np.nan, dtype=np.float32)


def _lock(file: int) -> None:
    # A file system without locks: two runs that train at once may differ in the last bits when resumed.
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)
