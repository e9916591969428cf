"""A base model as it lies on people's disks: which weight files are there, and what to do where none can be read.

Weights are read from safetensors alone; nothing is unpickled. The names are those that diffusers and transformers save
under: '<stem>.safetensors', '<stem>.fp16.safetensors' for a variant, and in shards '<stem>-00001-of-00002.safetensors',
with the variant before or after the numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dedpo.errors import UserError, excerpt

INDEX: Final = "model_index.json"
# The parts whose weights are read; a safety checker is never loaded.
PARTS: Final = ("unet", "vae", "text_encoder", "text_encoder_2")
TOKENIZERS: Final = {"tokenizer": "text_encoder", "tokenizer_2": "text_encoder_2"}
KINDS: Final = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
SUPPORTED: Final = "Stable Diffusion 1.x/2.x and XL class models are supported"
_FETCH: Final = "fetch the model again, such as with 'hf download OWNER/NAME --local-dir"
_PREFIX: Final = "text_model."
_WEIGHTS: Final = re.compile(
    r"(?:diffusion_pytorch_model|model)(?:\.(?P<before>[A-Za-z][^.]*?))?(?:-\d+-of-\d+)?(?:\.(?P<after>[^.]+))?"
    r"\.safetensors"
)
_PICKLES: Final = (".bin", ".ckpt", ".pt", ".pth")
_POINTER: Final = b"version https://git-lfs"
# Every SDXL checkpoint in one file has its second text encoder's weights under this name.
_SDXL_KEY: Final = "conditioner.embedders.1."
_LARGEST_HEADER: Final = 100 << 20


def check_folder(folder: Path, place: str) -> None:
    """Refuse a folder that is no diffusers pipeline, is one of another kind, or lacks a part.

    Raises:
        UserError: it says what the folder is instead, and the command that makes a pipeline of it.
    """
    if (folder / INDEX).is_file():
        _check_index(folder, place)
        return
    if snapshots := sorted(folder.glob("snapshots/*/")):
        raise UserError(
            f"{place}: {folder} is a repository in the hub's cache; name the version in it: {snapshots[-1]}"
        )
    if (folder / "config.json").is_file():
        raise UserError(
            f"{place}: {folder} is a part of a model; name the folder of the whole pipeline, which holds {INDEX}"
        )
    if single := next((path for path in sorted(folder.iterdir()) if _is_checkpoint(path)), None):
        raise UserError(f"{place}: {folder} is no diffusers folder; {_conversion(single)}")
    raise UserError(f"{place}: {folder} is no diffusers model: it has no {INDEX}; name a pipeline's folder")


def _check_index(folder: Path, place: str) -> None:
    index = _index(folder)
    if (kind := index.get("_class_name", KINDS[0])) not in KINDS:
        raise UserError(f"{place}: {folder} is a {excerpt(str(kind))}; {SUPPORTED}")
    # Another VAE may take the place of its own.
    wanted = [part for part in (*PARTS, *TOKENIZERS) if part != "vae" and index.get(part) not in (None, [None, None])]
    if lacking := [part for part in wanted if not (folder / part).is_dir()]:
        raise UserError(f"{place}: {folder} has no folder {lacking[0]}, which its {INDEX} names; {_FETCH} {folder}'")
    for part in [part for part in TOKENIZERS if part in wanted]:
        # Without them a tokenizer is made that knows no word and complains of nothing.
        names = {path.name for path in (folder / part).iterdir() if not _is_pointer(path)}
        if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
            raise UserError(
                f"{place}: {folder / part} has no vocabulary (tokenizer.json, or vocab.json and merges.txt); {_FETCH} "
                f"{folder}'"
            )


def check_not_file(name: str, place: str) -> None:
    """Refuse a model in one file, as most web interfaces keep them.

    Raises:
        UserError: it holds the command that converts it.
    """
    if (path := Path(name)).is_file():
        raise UserError(f"{place}: {name} is a file, and a diffusers folder is read; {_conversion(path)}")


def variant(folder: Path, place: str, wanted: str | None) -> str | None:
    """The variant of weight files to read: `wanted`, or, where parts have no plain files, the one that they have.

    Raises:
        UserError: a part has no safetensors, only another variant's, or Git LFS pointers in their place.
    """
    found = {part: _variants(folder / part) for part in _parts(folder)}
    for part, names in found.items():
        if not names:
            raise UserError(f"{place}: {folder / part} {_without_weights(folder, folder / part)}")
    if wanted is not None:
        if not any(wanted in names for names in found.values()):
            known = sorted({name for names in found.values() for name in names if name})
            instead = f"it has {', '.join(known)}" if known else "it has the plain ones; leave the variant out"
            raise UserError(f"{place}: {folder} has no .{wanted}.safetensors files; {instead}")
        return wanted
    lacking = [names for names in found.values() if None not in names]
    shared = set.intersection(*lacking) if lacking else {None}
    if not shared:
        raise UserError(
            f"{place}: {folder} has different variants of its parts, {_listed(found)}; fetch one of them whole"
        )
    return sorted(shared, key=lambda name: (name != "fp16", str(name)))[0]


def missing(module: Any, folder: Path, variant: str | None) -> list[str]:
    """The weights of a text encoder that its files do not hold, and which transformers then fills with random numbers.

    Args:
        module: as it was loaded from the safetensors of `variant` in `folder`.
    """
    matches = [(path, match) for path in folder.glob("*.safetensors") if (match := _WEIGHTS.fullmatch(path.name))]
    files = [path for path, match in matches if (match["before"] or match["after"]) == variant]
    # Files say text_model.encoder or, as newer versions of transformers save them, encoder.
    known = {key.removeprefix(_PREFIX) for path in files for key in _keys(path)}
    return [name for name in module.state_dict() if name.removeprefix(_PREFIX) not in known] if known else []


def _index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def _parts(folder: Path) -> Iterator[str]:
    index = _index(folder)
    # A part that is not meant to be there is [null, null].
    yield from (part for part in PARTS if (folder / part).is_dir() and index.get(part) != [None, None])


def _variants(part: Path) -> set[str | None]:
    matches = [match for path in part.iterdir() if (match := _WEIGHTS.fullmatch(path.name)) and not _is_pointer(path)]
    return {match["before"] or match["after"] for match in matches}


def _without_weights(folder: Path, part: Path) -> str:
    files = sorted(part.iterdir())
    if any(_is_pointer(path) for path in files):
        return f"holds Git LFS pointers in place of weights; run 'git lfs pull' in {folder}"
    if any(path.suffix in _PICKLES for path in files):
        command = (
            "from diffusers import DiffusionPipeline as P; "
            f"P.from_pretrained('{folder}', safety_checker=None)"
            f".save_pretrained('{folder}-safetensors')"
        )
        return (
            "has pickled weights (.bin) alone, and nothing is unpickled here; if you trust the file, convert it: "
            f'python -c "{command}"'
        )
    return f"has no weights; {_FETCH} {folder}'"


def _listed(found: dict[str, set[str | None]]) -> str:
    return "; ".join(f"{part}: {', '.join(sorted(name or 'plain' for name in names))}" for part, names in found.items())


def _is_pointer(path: Path) -> bool:
    """Whether a file is what Git leaves in place of a large one that was not fetched."""
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def _is_checkpoint(path: Path) -> bool:
    return path.is_file() and path.suffix in (".safetensors", ".ckpt")


def _conversion(path: Path) -> str:
    is_xl = any(key.startswith(_SDXL_KEY) for key in _keys(path))
    kind = "StableDiffusionXLPipeline" if is_xl else "StableDiffusionPipeline"
    guess = "" if path.suffix == ".safetensors" else " (of an SDXL model: StableDiffusionXLPipeline)"
    command = f"from diffusers import {kind} as P; P.from_single_file('{path}').save_pretrained('{path.stem}')"
    return f'convert it once, where the hub can be reached: python -c "{command}"{guess}'


def _keys(path: Path) -> list[str]:
    """The names of the tensors in a safetensors file; none of another file."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header: Any = json.loads(file.read(size)) if size <= _LARGEST_HEADER else {}
    except (OSError, ValueError):
        return []
    return list(header) if isinstance(header, dict) else []
