"""Loading diffusers pipelines: shared by training and sampling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from dedpo import records
from dedpo.errors import UserError

# What training with LoRA writes: which model the adapters belong to, and the adapters.
ADAPTER_BASE = "base.json"
ADAPTER_WEIGHTS = "pytorch_lora_weights.safetensors"


def load(model: str, place: str, *, variant: str | None = None, vae: str | None = None) -> Any:
    """Load a model in fp32 from a diffusers folder or a hub id; safetensors only, nothing is unpickled.

    A LoRA policy's folder, which names its base in base.json, gives that base with the adapters merged into it.

    Args:
        place: where the name came from, for the message.
        variant: which of the weight files, such as 'fp16'; they become fp32 here all the same.
        vae: another VAE in place of the model's own: the folder or hub id of an AutoencoderKL.

    Returns:
        a StableDiffusionPipeline or a StableDiffusionXLPipeline.

    Raises:
        UserError: nothing loadable there, another kind of pipeline, or a VAE and a UNet that do not fit.
    """
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    # transformers advises torchvision at every load; torchvision breaks against the CPU build of torch.
    transformers_logging.set_verbosity_error()
    # diffusers prints each prompt that it cuts; training and sampling count them.
    diffusers_logging.set_verbosity_error()
    check_name(model, place)
    if (Path(model) / ADAPTER_BASE).is_file():
        return _load_adapters(Path(model), place, vae)
    other = {} if vae is None else {"vae": _load_vae(vae, place)}
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            model, dtype=torch.float32, use_safetensors=True, variant=variant, **other
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"{place}: {model}: not a diffusers model that can be loaded ({_one_line(error)}){_files_of(variant)}"
        ) from None
    if not isinstance(pipeline, (StableDiffusionPipeline, StableDiffusionXLPipeline)):
        raise UserError(
            f"{place}: {model} is a {type(pipeline).__name__}; Stable Diffusion 1.x/2.x and XL class models are "
            "supported"
        )
    _check_parts(pipeline, f"{place}: {model}")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _load_adapters(folder: Path, place: str, vae: str | None) -> Any:
    try:
        base = records.read(folder / ADAPTER_BASE, "train it again", {"base", "variant", "vae"})
        pipeline = load(base["base"], f"{place}: {folder}: its base", variant=base["variant"], vae=vae or base["vae"])
        pipeline.load_lora_weights(folder, weight_name=ADAPTER_WEIGHTS)
    except (OSError, TypeError, SafetensorError) as error:
        raise UserError(f"{place}: {folder}: not adapters that can be loaded ({_one_line(error)})") from None
    # Merged, they cost nothing while drawing, and the UNet can be trained like any other.
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    return pipeline


def _load_vae(name: str, place: str) -> Any:
    check_name(name, f"{place}: its VAE")
    try:
        return AutoencoderKL.from_pretrained(name, torch_dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{place}: its VAE: {name}: no AutoencoderKL that can be loaded ({_one_line(error)})") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _files_of(variant: str | None) -> str:
    return "" if variant is None else f"; train.variant={variant} asks for its .{variant}.safetensors files"


def _check_parts(pipeline: Any, where: str) -> None:
    latent, expected = pipeline.vae.config.latent_channels, pipeline.unet.config.in_channels
    if latent != expected:
        raise UserError(
            f"{where}: its VAE makes {latent} channels and its UNet takes {expected}; name a text-to-image model and "
            "a VAE made for it"
        )
    for name in ("latents_mean", "shift_factor"):
        if pipeline.vae.config.get(name) is not None:
            raise UserError(f"{where}: VAEs with '{name}' are not supported; name one that only scales its latents")


def too_long(pipeline: Any, prompts: Sequence[str]) -> list[str]:
    """The prompts that exceed the token limit of a text encoder and are cut there."""
    cut: set[int] = set()
    for name in ("tokenizer", "tokenizer_2"):
        tokenizer = getattr(pipeline, name, None)
        if tokenizer is not None:
            ids = tokenizer(list(prompts)).input_ids
            cut |= {i for i, tokens in enumerate(ids) if len(tokens) > tokenizer.model_max_length}
    return [prompts[i] for i in sorted(cut)]


def check_name(model: str, place: str) -> None:
    """Refuse a name that is neither a folder here nor shaped like a hub id, before any time is spent.

    Raises:
        UserError: it names `place`.
    """
    if not Path(model).is_dir() and (model.startswith((".", "/")) or model.count("/") != 1):
        raise UserError(f"{place}: {model}: no such folder; name a diffusers folder or a hub id such as 'owner/name'")
