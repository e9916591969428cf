"""A finished import as a source: what another machine imported is copied and verified, not imported again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from dedpo import disk
from dedpo.errors import UserError
from dedpo.outputs.manifest import MANIFEST, read_manifest
from dedpo.terminal import progress

RATINGS: Final = "ratings.parquet"
OTHERS: Final = ("set_aside.csv", "summary.json")
_CHUNK: Final = 2**20


def is_import(folder: Path) -> bool:
    """Whether a folder is the output of a finished import."""
    if not (folder / MANIFEST).is_file() or not (folder / "pairs").is_dir() or not (folder / RATINGS).is_file():
        return False
    return read_manifest(folder).get("stage") == "data"


def copy(source: Path, out: Path) -> None:
    """Copy shards, ratings and what was counted into the folder `out`; files that are there already are kept.

    Copied and not linked: a later change of the source, or of a file's rights by a tool that caches outputs, must not
    reach the other.

    Raises:
        UserError: a file is missing, is not in the manifest, or its hash is another than the manifest's.
    """
    outputs = read_manifest(source).get("outputs")
    known: dict[str, Any] = outputs if isinstance(outputs, dict) else {}
    names = sorted(f"pairs/{path.name}" for path in (source / "pairs").glob("*.parquet"))
    lost = [name for name in known if name.startswith("pairs/") and name not in names]
    if lost:
        raise UserError(f"{source}: {lost[0]} is missing ({len(lost)} shards are); fetch the folder again")
    (out / "pairs").mkdir(exist_ok=True)
    for stray in (out / "pairs").glob(".*"):
        stray.unlink()
    here = [*names, RATINGS, *(name for name in OTHERS if (source / name).is_file())]
    with progress("copying files", len(here)) as advance:
        for name in here:
            if name not in known:
                raise UserError(f"{source}: {name} is not in its {MANIFEST}; remove the file or import again")
            _copy(source / name, out / name, str(known[name]))
            advance("")


def _copy(source: Path, target: Path, sha256: str) -> None:
    if target.exists():
        return
    temporary = target.with_name(f".{target.name}.tmp")
    digest = hashlib.sha256()
    try:
        with source.open("rb") as file, temporary.open("wb") as copied:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                copied.write(chunk)
    except FileNotFoundError:
        raise UserError(f"{source}: the file is missing; fetch the folder again") from None
    if digest.hexdigest() != sha256:
        temporary.unlink()
        raise UserError(f"{source}: its content is not what {MANIFEST} says; fetch the file again")
    disk.replace(temporary, target)
