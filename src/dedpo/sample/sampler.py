"""Pictures from a diffusers pipeline, every one from noise that only (seed, prompt) decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dedpo.contract.sections import SampleConfig
from dedpo.rng import generator
from dedpo.vision import diffusion, drawing

# More are no faster on a CPU.
CPU_BATCH: Final = 16


class Request(NamedTuple):
    """One picture to make: `seed` is the sampling seed, unrelated to any training's."""

    prompt: str
    seed: int


class NotFiniteError(ValueError):
    """A picture that holds NaN or infinity; `request` is the one that asked for it."""

    def __init__(self, request: Request) -> None:
        super().__init__(f"prompt {request.prompt[:80]!r}, seed {request.seed}: the picture is not finite")
        self.request = request


def prompt_id(prompt: str) -> str:
    """The first 16 hex digits of the SHA-256 of the prompt's UTF-8 bytes."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def noise(request: Request, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal noise of `shape`, the same for every model, batch size and order of prompts."""
    stream = generator("sample", request.seed, prompt_id(request.prompt))
    return stream.standard_normal(shape, dtype=np.float32)


def load(model: str, place: str, device: torch.device, *, variant: str | None = None, vae: str | None = None) -> Any:
    """Load a pipeline with DPM-Solver++ in place of the schedule it was trained with.

    Args:
        variant: of the weight files; None: the plain ones, or the only ones there are.
        vae: another VAE in place of the model's own.

    Raises:
        UserError: `model` or `vae` cannot be loaded; the message names `place`.
    """
    pipeline = diffusion.load(model, place, variant=variant, vae=vae)
    pipeline.scheduler = drawing.scheduler(pipeline)
    # SDXL's watermark depends on what is installed; the scores could not be compared.
    pipeline.watermark = None
    return pipeline.to(device)


def group_size(config: SampleConfig, device: torch.device) -> int:
    """How many pictures are drawn together."""
    return CPU_BATCH if device.type == "cpu" else config.batch_size


def sample(pipeline: Any, requests: Sequence[Request], config: SampleConfig, side: int) -> Iterator[NDArray[np.uint8]]:
    """Yield one picture a request, in order; uint8 (side, side, 3).

    Always as many are computed together, the last group filled up: which pictures are beside one then changes nothing
    of it, while another number would change last bits. On the CPU that number is `CPU_BATCH`.

    Args:
        pipeline: from `load`.
        config: steps, guidance (1 means none), precision and batch_size.
        side: in pixels.

    Raises:
        NotFiniteError: a picture is not finite.
    """
    latent_side = side // pipeline.vae_scale_factor
    shape = (pipeline.unet.config.in_channels, latent_side, latent_side)
    device = pipeline.unet.device
    size = group_size(config, device)
    encoded: dict[str, Mapping[str, Tensor]] = {}
    for start in range(0, len(requests), size):
        batch = requests[start : start + size]
        for prompt in {r.prompt for r in batch} - encoded.keys():
            encoded[prompt] = drawing.encode(pipeline, prompt, device, guided=config.guidance > 1)
        # The last batch is as large as the others.
        full = [*batch, *[batch[-1]] * (size - len(batch))]
        inputs = {name: torch.cat([encoded[r.prompt][name] for r in full]) for name in encoded[batch[0].prompt]}
        noises = torch.from_numpy(np.stack([noise(r, shape) for r in full])).to(device)
        precision = drawing.PRECISIONS[config.precision or "fp32"]
        with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
            latents = drawing.latents(pipeline, inputs, noises, side, config.steps, config.guidance)
        for request, latent in zip(batch, latents, strict=False):
            yield _picture(pipeline, request, latent)
        encoded = {r.prompt: encoded[r.prompt] for r in batch}


def _picture(pipeline: Any, request: Request, latent: Tensor) -> NDArray[np.uint8]:
    picture = drawing.decode(pipeline.vae, latent)
    if not bool(torch.isfinite(picture).all()):
        raise NotFiniteError(request)
    pixels: NDArray[np.uint8] = np.rint(picture.clamp(0, 1).numpy() * 255).astype(np.uint8)
    return pixels
