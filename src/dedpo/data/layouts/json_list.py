"""A JSON list as a stream of its elements: as a whole it would take gigabytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dedpo.errors import UserError

_CHUNK: Final = 2**20  # characters


def entries(path: Path) -> Iterator[Any]:
    """The elements of a JSON list, one at a time.

    Raises:
        UserError: it is no JSON list, or ends in the middle.
    """
    decoder, buffer, position, number, is_open = json.JSONDecoder(), "", 0, 0, False
    try:
        with path.open(encoding="utf-8-sig") as file:
            while True:
                chunk = file.read(_CHUNK)
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
