"""The files of an Evidently workspace: Evidently reads all of them at once, and ends at the first that is torn."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dedpo.outputs import locks

# Seconds, for another run that adds to the workspace.
PATIENCE: Final = 60.0
# Evidently's names. Another folder in there is a stranger's, and stays as it is.
_ID: Final = "-".join("[0-9a-f]" * n for n in (8, 4, 4, 4, 12))
# What Evidently reads, and what none of these files is without.
_FILES: Final = {
    f"{_ID}/metadata.json": {"id", "name"},
    f"{_ID}/dashboard.json": {"tabs", "panels"},
    f"{_ID}/snapshots/{_ID}.json": {"report", "timestamp", "metric_results"},
}


@contextmanager
def whole(workspace: Path) -> Iterator[list[Path]]:
    """Within: this process alone writes to the workspace, and every file that Evidently will read can be read.

    Yields:
        what a killed run or a full disk had left torn: renamed to <name>.torn-<time> beside where it was.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    with locks.alone(workspace, patience=PATIENCE):
        yield [_put_aside(path) for path in _torn(workspace)]


def _torn(workspace: Path) -> list[Path]:
    return [
        path
        for pattern, names in _FILES.items()
        for path in sorted(workspace.glob(pattern))
        if path.is_file() and not _is_whole(path, names)
    ]


def _is_whole(path: Path, names: set[str]) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and names <= found.keys()


def _put_aside(path: Path) -> Path:
    return path.rename(path.with_name(f"{path.name}.torn-{time.time_ns()}"))
