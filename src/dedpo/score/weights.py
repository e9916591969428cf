"""Weights in single files, here or on the hub; a pickle is opened only if its SHA-256 is trusted, and only tensors."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from dedpo.contract import model_names
from dedpo.errors import UserError, excerpt

# sac+logos+ava1-l14-linearMSE.pth as published in github.com/christophschuhmann/improved-aesthetic-predictor. The
# authors of HPSv2 publish no checksums.
PUBLISHED: Final = frozenset({"21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0"})


def locate(name: str, place: str) -> Path:
    """The file at a path here, or owner/name/file on the hub (downloaded, or from the hub's cache).

    Raises:
        UserError: neither; names `place`.
    """
    if Path(name).is_file():
        return Path(name)
    plain, revision = model_names.model(name)
    owner, _, rest = plain.partition("/")
    repository, _, file = rest.partition("/")
    if not file:
        raise UserError(
            f"{place}: {name}: no such file; name one, or owner/name/file on the hub, with @revision if wanted"
        )
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(f"{owner}/{repository}", file, revision=revision))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{place}: {name}: neither a file here nor had from the hub ({excerpt(str(error), 100)}); "
            f"{model_names.REACH}: {model_names.Model(f'{owner}/{repository} {file}', revision).download}"
        ) from None


def read(path: Path, place: str, trusted: Collection[str] = ()) -> dict[str, Tensor]:
    """A state dict from a .safetensors file, or from a pickle whose SHA-256 is published or in `trusted`.

    Raises:
        UserError: an unknown checksum (the message holds it), or not a file of tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        _check_sha256(path, place, trusted)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:
        # Neither library promises which error a broken file raises.
        if not isinstance(error, (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError)) and not (
            type(error).__module__.startswith("safetensors")
        ):
            raise
        raise UserError(f"{place}: {path}: not a readable file of weights ({excerpt(str(error), 100)})") from None
    return _tensors(loaded, path, place)


def _check_sha256(path: Path, place: str, trusted: Collection[str]) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found not in PUBLISHED | {t.strip().lower() for t in trusted}:
        raise UserError(
            f"{place}: {path}: a pickle whose SHA-256 {found} is not trusted; if you know where the file is from, add "
            "that to score.trusted_sha256, or name a .safetensors file"
        )


def _tensors(loaded: Any, path: Path, place: str) -> dict[str, Tensor]:
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{place}: {path}: holds something else than named tensors; is it the published file?")
    return {str(name): tensor for name, tensor in state.items()}
