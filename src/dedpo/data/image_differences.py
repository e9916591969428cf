"""In what the two images of a pair differ: image statistics, and CLIP's embeddings where a model is named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dedpo.contract.sections import DataConfig
from dedpo.data.imported import ImagePair
from dedpo.errors import UserError
from dedpo.stats.arrays import Floats, Singles
from dedpo.terminal import progress
from dedpo.vision import covariates, images

if TYPE_CHECKING:
    from torch import Tensor

    from dedpo.vision.clip import Clip, Prepare


PLACE = "data.clip_model"
PROMPT_BATCH = 256


class Differences(NamedTuple):
    """Image 1 minus image 0 of n pairs; swapping a pair's images changes the sign and not a bit else.

    Attributes:
        measured: name → shape (n,): the image statistics (`covariates.PROPERTIES`) and, with a model, 'similarity', the
            cosine of prompt and image.
        embeddings: of the images' unit embeddings, shape (n, k); None without a model.
    """

    measured: dict[str, Floats]
    embeddings: Singles | None


def measure(config: DataConfig, prompts: Sequence[str], batches: Iterable[list[ImagePair]]) -> Differences:
    """Decode and measure batch after batch; torch is only imported if `config` names a model.

    Args:
        prompts: of each pair, in the order of the batches.

    Raises:
        UserError: the model cannot be had or gives no finite embedding, or an image is broken (names shard and pair).
    """
    clip = _clip(config.clip_model) if config.clip_model is not None else None
    texts = _texts(clip, prompts) if clip is not None else {}
    look = partial(_measured, max_pixels=config.max_pixels, prepare=clip.prepare if clip is not None else None)
    statistics, similarities, embeddings, done = [], [], [], 0
    with ThreadPoolExecutor(images.DECODERS) as pool, progress("measuring rated pairs", len(prompts)) as advance:
        for batch in batches:
            looks = list(pool.map(look, batch))
            sign = np.array([[pair.sign] for pair in batch])
            statistics.append(sign * np.stack([one.statistics for one in looks]))
            if clip is not None:
                difference = sign * _embedded(clip, looks)
                _check_finite(difference, batch, config)
                own = np.stack([texts[prompt] for prompt in prompts[done : done + len(batch)]])
                similarities.append((difference * own).sum(axis=1))
                embeddings.append(difference.astype(np.float32))
            done += len(batch)
            for _ in batch:
                advance("")
    measured = dict(zip(covariates.PROPERTIES, np.concatenate(statistics).T, strict=True))
    if clip is None:
        return Differences(measured, None)
    return Differences(measured | {"similarity": np.concatenate(similarities)}, np.concatenate(embeddings))


class _Measured(NamedTuple):
    """What is kept of a pair's two pictures: small, whatever their size.

    Attributes:
        statistics: the second's minus the first's, shape (4,).
        prepared: both as CLIP reads them, float32 (2, 3, side, side); None without a model.
    """

    statistics: Floats
    prepared: Tensor | None


def _measured(pair: ImagePair, *, max_pixels: int, prepare: Prepare | None) -> _Measured:
    try:
        first, second = (images.decode(data, max_pixels) for data in pair.images)
    except ValueError as error:
        raise UserError(f"{pair.place}: an image cannot be decoded: {error}; import again") from None
    difference = covariates.measure(second) - covariates.measure(first)
    return _Measured(difference, prepare([first, second]) if prepare is not None else None)


def _clip(name: str) -> Clip:
    from dedpo.vision import clip
    from dedpo.vision.device import choose_device

    return clip.load(name, PLACE, choose_device("auto"))


def _texts(clip: Clip, prompts: Sequence[str]) -> dict[str, Singles]:
    # Sorted, so that the batches do not depend on the pairs' order.
    distinct = sorted(set(prompts))
    batches = [distinct[i : i + PROMPT_BATCH] for i in range(0, len(distinct), PROMPT_BATCH)]
    return {p: e for batch in batches for p, e in zip(batch, clip.texts(batch).numpy(), strict=True)}


def _embedded(clip: Clip, looks: Sequence[_Measured]) -> Floats:
    """The second picture's unit embedding minus the first's, shape (len(looks), k)."""
    import torch

    prepared = torch.cat([one.prepared for one in looks if one.prepared is not None])
    found = clip.embed(prepared).numpy().astype(np.float64)
    return np.asarray(found[1::2] - found[0::2])


def _check_finite(difference: Floats, batch: Sequence[ImagePair], config: DataConfig) -> None:
    wrong = np.flatnonzero(~np.isfinite(difference).all(axis=1))
    if len(wrong):
        raise UserError(
            f"{PLACE}: {config.clip_model}: no finite embedding of an image in {batch[wrong[0]].place}; name another "
            "model, or null for image statistics alone"
        )
