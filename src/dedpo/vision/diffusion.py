"""Loading diffusers pipelines: shared by training and sampling."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from dedpo.contract import model_names
from dedpo.errors import UserError
from dedpo.terminal import note
from dedpo.vision import adapter_files, model_files, step_files
from dedpo.vision.model_files import TOKENIZERS


def load(model: str, place: str, *, variant: str | None = None, vae: str | None = None) -> Any:
    """Load a model in fp32 from a diffusers folder or a hub id; safetensors only, nothing is unpickled.

    A LoRA policy's folder, which names its base in base.json, gives that base with the adapters merged into it; a UNet
    of the policy's training on the way (`step_files`) gives the policy with that UNet. A safety checker is left out: it
    would black out some models' pictures and not others'.

    Args:
        model: a folder, or owner/name or owner/name@revision on the hub.
        place: where the name came from, for the message.
        variant: which of the weight files, such as 'fp16'; they become fp32 here all the same. None: the plain ones, or
            the only ones that a folder has.
        vae: another VAE in place of the model's own: the folder or hub id of an AutoencoderKL.

    Returns:
        a StableDiffusionPipeline or a StableDiffusionXLPipeline.

    Raises:
        UserError: nothing loadable there, another kind of pipeline, a VAE and a UNet that do not fit, or adapters of
            another base.
    """
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    # transformers advises torchvision at every load; torchvision breaks against the CPU build of torch.
    transformers_logging.set_verbosity_error()
    # diffusers prints each prompt that it cuts; training and sampling count them.
    diffusers_logging.set_verbosity_error()
    check_name(model, place)
    if (Path(model) / adapter_files.BASE).is_file():
        return _load_adapters(Path(model), place, vae)
    if policy := step_files.policy_of(Path(model)):
        return _load_step(Path(model), policy, place, variant, vae)
    variant = _variant(model, place, variant)
    pipeline = _pretrained(model, place, variant, vae)
    if not isinstance(pipeline, (StableDiffusionPipeline, StableDiffusionXLPipeline)):
        raise UserError(f"{place}: {model} is a {type(pipeline).__name__}; {model_files.SUPPORTED}")
    _check_parts(pipeline, f"{place}: {model}")
    _check_whole(pipeline, f"{place}: {model}", variant)
    _limit_tokenizers(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _pretrained(model: str, place: str, variant: str | None, vae: str | None) -> Any:
    name, options = model_names.model(model).name, model_names.model(model).options
    if vae is not None:
        options["vae"] = _load_vae(vae, place)
    try:
        return DiffusionPipeline.from_pretrained(
            name,
            dtype=torch.float32,
            use_safetensors=True,
            variant=variant,
            safety_checker=None,
            feature_extractor=None,
            image_encoder=None,
            requires_safety_checker=False,
            **options,
        )
    except (AttributeError, OSError, ValueError, SafetensorError) as error:
        hint = "" if Path(model).is_dir() and variant is None else _files_of(variant)
        raise UserError(
            f"{place}: {model}: not a diffusers model that can be loaded ({_one_line(error)}){hint}"
        ) from None


def _load_step(folder: Path, policy: Path, place: str, variant: str | None, vae: str | None) -> Any:
    pipeline = load(str(policy), place, variant=variant, vae=vae)
    try:
        pipeline.unet = UNet2DConditionModel.from_pretrained(
            folder / step_files.UNET, torch_dtype=torch.float32, use_safetensors=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{place}: {folder}: not a UNet that can be loaded ({_one_line(error)})") from None
    _check_whole(pipeline, f"{place}: {folder}", None)
    return pipeline


def _variant(model: str, place: str, wanted: str | None) -> str | None:
    if not Path(model).is_dir():
        return wanted
    found = model_files.variant(Path(model), place, wanted)
    if found != wanted:
        note(f"{place}: {model} has .{found}.safetensors files alone: they are read")
    return found


def _load_adapters(folder: Path, place: str, vae: str | None) -> Any:
    base = adapter_files.read(folder, place)
    for name in adapter_files.candidates(base, folder, place):
        pipeline = load(name, f"{place}: {folder}: its base", variant=base["variant"], vae=vae or base["vae"])
        # A VAE that was asked for in place of the base's own says nothing about which base it is.
        differing = adapter_files.differing(base, identity(name, pipeline), without=("vae",) if vae else ())
        if not differing:
            break
    else:
        raise adapter_files.other_base(folder, place, base, differing)
    try:
        pipeline.load_lora_weights(folder, weight_name=adapter_files.WEIGHTS)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise UserError(f"{place}: {folder}: not adapters that can be loaded ({_one_line(error)})") from None
    # Merged, they cost nothing while drawing, and the UNet can be trained like any other.
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    if base["resolution"] is not None:
        pipeline.unet.register_to_config(sample_size=base["resolution"] // pipeline.vae_scale_factor)
    return pipeline


def identity(model: str, pipeline: Any) -> dict[str, str]:
    """Part of the model → hash: what it is, whatever it is called and wherever it lies.

    Args:
        model: where `pipeline` was loaded from. Adapters are hashed as files: merged, last bits are a processor's.
    """
    if (Path(model) / adapter_files.BASE).is_file():
        return adapter_files.identity(Path(model))
    parts = {name: getattr(pipeline, name, None) for name in model_files.PARTS}
    return {name: weights_hash(part) for name, part in parts.items() if part is not None}


def weights_hash(*modules: Any) -> str:
    """SHA-256 over the modules' settings, and names, types and bytes of their weights."""
    digest = hashlib.sha256()
    for module in modules:
        digest.update(json.dumps(_settings(module.config), sort_keys=True, default=str).encode())
        for name, tensor in module.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _settings(config: Any) -> dict[str, Any]:
    """What decides the numbers that a model computes, without where it came from and who wrote the file."""
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return {k: v for k, v in values.items() if not k.startswith("_") and k not in ("transformers_version", "dtype")}


def side(pipeline: Any, place: str, setting: str = "train.resolution") -> int:
    """The side in pixels of the squares that the model was made for.

    Raises:
        UserError: its settings do not say; names `setting`, by which to say it.
    """
    size = pipeline.unet.config.sample_size
    sizes = {size} if isinstance(size, int) else set(size or ())
    if len(sizes) != 1 or not all(isinstance(s, int) and s > 0 for s in sizes):
        raise UserError(
            f"{place}: its unet/config.json has sample_size {size!r}, which names no square; set {setting}, such as "
            "512 for SD1.5 and 1024 for SDXL"
        )
    return int(sizes.pop()) * int(pipeline.vae_scale_factor)


def broken_weights(pipeline: Any) -> list[str]:
    """The weights of a model that are not finite, such as 'unet.conv_in.weight'."""
    return [
        f"{part}.{name}"
        for part in model_files.PARTS
        if (module := getattr(pipeline, part, None)) is not None
        for name, weight in module.state_dict().items()
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all())
    ]


def _limit_tokenizers(pipeline: Any) -> None:
    """Tell each tokenizer where its encoder ends: files that do not say so make it pad to 10³⁰ tokens."""
    for tokenizer_name, encoder_name in TOKENIZERS.items():
        tokenizer, encoder = getattr(pipeline, tokenizer_name, None), getattr(pipeline, encoder_name, None)
        limit = getattr(getattr(encoder, "config", None), "max_position_embeddings", None)
        if tokenizer is not None and limit and tokenizer.model_max_length > limit:
            tokenizer.model_max_length = limit


def _load_vae(name: str, place: str) -> Any:
    _check_place(name, f"{place}: its VAE")
    model = model_names.model(name)
    try:
        return AutoencoderKL.from_pretrained(
            model.name, torch_dtype=torch.float32, use_safetensors=True, **model.options
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{place}: its VAE: {name}: no AutoencoderKL that can be loaded ({_one_line(error)})") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _files_of(variant: str | None) -> str:
    if variant is None:
        return "; where it has half-precision files alone: train.variant=fp16"
    return f"; train.variant={variant} asks for its .{variant}.safetensors files"


def _check_parts(pipeline: Any, where: str) -> None:
    latent, expected = pipeline.vae.config.latent_channels, pipeline.unet.config.in_channels
    if latent != expected:
        raise UserError(
            f"{where}: its VAE makes {latent} channels and its UNet takes {expected}; name a text-to-image model and "
            "a VAE made for it"
        )
    unet = pipeline.unet.config
    if unet.out_channels != expected:
        raise UserError(
            f"{where}: its UNet predicts {unet.out_channels} channels of {expected}; models that predict a variance, "
            "too, are not supported"
        )
    for name in ("num_class_embeds", "class_embed_type", "time_cond_proj_dim"):
        if unet.get(name) is not None:
            raise UserError(
                f"{where}: UNets with '{name}' are not supported: they take more than a prompt; name a plain "
                "text-to-image model"
            )
    for name in ("latents_mean", "shift_factor"):
        if pipeline.vae.config.get(name) is not None:
            raise UserError(f"{where}: VAEs with '{name}' are not supported; name one that only scales its latents")


def _check_whole(pipeline: Any, where: str, variant: str | None) -> None:
    """Refuse a model of which something was not in its files, and was made up."""
    for part in model_files.PARTS:
        if (module := getattr(pipeline, part, None)) is None:
            continue
        lacking = [name for name, tensor in module.state_dict().items() if tensor.is_meta]
        folder = Path(str(getattr(module, "name_or_path", "")))
        if part in TOKENIZERS.values() and folder.is_dir():
            lacking += model_files.missing(module, folder, variant)
        if lacking:
            raise UserError(
                f"{where}: its {part} lacks {len(lacking)} of its weights, such as {lacking[0]}; fetch the model again"
            )
    for name in TOKENIZERS:
        tokenizer = getattr(pipeline, name, None)
        if tokenizer is not None and len(tokenizer) <= len(set(tokenizer.all_special_ids)):
            raise UserError(f"{where}: its {name} knows no word; fetch the model again")


def too_long(pipeline: Any, prompts: Sequence[str]) -> list[str]:
    """The prompts that exceed the token limit of a text encoder and are cut there."""
    cut: set[int] = set()
    for name in TOKENIZERS:
        tokenizer = getattr(pipeline, name, None)
        if tokenizer is not None:
            ids = tokenizer(list(prompts)).input_ids
            cut |= {i for i, tokens in enumerate(ids) if len(tokens) > tokenizer.model_max_length}
    return [prompts[i] for i in sorted(cut)]


def check_name(model: str, place: str) -> None:
    """Refuse what cannot be a model, before any time is spent: a missing folder, a file, a folder of something else.

    Raises:
        UserError: it names `place` and what to do.
    """
    _check_place(model, place)
    if Path(model).is_dir() and not (Path(model) / adapter_files.BASE).is_file():
        model_files.check_folder(step_files.policy_of(Path(model)) or Path(model), place)


def _check_place(model: str, place: str) -> None:
    model_files.check_not_file(model, place)
    if not Path(model).is_dir() and (
        model.startswith((".", "/", "~")) or model_names.model(model).name.count("/") != 1
    ):
        raise UserError(f"{place}: {model}: no such folder; name a diffusers folder or a hub id such as 'owner/name'")
    model_names.check_name(model, place)
