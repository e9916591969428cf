"""The volume $DEDPO_CACHE: encodings from run to run, and work that outlives the pod that did it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import dedpo
from dedpo.contract import records
from dedpo.errors import UserError
from dedpo.outputs import locks
from dedpo.outputs.manifest import MANIFEST, write_json
from dedpo.terminal import note

WORK: Final = "work"
RUNS: Final = "dedpo-runs"
LOCK: Final = ".lock"
REMOVED: Final = ".removed"
# What `durable` has made: $DEDPO_CACHE may be a folder with other work in it.
_NAME: Final = re.compile(rf"[0-9a-f]{{32}}({re.escape(REMOVED)})?")
# Seconds: a pod that is being evicted holds its work for its last half minute, and the one in its place waits for it.
PATIENCE: Final = 100.0


def cache_folder() -> Path:
    """Where encodings are kept from run to run: $DEDPO_CACHE (a volume) if it can be written, else for this run."""
    return _volume() or Path(tempfile.mkdtemp(prefix="dedpo-cache-"))


def workspace() -> Path:
    """Evidently's workspace of all runs, which the dashboard shows: on the volume, or for this run alone."""
    return cache_folder() / "evidently"


def answers(stage: str) -> Path | None:
    """Where what annotators or judges have answered is kept for every run, and never pruned; None without a volume."""
    volume = _volume() if os.environ.get("DEDPO_CACHE") else None
    return volume / "answers" / stage if volume else None


def _volume() -> Path | None:
    """$DEDPO_CACHE; None, with a line in the log, if it is not there or cannot be written."""
    name = os.environ.get("DEDPO_CACHE")
    if not name:
        _warn("$DEDPO_CACHE is not set: nothing is kept for a retry or the next run")
        return None
    try:
        # Not made: where the volume is not mounted, as in a run on one machine, nothing is written beside the run.
        with tempfile.TemporaryFile(dir=name):
            return Path(name)
    except OSError as error:
        _warn(f"$DEDPO_CACHE: {name} cannot be written ({error.strerror}): nothing is kept for a retry or the next run")
        return None


@contextmanager
def durable(out: str, key: Mapping[str, Any]) -> Iterator[Path]:
    """Where a long stage works, so that a retried pod, or another run with the same inputs, goes on where it was.

    That is a folder on the volume $DEDPO_CACHE, named by the hash of `key` and dedpo's version; what the stage leaves
    there is copied to `out` when the body ends well. It stays there in any case, since the copy or Kubeflow's upload
    after it may be interrupted, too: `finished` takes it over, and `prune` removes it after 7 days without use. Without
    a volume, or while another pod works there, it is `out` itself.

    Args:
        out: the artefact's path.
        key: all that decides the result: stage, settings, the inputs' hashes, arm, seed.
    """
    volume = _volume()
    folder = volume / WORK / _sha(key) if volume else None
    with _owned(folder, PATIENCE) as mine:
        if folder is not None and not mine:
            _warn(f"{folder}: another task works there on the same; this one starts from nothing")
        if folder is None or not mine:
            yield Path(out)
            return
        os.utime(folder)  # `prune` counts from the last use
        yield folder / "out"
        _hand_over(folder / "out", Path(out))


def finished(out: Path, facts: str) -> dict[str, Any] | None:
    """What the file `facts` of an output says that an interrupted try has finished there; None if none has.

    Raises:
        UserError: the output is finished and the file is lost or broken.
    """
    if not (out / MANIFEST).is_file():
        return None
    found = records.read(out / facts, dict[str, Any], f"delete {out} to run it again")
    note(f"{out}: finished by an earlier try, and taken over")
    return found


def mark(run_id: str, facts: Mapping[str, Any]) -> None:
    """Leave `facts` of a run that came to its end; nothing but a warning where there is no volume.

    Raises:
        UserError: the volume takes no file more.
    """
    if (volume := _volume()) is None:
        return
    path = _mark_of(volume, run_id)
    try:
        path.parent.mkdir(exist_ok=True)
        write_json(path, dict(facts))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); the run's results are whole, but its end cannot be told: "
            "make room on the volume, and start the run again, which takes them from Kubeflow's cache"
        ) from None


def marked(run_id: str) -> tuple[bool, dict[str, Any] | None]:
    """Whether the volume can tell of a run's end, and the facts that `mark` has left; None if it never got there."""
    if (volume := _volume()) is None:
        return False, None
    try:
        found = json.loads(_mark_of(volume, run_id).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True, None
    except (OSError, ValueError) as error:
        _warn(f"{_mark_of(volume, run_id)}: cannot be read ({error})")
        return False, None
    assert isinstance(found, dict)
    return True, found


def _mark_of(volume: Path, run_id: str) -> Path:
    return volume / RUNS / f"{quote(run_id, safe='')}.json"


def _sha(key: Mapping[str, Any]) -> str:
    # A stage goes on with its own version's work only, and may refuse to touch another's.
    whole = json.dumps([dedpo.__version__, dict(key)], sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


@contextmanager
def _owned(folder: Path | None, patience: float = 0.0) -> Iterator[bool]:
    """Whether this process alone may work in `folder`, which is made; asked again for `patience` seconds."""
    if folder is None:
        yield False
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.alone(folder, file=folder / LOCK, patience=patience))
        except locks.InUseError:
            yield False
        else:
            yield True


def _hand_over(made: Path, out: Path) -> None:
    """Bring a finished output from the volume to its artefact's path: there whole, or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.arriving")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise UserError(f"{out}: files lie there that no run of dedpo made; choose another place, or move them")
    for leftover in (temporary, out):
        if leftover.is_dir():
            shutil.rmtree(leftover)
    # Copied, not moved: killed midway, the next try still finds all of it on the volume. Without the stage's working
    # files, which are still there if it was killed at its very end.
    shutil.copytree(made, temporary, ignore=lambda at, names: [n for n in names if n[0] == "." and Path(at) == made])
    temporary.replace(out)


def prune(days: float = 7) -> list[str]:
    """Remove what tasks have kept on the volume and nobody has touched for so long; returns what it was.

    It belongs into the exit task and never fails: what cannot be removed is told and stays.
    """
    volume = _volume() if os.environ.get("DEDPO_CACHE") else None
    removed: list[str] = []
    # What an earlier pruning was killed over comes first: its place is needed.
    mine = [p for p in (volume / WORK).glob("*") if _NAME.fullmatch(p.name) and not p.is_symlink()] if volume else []
    for folder in sorted(mine, key=lambda p: p.suffix != REMOVED):
        try:
            if folder.suffix == REMOVED:
                shutil.rmtree(folder)
                continue
            if time.time() - _last_change(folder) <= days * 86_400:
                continue
            with _owned(folder) as is_mine:
                if is_mine:
                    # Out of the way in one step, so that nobody takes half an output over.
                    shutil.rmtree(folder.rename(folder.with_suffix(REMOVED)))
                    removed.append(folder.name)
        except OSError as error:
            _warn(f"{folder}: cannot be removed ({error.strerror})")
    for path in sorted((volume / RUNS).glob("*.json")) if volume else []:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > days * 86_400:
                path.unlink()
    return removed


def _last_change(folder: Path) -> float:
    files = (path.lstat().st_mtime for path in folder.rglob("*") if path.name != LOCK)
    return max([folder.stat().st_mtime, *files])


def _warn(line: str) -> None:
    note(f"warning: {line}")
