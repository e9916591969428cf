"""CLIP by transformers: pictures and prompts to unit embeddings in one space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from dedpo.errors import UserError, excerpt
from dedpo.score import hpsv2, weights
from dedpo.score.plan import Model

Prepare = Callable[[Sequence[Image.Image]], Tensor]


class Clip:
    """A CLIP model that is ready to embed.

    Attributes:
        scale: exp(logit_scale).
    """

    def __init__(
        self, model: CLIPModel, tokenizer: CLIPTokenizer, prepare: Prepare, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Move the model to `device` in `dtype`; `prepare` makes (n, 3, side, side) of pictures."""
        self.scale = float(model.logit_scale.detach().float().exp())
        self._model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self._tokenizer, self._prepare = tokenizer, prepare
        self._device, self._dtype = device, dtype

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Unit embeddings of RGB pictures: float32 (n, d), on the CPU."""
        pixel_values = self._prepare(pictures).to(self._device, self._dtype)
        return _unit(self._model.get_image_features(pixel_values=pixel_values).pooler_output)

    @torch.inference_mode()
    def texts(self, prompts: Sequence[str]) -> Tensor:
        """Unit embeddings of prompts: float32 (n, d), on the CPU; what exceeds the model's token limit is cut off."""
        # Always padded to the limit: the same prompt has the same embedding next to whatever others. The end token
        # that is read comes before the padding, so no mask is needed.
        tokens = self._tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        return _unit(self._model.get_text_features(input_ids=tokens.input_ids.to(self._device)).pooler_output)


def _unit(embeddings: Tensor) -> Tensor:
    return F.normalize(embeddings.float(), dim=1).cpu()


def load(source: Model, device: torch.device, dtype: torch.dtype, trusted: Sequence[str] = ()) -> Clip:
    """Load a model from a transformers folder or hub id (safetensors only) or from HPSv2's published file.

    Raises:
        UserError: weights or processor cannot be had or are another model's; names the setting.
    """
    # transformers advises torchvision at every load; torchvision breaks against the CPU build of torch.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    model = _published(source, trusted) if source.is_file else _pretrained(source)
    tokenizer = _tokenizer(source, model.config.text_config.vocab_size)
    prepare: Prepare
    if source.is_hpsv2:
        side = model.config.vision_config.image_size
        prepare = partial(_hpsv2_pixels, side=side)
    else:
        prepare = partial(_clip_pixels, _from(CLIPImageProcessorPil, source.processor, source.processor_place))
    return Clip(model, tokenizer, prepare, device, dtype)


def _tokenizer(source: Model, size: int) -> CLIPTokenizer:
    tokenizer = _from(CLIPTokenizer, source.processor, source.processor_place)
    # Where no tokenizer is, transformers makes one that knows two tokens.
    if len(tokenizer) != size:
        raise UserError(
            f"{source.processor_place}: {source.processor}: a tokenizer of {len(tokenizer)} tokens, but the model "
            f"reads {size}; name a folder or hub id with the model's own tokenizer"
        )
    return tokenizer


def _hpsv2_pixels(pictures: Sequence[Image.Image], side: int) -> Tensor:
    return torch.stack([hpsv2.pixels(p, side) for p in pictures])


def _clip_pixels(processor: CLIPImageProcessorPil, pictures: Sequence[Image.Image]) -> Tensor:
    values: Tensor = processor(images=list(pictures), return_tensors="pt").pixel_values
    return values


def _pretrained(source: Model) -> CLIPModel:
    model, report = _from(
        CLIPModel, source.weights, source.place, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    return _whole(model, report, source)


def _published(source: Model, trusted: Sequence[str]) -> CLIPModel:
    path = weights.locate(source.weights, source.place)
    state = weights.read(path, source.place, trusted)
    config = _from(CLIPConfig, source.processor, source.processor_place)
    try:
        # Half-precision files become fp32, as `_pretrained` makes them.
        state = {name: tensor.float() for name, tensor in hpsv2.to_transformers(state).items()}
        model, report = CLIPModel.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"{source.place}: {path}: not open_clip's weights of {source.processor} ({excerpt(str(error), 120)})"
        ) from None
    return _whole(model, report, source)


def _whole(model: CLIPModel, report: dict[str, Any], source: Model) -> CLIPModel:
    """Refuse a model in part: transformers only warns, and goes on with random weights."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"{source.place}: {source.weights}: not a whole CLIPModel, {len(missing)} weights such as '{missing[0]}' "
            "are not in it; name another model"
        )
    return model


def _from(kind: Any, name: str, place: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{place}: {name}: no {kind.__name__} could be loaded ({excerpt(str(error), 100)}); {weights.REACH}: "
            f"hf download {name}"
        ) from None
