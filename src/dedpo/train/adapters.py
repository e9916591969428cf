"""Low-rank adapters (LoRA) on a UNet by peft: with them off, the UNet is the reference, so no second copy is held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dedpo.contract.sections import LoraConfig
from dedpo.errors import UserError
from dedpo.train.parallel import whole

NAME = "default"


def add(unet: Any, config: LoraConfig, seed: int) -> None:
    """Give the UNet's layers adapters that change nothing yet, and freeze all else.

    Args:
        seed: of the adapters' first factors, the same on every rank.

    Raises:
        UserError: no layer's name ends as `config.modules` says.
    """
    from peft import LoraConfig as PeftConfig

    unet.requires_grad_(False)
    settings = PeftConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=list(config.modules), init_lora_weights=True
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            unet.add_adapter(settings, adapter_name=NAME)
        except ValueError:
            raise UserError(
                f"train.lora.modules {config.modules}: no linear layers of the UNet are called so; take name endings "
                "such as to_q, to_k, to_v and to_out.0"
            ) from None


@contextmanager
def switched_off(unet: Any) -> Iterator[Any]:
    """Within: the UNet computes what it did before `add`, to the last bit."""
    unet.disable_adapters()
    try:
        yield unet
    finally:
        unet.enable_adapters()


def layers(unet: Any) -> list[Any]:
    """The layers that have an adapter."""
    from peft.tuners.lora import LoraLayer

    return [module for module in unet.modules() if isinstance(module, LoraLayer)]


@torch.no_grad()
def squared_change(unet: Any) -> float:
    """‖ΔW‖² over all adapted layers, ΔW = scale·B·A, by the small Gram matrices: no ΔW is formed."""
    return sum(_squared_norm(layer) for layer in layers(unet))


def _squared_norm(layer: Any) -> float:
    down, up = (whole(factor[NAME].weight).double().flatten(1) for factor in (layer.lora_A, layer.lora_B))
    gram: Tensor = (up.T @ up) * (down @ down.T)
    return float(layer.scaling[NAME] ** 2 * gram.sum())


def save(pipeline: Any, weights: dict[str, Tensor], folder: Path) -> None:
    """Write `pytorch_lora_weights.safetensors` into `folder`, as `load_lora_weights` reads it.

    The scale alpha / rank is folded into the second factors: programs that find neither metadata nor .alpha tensors
    take a scale of 1 (docs/training.md says which), and safetensors writes metadata in an order that chance decides, so
    that the same weights would not be the same file.

    Args:
        pipeline: of the base; its UNet has the adapters.
        weights: of the adapters, by the names of the UNet's parameters.
    """
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    settings = pipeline.unet.peft_config[NAME]
    scale = settings.lora_alpha / settings.r
    folded = {name: tensor * scale if ".lora_B." in name else tensor for name, tensor in weights.items()}
    found = get_peft_model_state_dict(pipeline.unet, state_dict=folded, adapter_name=NAME)
    type(pipeline).save_lora_weights(
        folder,
        unet_lora_layers=convert_state_dict_to_diffusers(found),
        safe_serialization=True,
    )
