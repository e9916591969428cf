"""The JSON that one stage leaves for another: lost, torn or foreign, it is named with what makes it again."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from dedpo.errors import UserError, excerpt


def read(path: Path, remedy: str, keys: Collection[str] = ()) -> dict[str, Any]:
    """A JSON object from a file.

    Args:
        remedy: what makes the file again, such as "run 'dedpo bias' again".
        keys: what the object is not without.

    Raises:
        UserError: it is missing, broken or something else; ends with the remedy.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({excerpt(str(error))}); {remedy}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no facts; {remedy}")
    if lacking := sorted(set(keys) - found.keys()):
        raise UserError(f"{path}: says nothing of '{lacking[0]}'; {remedy}")
    return found


def number(tree: Any, *keys: str) -> float | None:
    """The number at a place in it; None where there is none, or something else."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return float(tree) if isinstance(tree, int | float) and not isinstance(tree, bool) else None
