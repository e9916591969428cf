"""One process at a time at each output folder.

The lock is a file beside the folder that the operating system locks, so that it ends with its process, however that
ends; it says who works there, and is removed at the end. Where a file system knows no such locks, the file itself is
the lock: that of a dead process of this machine is taken over, that of another machine has to be deleted by hand.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dedpo.errors import UserError, excerpt

if TYPE_CHECKING:
    from filelock import BaseFileLock

# What file systems without locks answer: FUSE and Lustre without flock, NFS without its lock daemon; 524, Linux's own
# ENOTSUPP, has no name in Python.
_NO_LOCKS: Final = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, 524)
# Whoever may write in the folder may take over a lock that was left there.
_MODE: Final = 0o666


class InUseError(UserError):
    """Another process works there."""


def lock_file(folder: Path) -> Path:
    """Where the lock of `folder` lies."""
    # A name that nobody else gives a file; whoever calls the folder '.' or goes through a link means the same one.
    folder = folder.resolve()
    return folder.parent / f".{folder.name}.dedpo.lock"


@contextmanager
def alone(folder: Path, *, file: Path | None = None, patience: float = 0.0) -> Iterator[None]:
    """Within: no other process is in `alone` of the same folder, which need not exist.

    Args:
        file: the lock, if it is not to lie at `lock_file`.
        patience: seconds to wait for whoever is there.

    Raises:
        InUseError: another process is; the message says which, where and since when.
        OSError: the lock cannot be written.
    """
    path = file or lock_file(folder)
    lock = _acquired(folder, path, patience)
    try:
        yield
    finally:
        # Before it is let go: whoever waits for it sees that its file is gone, and makes one of its own.
        with suppress(OSError):
            path.unlink()
        lock.release(force=True)


def _acquired(folder: Path, path: Path, patience: float) -> BaseFileLock:
    from filelock import FileLock, SoftFileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        try:
            lock: BaseFileLock = FileLock(path, patience, _MODE, thread_local=False, fallback_to_soft=False)
            lock.acquire()
            _sign(path)
        except OSError as error:
            if isinstance(error, Timeout):
                raise
            if error.errno not in _NO_LOCKS:
                error.filename = str(folder)  # what the user named
                raise
            lock = SoftFileLock(path.with_suffix(".held"), patience, _MODE, thread_local=False)
            lock.acquire()
    except FileNotFoundError:  # whoever had it removed the folder that it lay in
        return _acquired(folder, path, patience)
    except Timeout:
        raise InUseError(f"{folder}: {_holder(path)}; wait for it or stop it, and run again") from None
    return lock


def _sign(path: Path) -> None:
    """Say who holds the lock, in the file; a full disk keeps nobody from working."""
    with suppress(OSError):
        path.write_text(f"{os.getpid()}\n{socket.gethostname()}\n", encoding="utf-8")


def _holder(path: Path) -> str:
    """'process 12 on host has been writing there since …', as far as the lock says."""
    held = path.with_suffix(".held")
    place = held if held.exists() else path
    try:
        pid, host = place.read_text(encoding="utf-8").splitlines()[:2]
        since = datetime.fromtimestamp(place.stat().st_mtime).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OSError, ValueError):
        return "another run is writing there"
    told = f"process {excerpt(pid, 12)} on {excerpt(host, 80)} has been writing there since {since}"
    return f"{told} (if it is dead, delete {place})" if place == held else told
