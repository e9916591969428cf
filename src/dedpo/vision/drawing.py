"""Pictures from a pipeline, by parts: the same prompt and noise give the same picture, whatever is drawn beside it.

Prompts are encoded and latents decoded one at a time in fp32: the size of a batch decides which kernels compute it, and
so its last bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

PRECISIONS: Final = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_EMBEDDINGS: Final = (
    "prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds",
)  # fmt: skip


class _Solver(DPMSolverMultistepScheduler):  # type: ignore[misc]
    """Latents stay in fp32 under an autocast: half precision's rounding would add up over the steps."""

    def step(self, model_output: Tensor, *arguments: Any, **named: Any) -> Any:
        return super().step(model_output.float(), *arguments, **named)


def scheduler(pipeline: Any) -> Any:
    """DPM-Solver++ with the noise levels that the model was trained with.

    A base may say 'sde-dpmsolver++', whose every step adds noise of its own from the global generator.
    """
    return _Solver.from_config(pipeline.scheduler.config, algorithm_type="dpmsolver++")


@torch.no_grad()
def encode(pipeline: Any, prompt: str, device: torch.device, *, guided: bool) -> dict[str, Tensor]:
    """The prompt's embeddings, each (1, …), as arguments of the pipeline.

    Args:
        guided: with the empty prompt's, for classifier-free guidance.
    """
    with torch.autocast(device.type, enabled=False):
        found = pipeline.encode_prompt(
            prompt,
            device=device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=guided,
        )
    return {name: value for name, value in zip(_EMBEDDINGS, found, strict=False) if value is not None}


def latents(
    pipeline: Any, encoded: Mapping[str, Tensor], noise: Tensor, side: int, steps: int, guidance: float
) -> Tensor:
    """Latents (n, C, h, w) of n pictures of side × side pixels, drawn together.

    Args:
        encoded: from `encode`, n of them, each name's put together.
        noise: standard normal, (n, C, h, w), on the pipeline's device.
    """
    found: Tensor = pipeline(
        **encoded,
        latents=noise,
        height=side,
        width=side,
        num_inference_steps=steps,
        guidance_scale=guidance,
        output_type="latent",
    ).images
    return found


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> Tensor:
    """The picture of one latent (C, h, w): float32 (side, side, 3), nominally in [0, 1], on the CPU.

    In fp32 whatever is around it: SDXL's VAE overflows in half precision.
    """
    with torch.autocast(vae.device.type, enabled=False):
        decoded = vae.decode(latents[None].to(vae.device, vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
    picture: Tensor = (decoded[0] / 2 + 0.5).permute(1, 2, 0).float().cpu()
    return picture
