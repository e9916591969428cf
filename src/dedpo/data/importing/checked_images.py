"""Which images have been found to decode, on disk as they come: a killed import decodes none of them again."""

from __future__ import annotations

import fcntl
import json
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from dedpo.data.importing.distinct_pairs import CheckedImage
from dedpo.errors import UserError

# What a file was when it was looked at: size in bytes and time of its last change; (0, 0) for bytes named by a hash.
Stamp = tuple[int, int]


def _opened(path: Path) -> FileIO:
    """A file of lines, open for this process alone; each write goes to the operating system at once.

    A killed process loses nothing of it, only a power cut needs fsync.

    Raises:
        UserError: another process has it open.
    """
    file = path.open("ab+", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(f"{path}: another run is writing there; wait for it, or stop it, and run again") from None
    except OSError:
        # A file system without locks: nobody is protected from starting twice, and one run works as well.
        pass
    return file


def _whole_lines(file: FileIO) -> list[bytes]:
    """The lines so far; what follows the last newline was torn by a crash and is cut off before the next is added."""
    file.seek(0)
    data = file.readall()
    whole = data.rfind(b"\n") + 1
    file.truncate(whole)
    return data[:whole].splitlines()


class CheckedImages:
    """Good images by key (a path, or the SHA-256 of bytes); a context manager. Refused ones are looked at again."""

    def __init__(self, path: Path) -> None:
        """Open or create the file at `path`, a JSON list a line.

        Raises:
            UserError: another process has it open.
        """
        self._file = _opened(path)
        self._found: dict[str, tuple[Stamp, CheckedImage]] = {}
        self._new: list[bytes] = []
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        self._file.close()

    def _read(self) -> None:
        for line in _whole_lines(self._file):
            try:
                key, size, changed, sha256, length = json.loads(line)
            except (ValueError, TypeError):
                continue
            self._found[key] = ((size, changed), CheckedImage(sha256, length))

    def get(self, key: str, stamp: Stamp) -> CheckedImage | None:
        """What was found of an image, if it is still the same file."""
        then, found = self._found.get(key, ((-1, -1), None))
        return found if then == stamp else None

    def add(self, key: str, stamp: Stamp, found: CheckedImage) -> None:
        """Keep a good image; `flush` writes it."""
        self._found[key] = (stamp, found)
        self._new.append(json.dumps([key, *stamp, found.sha256, found.size]).encode() + b"\n")

    def flush(self) -> None:
        """Write what was added; from then on it outlives the process."""
        if self._new:
            self._file.write(b"".join(self._new))
            self._new.clear()

    def forget(self) -> None:
        """Drop everything: a file is not what it was taken for."""
        self._found.clear()
        self._new.clear()
        self._file.truncate(0)
