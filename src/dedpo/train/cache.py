"""Latents and text embeddings, computed once for a dataset and shared by every arm, seed and run.

The folder's name is a hash of everything that decides its content: pairs, encoder weights, resolution.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dedpo import images, tables
from dedpo.errors import UserError
from dedpo.manifest import fingerprint, write_json
from dedpo.progress import progress
from dedpo.train import backbone

ENCODE_BATCH = 64
VERSION = 1


@dataclass(frozen=True)
class Cache:
    """Memory-mapped encodings.

    Attributes:
        row: pair_id → first index of `latents`.
        caption: pair_id → first index of `text`.
        latents: float32 (pairs, 2 images, 2, C, H, W): mean and standard deviation of the scaled posterior.
        text: float32 (prompts, tokens, width).
    """

    row: dict[str, int]
    caption: dict[str, int]
    latents: np.ndarray[Any, np.dtype[np.float32]]
    text: np.ndarray[Any, np.dtype[np.float32]]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(C, H, W) of one latent."""
        return tuple(self.latents.shape[3:])


def open_or_build(root: Path, pairs: Path, pipeline: Any, resolution: int, max_pixels: int) -> Cache:
    """Open the cache for these pairs and encoders, building it first if it is not there.

    Raises:
        UserError: a pair's image cannot be decoded.
    """
    folder = root / _key(pairs, pipeline, resolution)
    if not folder.is_dir():
        building = root / f".{folder.name}.{uuid.uuid4().hex[:8]}"
        building.mkdir(parents=True)
        try:
            _build(building, pairs, pipeline, resolution, max_pixels)
            building.replace(folder)
        except OSError:
            # Another run may have finished the same content first; theirs is as good.
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return Cache(
        row={pair: i for i, pair in enumerate(index["pairs"])},
        caption=dict(zip(index["pairs"], index["captions"], strict=True)),
        latents=np.load(folder / "latents.npy", mmap_mode="r"),
        text=np.load(folder / "text.npy", mmap_mode="r"),
    )


def weights_hash(*modules: torch.nn.Module) -> str:
    """SHA-256 over names, types and bytes of the modules' weights."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in module.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _key(pairs: Path, pipeline: Any, resolution: int) -> str:
    encoders = weights_hash(pipeline.vae, pipeline.text_encoder)
    vocabulary = json.dumps(pipeline.tokenizer.get_vocab(), sort_keys=True)
    parts = (VERSION, fingerprint(pairs), encoders, vocabulary, pipeline.vae.config.scaling_factor, resolution)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _build(folder: Path, pairs: Path, pipeline: Any, resolution: int, max_pixels: int) -> None:
    pair_ids: list[str] = []
    captions: list[int] = []
    prompts: dict[str, int] = {}
    total = tables.count_rows(pairs)
    latents = None
    with progress("encoding images", total) as advance:
        for shard in tables.iterate(pairs, tables.PAIRS):
            for start in range(0, shard.num_rows, ENCODE_BATCH):
                chunk = shard.slice(start, ENCODE_BATCH)
                moments = _encode_chunk(chunk, pipeline, resolution, max_pixels)
                if latents is None:
                    shape = (total, *moments.shape[1:])
                    latents = np.lib.format.open_memmap(
                        folder / "latents.npy", mode="w+", dtype=np.float32, shape=shape
                    )
                latents[len(pair_ids) : len(pair_ids) + len(moments)] = moments.numpy()
                pair_ids += chunk.column("pair_id").to_pylist()
                captions += [prompts.setdefault(p, len(prompts)) for p in chunk.column("prompt").to_pylist()]
                for _ in range(chunk.num_rows):
                    advance("")
    assert latents is not None
    latents.flush()
    text = [backbone.encode_prompts(pipeline, list(prompts)[i : i + 256]) for i in range(0, len(prompts), 256)]
    np.save(folder / "text.npy", torch.cat(text).numpy())
    write_json(folder / "index.json", {"pairs": pair_ids, "captions": captions})


def _encode_chunk(chunk: pa.Table, pipeline: Any, resolution: int, max_pixels: int) -> Tensor:
    """Float32 (rows, 2 images, 2, C, H, W)."""
    both = []
    for column in ("image_0", "image_1"):
        decoded = []
        for pair, image in zip(chunk.column("pair_id").to_pylist(), chunk.column(column).to_pylist(), strict=True):
            try:
                decoded.append(images.decode(image["bytes"], max_pixels))
            except ValueError as error:
                raise UserError(f"pair {pair}, {column}: {error}; import the data again") from None
        both.append(backbone.encode_images(pipeline, backbone.pixels(decoded, resolution)))
    return torch.stack(both, dim=1)
