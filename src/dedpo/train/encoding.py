"""What the encoders make of a shard of pairs: images decoded ahead on threads, encoded in batches that fit a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from dedpo.train import backbone
from dedpo.vision import images

Floats = NDArray[np.float32]
# A smaller share of an image's area within the square is worth telling.
LEAST_AREA: Final = 0.5
# Images in one pass of the VAE, which in fp32 takes about 2.5 GB an image of 1024² pixels.
MOST_IMAGES: Final = 64
MOST_PIXELS: Final = 2 * 1024**2
MOST_PROMPTS: Final = 64


class Decoded(NamedTuple):
    """A pair's images, (2, 3, side, side), and what became of the worse one on the way."""

    both: Tensor
    is_enlarged: bool
    is_cropped: bool


class Encoded(NamedTuple):
    """A pair's moments, of shape `row_shape`; `Decoded`'s notes."""

    moments: Floats
    is_enlarged: bool
    is_cropped: bool


@dataclass(frozen=True)
class Encoder:
    """A pipeline's encoders and how images are prepared for them.

    Attributes:
        resolution: side of the squares in pixels.
        max_pixels: larger images are refused.
        flip: encode mirrored images, too.
    """

    pipeline: Any
    resolution: int
    max_pixels: int
    flip: bool

    @cached_property
    def row_shape(self) -> tuple[int, ...]:
        """Of one pair's moments: (1 or 2 flips, 2 images, 2, C, H, W)."""
        blank = torch.zeros(1, 3, self.resolution, self.resolution)
        return (1 + self.flip, 2, *backbone.encode_images(self.pipeline, blank).shape[1:])

    def pairs(self, table: pa.Table) -> Iterator[Encoded | str]:
        """One result a row of a pairs table, in order: its moments, or why there are none."""
        size = min(MOST_IMAGES, max(1, MOST_PIXELS // self.resolution**2))
        with ThreadPoolExecutor(images.DECODERS) as pool:
            waiting: list[Future[Decoded | str]] = []
            for start in range(0, table.num_rows + size, size):
                # The next chunk is decoded while this one is encoded.
                following = [pool.submit(self._pixels, row) for row in table.slice(start, size).to_pylist()]
                yield from self._encoded([future.result() for future in waiting])
                waiting = following

    def _pixels(self, row: dict[str, Any]) -> Decoded | str:
        both, sizes = [], []
        for column in ("image_0", "image_1"):
            try:
                image = images.decode(row[column]["bytes"], self.max_pixels)
            except ValueError as error:
                return f"{column}: {error}"
            both.append(backbone.pixels(image, self.resolution))
            sizes.append(image.size)
        return Decoded(
            torch.stack(both),
            is_enlarged=any(min(size) < self.resolution for size in sizes),
            is_cropped=any(min(size) / max(size) < LEAST_AREA for size in sizes),
        )

    def _encoded(self, decoded: Sequence[Decoded | str]) -> Iterator[Encoded | str]:
        usable = [pair.both for pair in decoded if isinstance(pair, Decoded)]
        moments = iter(self._moments(torch.stack(usable)) if usable else ())
        for pair in decoded:
            yield pair if isinstance(pair, str) else Encoded(next(moments), pair.is_enlarged, pair.is_cropped)

    def _moments(self, both: Tensor) -> Floats:
        views = [both, both.flip(-1)] if self.flip else [both]
        encoded = [[backbone.encode_images(self.pipeline, view[:, image]) for image in (0, 1)] for view in views]
        moments: Floats = torch.stack([torch.stack(view, dim=1) for view in encoded], dim=1).numpy()
        return moments

    def prompts(self, prompts: Sequence[str]) -> tuple[Floats, Floats | None]:
        """Text (n, tokens, width) and, for SDXL-class models, pooled (n, width)."""
        starts = range(0, len(prompts), MOST_PROMPTS)
        parts = [backbone.encode_prompts(self.pipeline, prompts[i : i + MOST_PROMPTS]) for i in starts]
        pooled = [part for _, part in parts if part is not None]
        return torch.cat([text for text, _ in parts]).numpy(), torch.cat(pooled).numpy() if pooled else None
