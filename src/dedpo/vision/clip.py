"""CLIP by transformers, pictures and prompts to unit embeddings in one space: shared by scoring and features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from dedpo.contract import model_names
from dedpo.errors import UserError, excerpt

Prepare = Callable[[Sequence[Image.Image]], Tensor]


class Clip:
    """A CLIP model that is ready to embed.

    Attributes:
        scale: exp(logit_scale).
        width: of the embeddings.
        prepare: makes float32 (n, 3, side, side) of n RGB pictures, on the CPU; threads may share it.
    """

    def __init__(
        self, model: CLIPModel, tokenizer: CLIPTokenizer, prepare: Prepare, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Move the model to `device` in `dtype`."""
        self.scale = float(model.logit_scale.detach().float().exp())
        self.width = int(model.config.projection_dim)
        self.prepare = prepare
        self._model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self._tokenizer, self._device, self._dtype = tokenizer, device, dtype

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Unit embeddings of RGB pictures: float32 (n, d), on the CPU."""
        return self.embed(self.prepare(pictures))

    @torch.inference_mode()
    def embed(self, prepared: Tensor) -> Tensor:
        """Unit embeddings of pictures that `prepare` has made ready: float32 (n, d), on the CPU."""
        pixel_values = prepared.to(self._device, self._dtype)
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


def load(
    name: str,
    place: str,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    beside: tuple[str, str] | None = None,
) -> Clip:
    """Load a transformers folder or hub id that holds the model, its tokenizer and its image processor.

    Args:
        place: the setting that names it, for messages.
        beside: the folder or hub id of tokenizer and image processor, and the setting that names it; None: `name`.

    Raises:
        UserError: one of the three cannot be had, or the weights are another model's; names `place`.
    """
    model, both = pretrained(name, place), beside or (name, place)
    size = model.config.text_config.vocab_size
    return Clip(model, tokenizer(*both, size), preparation(*both), device, dtype)


def pretrained(name: str, place: str) -> CLIPModel:
    """The weights in fp32, safetensors only.

    Raises:
        UserError: they cannot be had, or are no whole CLIPModel's.
    """
    model, report = fetch(CLIPModel, name, place, dtype=torch.float32, use_safetensors=True, output_loading_info=True)
    return whole(model, report, name, place)


def tokenizer(name: str, place: str, size: int) -> CLIPTokenizer:
    """The tokenizer of a model that reads `size` tokens.

    Raises:
        UserError: it cannot be had, or knows another number of tokens.
    """
    found = fetch(CLIPTokenizer, name, place)
    # Where no tokenizer is, transformers makes one that knows two tokens.
    if len(found) != size:
        raise UserError(
            f"{place}: {name}: a tokenizer of {len(found)} tokens, but the model reads {size}; name a folder or hub id "
            "with the model's own tokenizer"
        )
    return found


def preparation(name: str, place: str) -> Prepare:
    """The image processor, as a function from RGB pictures to float32 (n, 3, side, side).

    Raises:
        UserError: it cannot be had.
    """
    return partial(_pixels, fetch(CLIPImageProcessorPil, name, place))


def _pixels(processor: CLIPImageProcessorPil, pictures: Sequence[Image.Image]) -> Tensor:
    values: Tensor = processor(images=list(pictures), return_tensors="pt").pixel_values
    return values


def whole(model: CLIPModel, report: dict[str, Any], name: str, place: str) -> CLIPModel:
    """Refuse a model in part: transformers only warns, and goes on with random weights.

    Args:
        report: transformers' loading info.

    Raises:
        UserError: weights are missing.
    """
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"{place}: {name}: not a whole CLIPModel, {len(missing)} weights such as '{missing[0]}' are not in it; "
            "name another model"
        )
    return model


def fetch(kind: Any, name: str, place: str, **options: Any) -> Any:
    """`kind.from_pretrained`, from a folder here, the hub's cache or the hub.

    Raises:
        UserError: nothing of this kind could be loaded; names `place` and how to fetch it.
    """
    # transformers advises torchvision at every load; torchvision breaks against the CPU build of torch.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    model = model_names.model(name)
    try:
        return kind.from_pretrained(model.name, **model.options, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{place}: {name}: no {kind.__name__} could be loaded ({excerpt(str(error), 100)}); {model_names.REACH}: "
            f"{model.download}"
        ) from None
