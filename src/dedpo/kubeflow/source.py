"""What lies where in the folder that a pipeline is given: pairs, people's ratings, prompts."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Final, NamedTuple

from dedpo.contract.sections import WorldConfig
from dedpo.errors import UserError, excerpt
from dedpo.lineage import references
from dedpo.outputs.manifest import MANIFEST

SUFFIXES: Final = (".txt", ".text", ".prompts")


class Place(NamedTuple):
    """A source folder's parts.

    Attributes:
        data: what the import reads: the folder itself, or a finished import in data/.
        human: rounds/ and ratings/, if people's ratings came later.
        prompts: a text file, one prompt a line.
    """

    data: Path
    human: Path | None
    prompts: Path


def locate(source: Path, prompts: str) -> Place:
    """The parts of `source`, a folder in a layout that the import knows or with a finished import, there or in data/.

    Args:
        prompts: the prompts' file, relative to `source`.

    Raises:
        UserError: no such folder or file, or the file lies elsewhere.
    """
    if not source.is_dir():
        raise UserError(f"source: {source} is no folder; give the URI of a folder with the pairs and the prompts")
    inside = source / "data"
    data = inside if (inside / MANIFEST).is_file() else source
    human = source / "human"
    return Place(data, human if human.is_dir() else None, _prompts(source, prompts))


def _prompts(source: Path, name: str) -> Path:
    path = source / name
    if not path.resolve().is_relative_to(source.resolve()):
        raise UserError(f"prompts: '{excerpt(name)}' lies outside the source; name a text file in it")
    if not path.is_file():
        known = [p.name for p in sorted(source.iterdir()) if p.suffix in SUFFIXES]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        there = f"did you mean '{close[0]}'?" if close else f"text files there: {', '.join(known) or 'none'}"
        raise UserError(f"prompts: no '{excerpt(name)}' in the source; {there}")
    return path


def world(source: str) -> WorldConfig:
    """The settings of the embedded pairs: 'world' for the usual number, 'world:200' for so many.

    Raises:
        UserError: what follows the colon is no number from 2 up.
    """
    count = source.partition(":")[2]
    if not count:
        return WorldConfig()
    if not count.isascii() or not count.isdigit() or int(count) < 2:
        raise UserError(f"source: '{excerpt(source)}': write 'world', or 'world:200' for so many pairs")
    return WorldConfig(pairs=int(count))


def pinned(source: str, commit: str) -> str:
    """REPO@REVISION:PATH with the commit in the revision's place, so that a moved tag cannot slip in between."""
    reference = references.parse(source)
    return f"{reference.repo}@{commit or reference.revision}:{reference.path}"
