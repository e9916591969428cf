"""A latent diffusion model as the trainer needs it: encode once, then predict noise.

SD1.5-class and SDXL-class models differ in `Conditioning` and nowhere else; the kind of diffusion enters through
`NoiseSchedule` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from PIL import Image
from torch import Tensor

from dedpo.errors import UserError


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told beside the noisy latents and the time.

    Attributes:
        text: (batch, tokens, width).
        pooled: of the second text encoder, (batch, width); None for SD1.5-class models.
        resolution: side of the square images in pixels.
    """

    text: Tensor
    pooled: Tensor | None
    resolution: int

    def to(self, device: torch.device) -> Conditioning:
        """The same on `device`."""
        pooled = None if self.pooled is None else self.pooled.to(device)
        return Conditioning(self.text.to(device), pooled, self.resolution)

    def for_both_images(self) -> tuple[Tensor, dict[str, Tensor] | None]:
        """The UNet's `encoder_hidden_states` and `added_cond_kwargs` for images 0 and then 1, each 2 × batch long."""
        text = torch.cat([self.text, self.text])
        if self.pooled is None:
            return text, None
        # Original size, crop's corner, target size: what the pipeline tells the model when it draws. The true original
        # sizes would let it see which image of the pair had been the larger.
        side = self.resolution
        time_ids = text.new_tensor([side, side, 0, 0, side, side]).expand(len(text), 6)
        return text, {"text_embeds": torch.cat([self.pooled, self.pooled]), "time_ids": time_ids}


class NoiseSchedule:
    """Variance-preserving diffusion in discrete time, with noise or velocity as what the model predicts.

    The one place that knows the kind of diffusion: another kind needs these three members and nothing else.

    Attributes:
        timesteps: their number; a timestep is an integer in [0, timesteps).
    """

    def __init__(self, scheduler: Any) -> None:
        """
        Args:
            scheduler: the pipeline's; often one for sampling (PNDM, Euler), of which only the settings are used: its
                own add_noise may scale otherwise or know its few sampling times alone.

        Raises:
            UserError: its settings describe no such diffusion.
        """
        settings = scheduler.config
        self.prediction_type = settings.get("prediction_type")
        if "beta_schedule" not in settings or self.prediction_type not in ("epsilon", "v_prediction"):
            raise UserError(
                f"train.base: its {type(scheduler).__name__} with prediction_type {self.prediction_type!r} cannot be "
                "trained; name a diffusion model that predicts 'epsilon' or 'v_prediction'"
            )
        self._scheduler: Any = DDPMScheduler.from_config(settings)
        self.timesteps = int(self._scheduler.config.num_train_timesteps)
        if not bool(torch.isfinite(self._scheduler.alphas_cumprod).all()):
            raise UserError(
                "train.base: the noise levels in its scheduler/scheduler_config.json are not finite; fetch it again"
            )

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """√ᾱ·clean + √(1−ᾱ)·noise, shape (n, C, H, W) like the first two; `timesteps` has shape (n,)."""
        noisy: Tensor = self._scheduler.add_noise(clean, noise, timesteps)
        return noisy

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the model should predict: the noise, or the velocity √ᾱ·noise − √(1−ᾱ)·clean; shape as the first."""
        if self.prediction_type == "epsilon":
            return noise
        velocity: Tensor = self._scheduler.get_velocity(clean, noise, timesteps)
        return velocity

    @property
    def identity(self) -> bytes:
        """Everything that decides the numbers above."""
        levels: bytes = self._scheduler.alphas_cumprod.cpu().numpy().tobytes()
        return levels + str(self.prediction_type).encode()


def pixels(image: Image.Image, resolution: int) -> Tensor:
    """The centre square, resized, scaled to [−1, 1]; float32 (3, resolution, resolution)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cut out and resized in one go: resized first, an image of 1 × 10,000,000 would fill the memory.
    box = (left, top, left + side, top + side)
    square = image.resize((resolution, resolution), Image.Resampling.LANCZOS, box=box)
    return torch.from_numpy(np.asarray(square, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


@torch.no_grad()
def encode_images(pipeline: Any, batch: Tensor) -> Tensor:
    """Mean and standard deviation of the scaled latents' posterior, float32 (n, 2, C, H, W).

    Args:
        batch: images in [−1, 1], shape (n, 3, side, side).
    """
    vae = pipeline.vae
    # SDXL's VAE overflows in half precision, so an autocast around must not reach it.
    with torch.autocast(vae.device.type, enabled=False):
        posterior = vae.encode(batch.to(vae.device, vae.dtype)).latent_dist
        moments = torch.stack([posterior.mean, posterior.std], dim=1) * vae.config.scaling_factor
    return moments.float().cpu()  # type: ignore[no-any-return]


@torch.no_grad()
def encode_prompts(pipeline: Any, prompts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """Text embeddings as the pipeline makes them when it draws; longer prompts are cut at the encoder's limit.

    Returns:
        float32 (n, tokens, width) and, for SDXL-class models, the second encoder's pooled (n, width).
    """
    device = pipeline.text_encoder.device
    with torch.autocast(device.type, enabled=False):
        found = pipeline.encode_prompt(
            list(prompts), device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    # SD1.5: (text, its negative); SDXL: (text, its negative, pooled, its negative).
    pooled = found[2].float().cpu() if len(found) == 4 else None
    return found[0].float().cpu(), pooled


def denoising_error(
    unet: Any,
    schedule: NoiseSchedule,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    conditioning: Conditioning,
) -> Tensor:
    """Squared error of the predicted noise (or velocity), mean over C, H, W; float32, shape (2, batch).

    Args:
        latents: (2, batch, C, H, W), images 0 and 1.
        noise: (batch, C, H, W), shared by the two images.
        timesteps: (batch,), shared.
        conditioning: of `batch` prompts, shared.
    """
    clean = latents.flatten(0, 1)
    both_noise = torch.cat([noise, noise])
    both_timesteps = torch.cat([timesteps, timesteps])
    text, added = conditioning.for_both_images()
    noisy = schedule.add_noise(clean, both_noise, both_timesteps)
    predicted = unet(noisy, both_timesteps, text, added_cond_kwargs=added, return_dict=False)[0]
    target = schedule.target(clean, both_noise, both_timesteps)
    error: Tensor = (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))
    return error.reshape(2, -1)
