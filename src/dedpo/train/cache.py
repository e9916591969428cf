"""Latents and text embeddings, computed once and shared by every arm, seed and run.

A folder's name is a hash of everything beside the data that decides its content: encoders, resolution, crop, number
type, flips. In it lies one entry a shard of pairs, named by the hash of the shard. An entry is finished or absent, so a
build that was killed goes on at the next shard and appended shards are all that is encoded anew; ranks and runs that
build at the same time take a shard each. Bytes, with p pairs, c distinct prompts a shard added up, F = 2 with flips:
4·(4·F·C·H·W·p + (tokens·width + pooled width)·c).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from dedpo.contract import tables
from dedpo.errors import UserError, excerpt
from dedpo.outputs.manifest import file_hashes
from dedpo.terminal import Advance, progress
from dedpo.train import cache_entry
from dedpo.train.backbone import Conditioning
from dedpo.train.cache_entry import Entry, Index
from dedpo.train.encoding import Encoder
from dedpo.vision import diffusion, model_files

Floats = NDArray[np.float32]
VERSION: Final = 3
ENCODERS: Final = ("vae", "text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class Cache:
    """The encodings of a data set, an entry a shard of pairs."""

    folder: Path
    resolution: int
    entries: tuple[Entry, ...]

    @cached_property
    def row(self) -> Mapping[str, tuple[int, int]]:
        """pair_id → (entry, index of its latents)."""
        return {pair: (n, i) for n, entry in enumerate(self.entries) for pair, i in entry.index.row.items()}

    @cached_property
    def caption(self) -> Mapping[str, tuple[int, int]]:
        """pair_id → (entry, index of its text); the same pairs."""
        return {pair: (n, i) for n, entry in enumerate(self.entries) for pair, i in entry.index.caption.items()}

    @cached_property
    def set_aside(self) -> Mapping[str, str]:
        """pair_id → why its images cannot be decoded; the other pairs."""
        return {pair: why for entry in self.entries for pair, why in entry.index.set_aside.items()}

    @property
    def cut(self) -> int:
        """How many distinct prompts exceed the token limit and were cut there."""
        return len({prompt for entry in self.entries for prompt in entry.index.cut})

    @property
    def enlarged(self) -> int:
        """How many pairs have an image smaller than the square."""
        return len({pair for entry in self.entries for pair in entry.index.enlarged})

    @property
    def cropped(self) -> int:
        """How many pairs have an image of which most lies outside the square."""
        return len({pair for entry in self.entries for pair in entry.index.cropped})

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(C, H, W) of one latent."""
        return self.entries[0].latents.shape[4:]

    def batch(self, pair_ids: Sequence[str], flips: Sequence[bool]) -> tuple[Floats, Conditioning]:
        """What training reads of some pairs.

        Args:
            flips: whether to take a pair's mirrored images, for which the cache must have been built with `flip`.

        Returns:
            moments, float32 (batch, 2 images, 2, C, H, W), and the prompts' conditioning on the CPU.
        """
        moments = [
            self.entries[entry].latents[row, int(flip)]
            for (entry, row), flip in zip([self.row[p] for p in pair_ids], flips, strict=True)
        ]
        captions = [(self.entries[entry], i) for entry, i in map(self.caption.__getitem__, pair_ids)]
        text = torch.from_numpy(np.stack([entry.text[i] for entry, i in captions]))
        pooled = [entry.pooled[i] for entry, i in captions if entry.pooled is not None]
        return np.stack(moments), Conditioning(
            text, torch.from_numpy(np.stack(pooled)) if pooled else None, self.resolution
        )


def open_or_build(
    root: Path, pairs: Path, pipeline: Any, resolution: int, max_pixels: int, *, flip: bool = False
) -> Cache:
    """Open the cache for these pairs and encoders, building first what is not there; several processes may at once.

    Args:
        pipeline: its encoders do the work, where they are.
        max_pixels: pairs with a larger image are set aside.
        flip: encode the mirrored images, too.

    Raises:
        UserError: the resolution does not fit the VAE, no pair can be decoded, an encoding is not finite, or the disk
            is too small.
    """
    if resolution % pipeline.vae_scale_factor:
        raise UserError(
            f"train.resolution: {resolution} is no multiple of {pipeline.vae_scale_factor}, by which the base model's "
            "VAE shrinks a side; choose one that is"
        )
    encoder = Encoder(pipeline, resolution, max_pixels, flip)
    folder = root / _key(encoder)
    shards = {folder / sha256[:24]: path for path, sha256 in file_hashes(tables.shard_paths(pairs)).items()}
    entries = {entry: cache_entry.read(entry) for entry in shards}
    missing = {entry: shards[entry] for entry, found in entries.items() if found is None}
    if missing:
        _build(folder, missing, encoder)
        entries |= {entry: cache_entry.read(entry) for entry in missing}
    cache = Cache(folder, resolution, tuple(entry for entry in entries.values() if entry is not None))
    if not cache.row:
        pair, reason = next(iter(cache.set_aside.items()))
        raise UserError(
            f"none of {len(cache.set_aside)} pairs can be decoded (pair {pair}: {reason}); import them again"
        )
    return cache


def _key(encoder: Encoder) -> str:
    pipeline = encoder.pipeline
    tokenizers = [
        (t.get_vocab(), t.special_tokens_map, t.model_max_length)
        for t in _parts(pipeline, tuple(model_files.TOKENIZERS))
    ]
    parts = {
        "version": VERSION,
        "encoders": diffusion.weights_hash(*_parts(pipeline, ENCODERS)),
        "tokenizers": tokenizers,
        "image": (encoder.resolution, "centre", "float32", encoder.flip, encoder.max_pixels),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def _parts(pipeline: Any, names: Sequence[str]) -> list[Any]:
    return [part for name in names if (part := getattr(pipeline, name, None)) is not None]


def _build(folder: Path, missing: Mapping[Path, Path], encoder: Encoder) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(folder, missing.values(), encoder)
    with progress("encoding pairs", sum(tables.count_rows(path) for path in missing.values())) as advance:
        # First what nobody else is at, then what others have not finished.
        for wait in (False, True):
            for entry, shard in missing.items():
                if cache_entry.read(entry) is None:
                    with cache_entry.claimed(entry, wait=wait) as is_mine:
                        if is_mine and cache_entry.read(entry) is None:
                            _encode(entry, tables.read(shard, tables.PAIRS), encoder, advance)


def _check_space(folder: Path, shards: Iterable[Path], encoder: Encoder) -> None:
    rows = prompts = 0
    for shard in shards:
        column = tables.read(shard, tables.PAIRS, ["prompt"]).column("prompt")
        rows += len(column)
        prompts += 1 + len(column.unique())
    text, pooled = encoder.prompts([""])
    a_prompt = text.nbytes + (0 if pooled is None else pooled.nbytes)
    need, have = rows * 4 * int(np.prod(encoder.row_shape)) + prompts * a_prompt, shutil.disk_usage(folder).free
    if need > have:
        raise UserError(
            f"{folder.parent}: the encodings of {rows:,} pairs take {need / 1e9:,.3g} GB and {have / 1e9:,.3g} GB are "
            "free; make room there, or choose a work folder on a larger disk"
        )


def _encode(folder: Path, table: Any, encoder: Encoder, advance: Advance) -> None:
    """Write the entry of one shard."""
    pair_ids, prompts = table.column("pair_id").to_pylist(), table.column("prompt").to_pylist()
    captions = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts), start=1)}
    index = Index(cut=diffusion.too_long(encoder.pipeline, list(captions)))
    nothing = np.zeros(encoder.row_shape, dtype=np.float32)

    def rows() -> Iterator[Floats]:
        for i, (pair, prompt, found) in enumerate(zip(pair_ids, prompts, encoder.pairs(table), strict=True)):
            if isinstance(found, str):
                index.set_aside[pair] = found
                yield nothing
            else:
                if not np.isfinite(found.moments).all():
                    raise _not_finite(encoder, f"the images of pair {pair}", "vae")
                index.row[pair], index.caption[pair] = i, captions[prompt]
                index.enlarged += [pair] * found.is_enlarged
                index.cropped += [pair] * found.is_cropped
                yield found.moments
            advance("")

    with cache_entry.writing(folder) as temporary:
        # By itself: the size of a batch may change its last bits, and other prompts' should not depend on this one.
        empty, texts = encoder.prompts([""]), encoder.prompts(list(captions))
        for name, first, others in zip(("text", "pooled"), empty, texts, strict=True):
            if first is not None and others is not None:
                whole = np.concatenate([first, others])
                finite = np.isfinite(whole).all(axis=tuple(range(1, whole.ndim)))
                if not finite.all():
                    prompt = ["", *captions][int(np.argmin(finite))]
                    pair = next((p for p, text in zip(pair_ids, prompts, strict=True) if text == prompt), pair_ids[0])
                    raise _not_finite(encoder, f"the prompt '{excerpt(prompt)}' of pair {pair}", "text_encoder")
                cache_entry.write_array(temporary / f"{name}.npy", whole)
        cache_entry.write_rows(temporary / "latents.npy", rows(), (len(pair_ids), *encoder.row_shape))
        cache_entry.write_index(temporary, index)


def _not_finite(encoder: Encoder, what: str, part: str) -> UserError:
    broken = [name for name in diffusion.broken_weights(encoder.pipeline) if name.startswith(part)]
    if broken:
        why = f"{len(broken)} of its weights are not, such as {broken[0]}; fetch the model again"
    elif part == "vae":
        why = "its weights are; name another VAE with train.vae"
    else:
        why = "its weights are; name another base model"
    return UserError(f"train.base: its {part} gives numbers that are not finite for {what}: {why}")
