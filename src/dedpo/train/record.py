"""What a run tells of each step: a line in metrics.jsonl, the progress display, a point in the trackers."""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from dedpo import disk
from dedpo.contract.sections import TrainConfig
from dedpo.errors import UserError
from dedpo.terminal import Advance, progress

METRICS: Final = "metrics.jsonl"
# Steps over which the speed is taken.
RECENT: Final = 20


class Record:
    """The main process's record of a run.

    Attributes:
        rows: the measurements of every step so far, an interrupted run's included.
    """

    def __init__(
        self, rows: list[dict[str, float | None]], file: TextIO, advance: Advance, trackers: Any, pairs: int
    ) -> None:
        self.rows = rows
        self._file, self._advance, self._trackers, self._pairs = file, advance, trackers, pairs
        self._times = deque([time.perf_counter()], maxlen=RECENT + 1)

    def step(self, measured: Mapping[str, float], beside: Mapping[str, float] | None = None) -> None:
        """Take up one step.

        Args:
            measured: numbers that are the same whenever the run is repeated; what is not finite is written as null.
            beside: others, such as peak memory: for the trackers alone.
        """
        row = _row(measured)
        self.rows.append(row)
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        speed = self._speed()
        self._trackers.log(int(measured["step"]), {**measured, **(beside or {}), "pairs_per_second": speed})
        self._advance(
            f"loss {measured['loss']:.3f}, |h| {measured['mean_abs_logit']:.2f}, "
            f"lr {measured['learning_rate']:.1e}, {speed:.3g} pairs/s"
        )

    def sync(self) -> None:
        """Force the lines so far to the disk: before the checkpoint that knows of their steps."""
        os.fsync(self._file.fileno())

    def _speed(self) -> float:
        self._times.append(time.perf_counter())
        return self._pairs * (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)


@contextmanager
def recording(
    folder: Path,
    config: TrainConfig,
    run: str,
    settings: Mapping[str, Any],
    done: int,
    last: Mapping[str, float] | None = None,
) -> Iterator[Record]:
    """Open the record of a run of which `done` steps are known; lines of later ones are cut off, they come again.

    Args:
        folder: where metrics.jsonl lies.
        run: the run's name in the trackers.
        settings: shown there.
        last: what the last known step measured, if its line says more than is to stand there.

    Raises:
        UserError: a tracker cannot be started, or lines of known steps are lost.
    """
    from dedpo.train.trackers import Trackers

    rows = _cut_back(folder / METRICS, done, last)
    trackers = Trackers(config.trackers, folder, run, settings, rows)
    try:
        with (
            (folder / METRICS).open("a", encoding="utf-8") as file,
            progress(f"training {config.steps} steps", config.steps, done) as advance,
        ):
            yield Record(rows, file, advance, trackers, config.batch_size)
    finally:
        trackers.close()


def _row(measured: Mapping[str, float]) -> dict[str, float | None]:
    # JSON has no NaN.
    return {name: value if math.isfinite(value) else None for name, value in measured.items()}


def _cut_back(path: Path, done: int, last: Mapping[str, float] | None) -> list[dict[str, float | None]]:
    lines: list[str] = path.read_text(encoding="utf-8").splitlines()[:done] if path.is_file() else []
    if len(lines) < done:
        raise UserError(
            f"{path}: {len(lines)} lines, and the last checkpoint knows of {done} steps; bring the file back, or "
            f"delete {path.parent} to start again"
        )
    if last:
        lines[-1] = json.dumps(_row(last), allow_nan=False)
    disk.write_text(path, "".join(f"{line}\n" for line in lines))
    return [json.loads(line) for line in lines]
