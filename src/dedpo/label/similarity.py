"""A CLIP model as annotator: the preference is σ(difference of the two images' logits with the prompt / temperature).

What is kept of a pair is the difference, so that another temperature computes nothing anew.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from dedpo.asking.answers import Log, Store, log_name
from dedpo.asking.failures import counted
from dedpo.contract import tables
from dedpo.contract.sections import AnnotatorConfig
from dedpo.errors import UserError
from dedpo.label.table import Asked, plain
from dedpo.terminal import note_kept, progress
from dedpo.vision import images

if TYPE_CHECKING:
    from torch import Tensor

    from dedpo.vision.clip import Clip

MODEL: Final = "label.model"
PROCESSOR: Final = "label.processor"
# Pairs that are embedded at a time: two pictures each.
BATCH: Final = 32

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """Logit of image 1 minus logit of image 0, both with the prompt; or why there is none."""

    pair_id: str
    difference: float | None
    error: str | None

    def __post_init__(self) -> None:
        if (self.difference is None) == (self.error is None):
            raise ValueError("a difference or an error")

    @property
    def key(self) -> tuple[str]:
        return (self.pair_id,)


def label(
    config: AnnotatorConfig,
    files: Sequence[Path],
    pair_ids: list[str],
    *,
    log: Path,
    out: Path,
    weights: Mapping[str, object],
) -> Asked:
    """Embed the pairs in `files` that the log does not know yet; each image is decoded once.

    Swapping a pair's images turns p into 1 − p.

    Args:
        pair_ids: those in `files`, sorted.
        log, out: where differences are kept, and a copy of them is left.
        weights: what is known of the content of model and processor, by their names.

    Raises:
        UserError: the model cannot be had, or it gives an image no finite embedding.
    """
    known = [weights[name] for name in (config.model, config.processor) if name is not None]
    with Store(Log(log, log_name(Path(config.model).name, [config.kind, known])), Difference, pair_ids) as store:
        kept = store.good
        note_kept("label", "similarities", kept, len(pair_ids), f"to measure ({log})")
        if kept < len(pair_ids):
            _measure(config, files, store, len(pair_ids))
        found = [store.answers[pair_id,] for pair_id in pair_ids]
        store.write(out, [one.key for one in found])
    rows = ((one.pair_id, _preference(one.difference, config.temperature), one.error) for one in found)
    failed = counted(one.error for one in found)
    return Asked(plain(config, rows, is_orderless=True), failed, len(pair_ids) - kept, kept)


def _preference(difference: float | None, temperature: float) -> float | None:
    if difference is None:
        return None
    x = difference / temperature
    # exp of a large number has no value.
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x))


def _measure(config: AnnotatorConfig, files: Sequence[Path], store: Store[Difference], total: int) -> None:
    from dedpo.vision import clip
    from dedpo.vision.device import choose_device

    beside = None if config.processor is None else (config.processor, PROCESSOR)
    model = clip.load(config.model, MODEL, choose_device("auto"), beside=beside)
    with (
        ThreadPoolExecutor(images.DECODERS) as pool,
        progress(f"comparing with {config.model}", total, store.good) as advance,
    ):
        for chunk in _chunks(files):
            # A chunk of which some are known is measured whole: to the last bit as in one go.
            if all(store.is_answered(row["pair_id"]) for row in chunk):
                continue
            for one in _differences(model, pool.map(partial(_looked, model), chunk), chunk):
                if not store.is_answered(one.pair_id):
                    store.add(one)
                    advance("")


def _chunks(files: Iterable[Path]) -> Iterator[list[Row]]:
    for file in files:
        for shard in tables.iterate(file, tables.PAIRS):
            for chunk in shard.to_batches(max_chunksize=BATCH):
                yield chunk.to_pylist()


class _Look(NamedTuple):
    """Both pictures as the model reads them, float32 (2, 3, side, side), in an order that swapping does not change."""

    prepared: Tensor | None
    sign: int
    error: str | None = None


def _looked(model: Clip, row: Row) -> _Look:
    data = [row[name]["bytes"] or b"" for name in ("image_0", "image_1")]
    both, sign = images.in_order(*data)
    try:
        # The import has had its limit of pixels.
        return _Look(model.prepare([images.decode(one, sys.maxsize) for one in both]), sign)
    except ValueError as error:
        return _Look(None, sign, f"an image is {error}")


def _differences(model: Clip, looks: Iterable[_Look], chunk: Sequence[Row]) -> Iterator[Difference]:
    import torch

    both = [(row, look) for row, look in zip(chunk, looks, strict=True)]
    yield from (Difference(row["pair_id"], None, look.error) for row, look in both if look.error is not None)
    seen = [(row, look, look.prepared) for row, look in both if look.prepared is not None]
    if not seen:
        return
    prompts = sorted({row["prompt"] for row, _, _ in seen})
    texts = dict(zip(prompts, model.texts(prompts).double().numpy(), strict=True))
    embedded = model.embed(torch.cat([prepared for _, _, prepared in seen])).double().numpy()
    for (row, look, _), first, second in zip(seen, embedded[0::2], embedded[1::2], strict=True):
        difference = look.sign * model.scale * float(((second - first) * texts[row["prompt"]]).sum())
        if not np.isfinite(difference):
            raise UserError(f"{MODEL}: no finite embedding of pair {row['pair_id']}; name another model")
        yield Difference(row["pair_id"], difference, None)
