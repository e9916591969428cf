"""SHA-256 of files and folders; a large file is not read twice while the file system says that it is the same file.

What was hashed is noted in `dedpo/hashes.sqlite` in the user's cache folder, under path, size, inode and the times of
the last change of content (mtime) and of anything (ctime), in nanoseconds. Programs can set mtime and not ctime: a file
that was written over is read again whatever it says of itself. Without a place to write, nothing is noted.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

MANIFEST: Final = "manifest.json"
# Beside it: what differs from run to run, and so decides nothing.
RUN: Final = "manifest.run.json"
# Below this many bytes together, reading costs less than looking up.
WORTH_NOTING: Final = 8 << 20
# A file that changed this recently may change again without a new time: clocks of file systems are coarse.
SETTLED_SECONDS: Final = 2.0
_CHUNK: Final = 64
_THREADS: Final = 4
# Paths as bytes, for not every name is text; identities as text, for an inode may need all of 64 bits.
_TABLE: Final = "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, identity TEXT, sha256 TEXT) WITHOUT ROWID"


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(files: Mapping[str, str]) -> str:
    """SHA-256 of a folder's {relative path: SHA-256}."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


def content(folder: Path, hasher: Callable[[Iterable[Path]], dict[Path, str]] | None = None) -> dict[str, str]:
    """{relative path: SHA-256} of a folder's files, without manifests, records of runs, and what begins with a dot.

    Args:
        hasher: `hashes`, unless another is given.
    """
    files = contained(folder)
    found = (hasher or hashes)(files.values())
    return {name: found[path] for name, path in files.items()}


def contained(folder: Path) -> dict[str, Path]:
    """The files that count as a folder's content, by their relative paths, in order."""
    paths = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): path
        for name, path in paths.items()
        if name.name not in (MANIFEST, RUN) and not name.parts[0].startswith(".")
    }


def fresh(files: Iterable[Path]) -> dict[Path, str]:
    """Each file's SHA-256, all of them read now."""
    paths = list(files)
    if len(paths) < 2:
        return {path: sha256(path) for path in paths}
    # Hashing lets go of the interpreter's lock.
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        return dict(zip(paths, pool.map(sha256, paths), strict=True))


def hashes(files: Iterable[Path]) -> dict[Path, str]:
    """Each file's SHA-256; of what was hashed before and has not changed, the noted one."""
    # Seen before the files are: what has been still for a while gets a new time when it changes from here on.
    settled = time.time_ns() - int(SETTLED_SECONDS * 1e9)
    stats = {path: path.stat() for path in files}
    if sum(stat.st_size for stat in stats.values()) < WORTH_NOTING:
        return fresh(stats)
    found: dict[Path, str] = {}
    with _notes() as notes:
        # A chunk at a time: a killed run leaves what it has read.
        for chunk in _chunks(list(stats)):
            identities = {path: _identity(stats[path]) for path in chunk}
            still = [path for path in chunk if max(stats[path].st_mtime_ns, stats[path].st_ctime_ns) < settled]
            known = _look_up(notes, identities)
            read = fresh(path for path in chunk if path not in known)
            found |= known | read
            _note(notes, {path: (identities[path], read[path]) for path in still if path in read})
    return found


def _chunks(paths: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    return (tuple(paths[i : i + _CHUNK]) for i in range(0, len(paths), _CHUNK))


def _identity(stat: os.stat_result) -> str:
    return f"{stat.st_size} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def folder() -> Path:
    """Where the notes lie: $XDG_CACHE_HOME or ~/.cache."""
    given = os.environ.get("XDG_CACHE_HOME")
    return Path(given) / "dedpo" if given else Path("~/.cache/dedpo").expanduser()


@contextmanager
def _notes() -> Iterator[sqlite3.Connection | None]:
    """The notes, open; None where they cannot be kept: hashing then takes its time, and nothing else changes."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(folder() / "hashes.sqlite", timeout=5.0)
    except (OSError, RuntimeError, sqlite3.Error):
        yield None
        return
    with closing(connection):
        yield connection if _is_usable(connection) else None


def _is_usable(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(_TABLE)
    except sqlite3.OperationalError:  # locked, read-only, a full disk: the notes are none the worse
        return False
    except sqlite3.DatabaseError:  # torn by a power cut: they begin anew
        (folder() / "hashes.sqlite").unlink(missing_ok=True)
        return False
    return True


def _look_up(notes: sqlite3.Connection | None, identities: Mapping[Path, str]) -> dict[Path, str]:
    if notes is None:
        return {}
    paths = {_name(path): path for path in identities}
    marks = ",".join("?" * len(paths))
    try:
        rows = notes.execute(
            f"SELECT path, identity, sha256 FROM files WHERE path IN ({marks})",  # noqa: S608
            list(paths),
        ).fetchall()
    except sqlite3.Error:
        return {}
    return {paths[name]: sha for name, identity, sha in rows if identity == identities[paths[name]]}


def _name(path: Path) -> bytes:
    return os.fsencode(path.absolute())


def _note(notes: sqlite3.Connection | None, read: Mapping[Path, tuple[str, str]]) -> None:
    if notes is None:
        return
    rows = [
        (_name(path), identity, sha) for path, (identity, sha) in read.items() if _identity(path.stat()) == identity
    ]
    try:
        with notes:
            notes.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)
    except sqlite3.Error:
        return
