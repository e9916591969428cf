"""A JSON list as a stream of its elements: as a whole it would take gigabytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dedpo.errors import UserError

_BLOCK: Final = 2**20  # characters


class Blocks:
    """How far some files have been read, of `total` blocks: what a progress bar shows without a pass of its own."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.total = sum(-(-path.stat().st_size // _BLOCK) for path in files)
        self.read = 0


def entries(path: Path, blocks: Blocks | None = None) -> Iterator[Any]:
    """The elements of a JSON list, one at a time; `blocks` counts what is read.

    Raises:
        UserError: it is no JSON list, or ends in the middle.
    """
    decoder, buffer, position, number, is_open = json.JSONDecoder(), "", 0, 0, False
    try:
        with path.open(encoding="utf-8-sig") as file:
            while True:
                chunk = file.read(_BLOCK)
                if blocks is not None and chunk:
                    blocks.read += 1
                buffer, position = buffer[position:] + chunk, 0
                while True:
                    position = _skip(buffer, position, "" if not is_open else ",")
                    if position == len(buffer):
                        break
                    if not is_open:
                        if buffer[position] != "[":
                            raise UserError(f"{path}: not a JSON list; name a file that holds one")
                        is_open, position = True, position + 1
                        continue
                    if buffer[position] == "]":
                        return
                    try:
                        entry, position = decoder.raw_decode(buffer, position)
                    except ValueError:
                        break
                    yield entry
                    number += 1
                if not chunk:
                    raise UserError(f"{path}: ends in the middle of entry {number}; download it again")
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}); download it again") from None


def _skip(text: str, position: int, also: str) -> int:
    while position < len(text) and (text[position].isspace() or text[position] in also):
        position += 1
    return position


def first_entry(path: Path) -> Mapping[str, Any]:
    """The first object of a JSON list; empty if it is none."""
    try:
        found = next(entries(path), None)
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}
