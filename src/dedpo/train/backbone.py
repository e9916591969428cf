"""A latent diffusion model as the trainer needs it: encode once, then predict noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def pixels(images: Sequence[Image.Image], resolution: int) -> Tensor:
    """Resize each image on its shorter side, crop the centre square, scale to [−1, 1]; shape (n, 3, side, side)."""
    return torch.stack([_square(image, resolution) for image in images])


def _square(image: Image.Image, side: int) -> Tensor:
    scale = side / min(image.size)
    size = (max(side, round(image.width * scale)), max(side, round(image.height * scale)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    array = np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.float32)
    return torch.from_numpy(array).permute(2, 0, 1) / 127.5 - 1


@torch.no_grad()
def encode_images(pipeline: Any, batch: Tensor) -> Tensor:
    """Mean and standard deviation of the scaled latents' posterior, float32 (n, 2, C, H, W).

    Args:
        batch: images in [−1, 1], shape (n, 3, side, side).
    """
    vae = pipeline.vae
    posterior = vae.encode(batch.to(vae.device, vae.dtype)).latent_dist
    moments = torch.stack([posterior.mean, posterior.std], dim=1) * vae.config.scaling_factor
    return moments.float().cpu()  # type: ignore[no-any-return]


@torch.no_grad()
def encode_prompts(pipeline: Any, prompts: Sequence[str]) -> Tensor:
    """Text embeddings, float32 (n, tokens, width); longer prompts are cut at the encoder's limit."""
    tokens = pipeline.tokenizer(
        list(prompts),
        padding="max_length",
        max_length=pipeline.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return pipeline.text_encoder(tokens.to(pipeline.text_encoder.device))[0].float().cpu()  # type: ignore[no-any-return]


def too_long(pipeline: Any, prompts: Sequence[str]) -> int:
    """How many prompts exceed the text encoder's token limit and will be cut."""
    limit = pipeline.tokenizer.model_max_length
    return sum(len(ids) > limit for ids in pipeline.tokenizer(list(prompts)).input_ids)


def denoising_error(
    unet: Any, schedule: Any, latents: Tensor, noise: Tensor, timesteps: Tensor, text: Tensor
) -> Tensor:
    """Squared error of the predicted noise (or velocity), mean over C, H, W; float32, shape (2, batch).

    Args:
        latents: (2, batch, C, H, W), images 0 and 1.
        noise: (batch, C, H, W), shared by the two images.
        timesteps: (batch,), shared.
        text: (batch, tokens, width).
    """
    clean = latents.flatten(0, 1)
    both_noise = torch.cat([noise, noise])
    both_timesteps = torch.cat([timesteps, timesteps])
    noisy = schedule.add_noise(clean, both_noise, both_timesteps)
    predicted = unet(noisy, both_timesteps, torch.cat([text, text]), return_dict=False)[0]
    if schedule.config.prediction_type == "v_prediction":
        target = schedule.get_velocity(clean, both_noise, both_timesteps)
    else:
        target = both_noise
    error: Tensor = (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))
    return error.reshape(2, -1)
