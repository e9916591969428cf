"""What outlasts a power cut: files are on the disk before the name that refers to them is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

# A journal commits for many at once.
_THREADS: Final = 8


def sync(path: Path) -> None:
    """Force a file's content, or the names in a folder, to the disk; a file system that cannot is left to itself."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # write-only, or another user's: whoever wrote it has synced it, or nobody can
        return
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network file systems cannot sync a folder; an error of the disk itself must not pass.
        if path.is_file():
            raise
    finally:
        os.close(descriptor)


def replace(temporary: Path, target: Path) -> None:
    """Rename a file that is whole, so that after a power cut `target` is the old one or the new one."""
    sync(temporary)
    os.replace(temporary, target)  # noqa: PTH105 (tests record the order of these calls)
    sync(target.parent)


def write_text(path: Path, text: str) -> None:
    """Write a whole text, by way of a temporary name; what is no UTF-8 of a file's name becomes \\udc…, as in JSON."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    replace(temporary, path)


def sync_folder(folder: Path, files: Iterable[Path]) -> None:
    """Force these files in `folder` to the disk, and then every folder's names."""
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(sync, files))
    for place in [path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()]:
        sync(place)
    sync(folder)
