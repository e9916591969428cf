"""Which images have been found to decode, on disk as they come: a killed import decodes none of them again."""

from __future__ import annotations

import json
from pathlib import Path

from dedpo.data.importing.distinct_pairs import CheckedImage

# What a file was when it was looked at: size in bytes and time of its last change; (0, 0) for bytes named by a hash.
Stamp = tuple[int, int]


class CheckedImages:
    """Good images by key (a path, or the SHA-256 of bytes); refused ones are looked at again.

    Each write goes to the operating system at once: a killed process loses nothing of it, only a power cut needs fsync.
    The import's folder is one process's alone, and with it this file.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file at `path`, a JSON list a line."""
        self._found: dict[str, tuple[Stamp, CheckedImage]] = {}
        self._new: list[bytes] = []
        self._file = path.open("ab+", buffering=0)
        self._file.seek(0)
        data = self._file.readall()
        # What follows the last newline was torn by a crash, and is cut off before the next line is added.
        self._file.truncate(data.rfind(b"\n") + 1)
        for line in data.splitlines():
            try:
                key, size, changed, sha256, length = json.loads(line)
            except (ValueError, TypeError):
                continue
            self._found[key] = ((size, changed), CheckedImage(sha256, length))

    def close(self) -> None:
        """Write what was added, and close the file."""
        self.flush()
        self._file.close()

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
