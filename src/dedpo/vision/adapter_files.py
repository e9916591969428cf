"""A LoRA policy's folder: the adapters, and which base model they belong to, by what it is and not by its name."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from dedpo.contract import model_names, records
from dedpo.contract.records.training import Base
from dedpo.errors import UserError
from dedpo.outputs import hashes, origin
from dedpo.outputs.manifest import write_json

BASE: Final = "base.json"
WEIGHTS: Final = "pytorch_lora_weights.safetensors"
ADAPTERS: Final = "adapters"


def candidates(base: Base, folder: Path, place: str) -> Iterator[str]:
    """Where to look for the base, the likeliest first; at least one.

    Raises:
        UserError: it is at none of its places.
    """
    beside = os.path.normpath(folder / base["place"]) if base["place"] else None
    found = list(dict.fromkeys(name for name in (beside, base["base"]) if name and Path(name).is_dir()))
    if base["place"] is None and not found:
        name = model_names.model(base["base"]).name
        found = [f"{name}@{base['commit']}" if base["commit"] else base["base"]]
    if not found:
        raise UserError(
            f"{place}: {folder}: its base: {base['base']}: no such folder, nor is {beside}; put the base there, or "
            f"name its place in {folder / BASE}"
        )
    yield from found


def differing(base: Base, found: Mapping[str, str], without: Collection[str] = ()) -> list[str]:
    """The parts in which another model than this base was found."""
    return [part for part, sha in base["sha256"].items() if part not in without and found.get(part) != sha]


def write(
    folder: Path, *, base: str, variant: str | None, vae: str | None, resolution: int, sha256: Mapping[str, str]
) -> None:
    """Write base.json into the folder of adapters; `folder` may be renamed, not moved elsewhere, afterwards."""
    is_here = Path(base).is_dir()
    commits = {} if is_here else origin.hub_commits({"base": base})
    record: Base = {
        "base": base,
        "place": os.path.relpath(base, folder) if is_here else None,
        "commit": commits.get("base", {}).get("commit"),
        "variant": variant,
        "vae": vae,
        "resolution": resolution,
        "sha256": dict(sha256),
    }
    write_json(folder / BASE, record)


def read(folder: Path, place: str) -> Base:
    """What base.json says.

    Raises:
        UserError: it cannot be read, or is not what `write` wrote.
    """
    return records.read(folder / BASE, Base, f"it says which base the adapters of {place} belong to; train again")


def bases(model: str) -> list[str]:
    """`model` and, while it is adapters, what they belong to: down to a whole model."""
    found = [model]
    while (Path(found[-1]) / BASE).is_file():
        below = read(Path(found[-1]), "model")
        found.append(next(candidates(below, Path(found[-1]), "model")))
    return found


def identity(folder: Path) -> dict[str, str]:
    """Part → hash of the base with these adapters on it; adapters on adapters are hashed together."""
    base, adapters = read(folder, "model")["sha256"], hashes.sha256(folder / WEIGHTS)
    return {**base, ADAPTERS: hashes.digest({"below": base.get(ADAPTERS, ""), "adapters": adapters})}


def other_base(folder: Path, place: str, base: Base, parts: Collection[str]) -> UserError:
    """The refusal of a base that is another model than the adapters were trained on."""
    return UserError(
        f"{place}: {folder}: at {base['base']} lies another model than the one that its adapters were trained on "
        f"({', '.join(parts)} differ); put that one back, or name its place in {folder / BASE}"
    )
