"""Whether an output still belongs to what lies where its inputs lay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dedpo.errors import UserError
from dedpo.outputs.manifest import MANIFEST, fingerprint
from dedpo.outputs.origin import absolute, read_json


class Changed(NamedTuple):
    """An input that is not any more what an output was made from."""

    name: str
    path: Path


def changed(output: Path) -> Iterator[Changed]:
    """The inputs of a finished output that have changed since, where they still lie where they lay."""
    manifest = read_json(output / MANIFEST)
    inputs, paths = manifest.get("inputs"), manifest.get("paths")
    if not isinstance(inputs, dict) or not isinstance(paths, dict):
        return
    for name, sha in inputs.items():
        place = paths.get(name)
        path = absolute(output.parent / place) if isinstance(place, str) else None
        # What was carried away from where it was made says nothing about what it was made from.
        if path is not None and path.exists() and fingerprint(path) != sha:
            yield Changed(str(name), path)


def require(output: Path, remedy: str) -> None:
    """Refuse an output that was made from something else than what lies there now.

    Args:
        remedy: what makes it again, such as "run 'dedpo sample' again".

    Raises:
        UserError: names the output and the first input that changed.
    """
    if found := next(changed(output), None):
        raise UserError(f"{output}: made from another '{found.name}' than lies at {found.path} now; {remedy}")
