"""Loading diffusers pipelines: shared by training and sampling."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from dedpo.errors import UserError


def load(model: str, place: str) -> StableDiffusionPipeline:
    """Load a model in fp32 from a diffusers folder or a hub id; safetensors only, nothing is unpickled.

    Args:
        place: where the name came from, for the message.

    Raises:
        UserError: nothing loadable there, or another kind of pipeline.
    """
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    # transformers advises torchvision at every load; torchvision breaks against the CPU build of torch.
    transformers_logging.set_verbosity_error()
    check_name(model, place)
    try:
        pipeline = DiffusionPipeline.from_pretrained(model, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{place}: {model}: not a diffusers model that can be loaded ({reason})") from None
    if not isinstance(pipeline, StableDiffusionPipeline):
        raise UserError(
            f"{place}: {model} is a {type(pipeline).__name__}; Stable Diffusion 1.x/2.x class models are supported"
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def check_name(model: str, place: str) -> None:
    """Refuse a name that is neither a folder here nor shaped like a hub id, before any time is spent.

    Raises:
        UserError: it names `place`.
    """
    if not Path(model).is_dir() and (model.startswith((".", "/")) or model.count("/") != 1):
        raise UserError(f"{place}: {model}: no such folder; name a diffusers folder or a hub id such as 'owner/name'")
