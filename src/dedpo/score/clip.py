"""The CLIP models that metrics need: plain ones, and HPSv2's published files and its preparation of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from dedpo.errors import UserError, excerpt
from dedpo.score import hpsv2, weights
from dedpo.score.plan import Model
from dedpo.vision import clip
from dedpo.vision.clip import Clip


def load(source: Model, device: torch.device, dtype: torch.dtype, trusted: Sequence[str] = ()) -> Clip:
    """Load a model from a transformers folder or hub id (safetensors only) or from HPSv2's published file.

    Raises:
        UserError: weights or processor cannot be had or are another model's; names the setting.
    """
    beside = (source.processor, source.processor_place)
    if not source.is_hpsv2:
        return clip.load(source.weights, source.place, device, dtype, beside)
    model = _published(source, trusted) if source.is_file else clip.pretrained(source.weights, source.place)
    tokenizer = clip.tokenizer(*beside, model.config.text_config.vocab_size)
    side = model.config.vision_config.image_size
    return Clip(model, tokenizer, partial(_hpsv2_pixels, side=side), device, dtype)


def _hpsv2_pixels(pictures: Sequence[Image.Image], side: int) -> Tensor:
    return torch.stack([hpsv2.pixels(p, side) for p in pictures])


def _published(source: Model, trusted: Sequence[str]) -> CLIPModel:
    path = weights.locate(source.weights, source.place)
    state = weights.read(path, source.place, trusted)
    config = clip.fetch(CLIPConfig, source.processor, source.processor_place)
    try:
        # Half-precision files become fp32, as `clip.pretrained` makes them.
        state = {name: tensor.float() for name, tensor in hpsv2.to_transformers(state).items()}
        model, report = CLIPModel.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"{source.place}: {path}: not open_clip's weights of {source.processor} ({excerpt(str(error), 120)})"
        ) from None
    return clip.whole(model, report, source.weights, source.place)
