"""Write the tuned model: a whole diffusers folder, or adapters and the name of the base that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dedpo.contract.sections import TrainConfig
from dedpo.train import adapters
from dedpo.vision import adapter_files, step_files


def save(
    pipeline: Any,
    weights: dict[str, Tensor],
    config: TrainConfig,
    folder: Path,
    *,
    resolution: int,
    identity: Mapping[str, str],
    on_the_way: bool = False,
) -> None:
    """Write the policy to `folder`, safetensors only; at the end of training this finishes with the pipeline.

    Full fine-tuning writes what `DiffusionPipeline.from_pretrained` loads, which then draws at the trained size; LoRA
    what `load_lora_weights` loads, and base.json, by which `dedpo sample` finds the base model.

    Args:
        pipeline: of the base model; its UNet may be in shards, compiled or wrapped: only its settings are read.
        weights: what was trained, whole, by the names of the UNet's parameters.
        resolution: side of the squares in pixels that it was trained at.
        identity: of the base, from `diffusion.identity`.
        on_the_way: of a whole model write the UNet alone, as `dedpo.vision.step_files` has it.
    """
    if config.lora:
        adapters.save(pipeline, weights, folder)
        adapter_files.write(
            folder, base=config.base, variant=config.variant, vae=config.vae, resolution=resolution, sha256=identity
        )
        return
    unet = _unet(pipeline, weights, resolution)
    if on_the_way:
        unet.save_pretrained(folder / step_files.UNET, safe_serialization=True)
        return
    pipeline.unet = unet
    pipeline.to("cpu").save_pretrained(folder, safe_serialization=True)


def _unet(pipeline: Any, weights: dict[str, Tensor], resolution: int) -> Any:
    settings = {**pipeline.unet.config, "sample_size": resolution // pipeline.vae_scale_factor}
    with torch.device("meta"):
        unet = _kind(pipeline.unet).from_config(settings)
    unet.load_state_dict({name: tensor.cpu() for name, tensor in weights.items()}, assign=True)
    return unet.eval()


def _kind(unet: Any) -> Any:
    """The UNet's own class; FSDP puts one of its own before it."""
    return next(kind for kind in type(unet).__mro__ if kind.__module__.startswith("diffusers."))
