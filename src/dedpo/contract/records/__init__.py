"""The JSON that one stage leaves for another, a type a file: lost, torn or foreign, it is named with its remedy."""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dedpo.errors import UserError, excerpt

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def read(path: Path, kind: type[T], remedy: str) -> T:
    """The record in a file; keys that a later version has added stay in it.

    Args:
        kind: a type of this package.
        remedy: what makes the file again, such as "run 'dedpo bias' again".

    Raises:
        UserError: it is missing, broken or something else; names file and key, and ends with the remedy.
    """
    from pydantic import ValidationError

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({excerpt(str(error))}); {remedy}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no facts; {remedy}")
    try:
        _adapter(cast(Any, kind)).validate_python(found, strict=True)
    except ValidationError as error:
        raise UserError(f"{path}: {_fault(error)}; {remedy}") from None
    return cast(T, found)


def known(path: Path, kind: type[T], remedy: str) -> T | None:
    """The same for whoever can do without: None where there is no file, or, with a warning, one that is no record."""
    if not path.is_file():
        return None
    try:
        return read(path, kind, remedy)
    except UserError as error:
        logging.getLogger(__name__).warning("left out: %s", error)
        return None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _fault(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"says nothing of '{place}'"
    return f"'{place}' {first['msg'].removeprefix('Input ')}, and is {excerpt(repr(first['input']), 60)}"
