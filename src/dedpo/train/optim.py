"""Optimisers and the learning rate as a function of the step, so that a schedule has no state to save."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from dedpo.contract.sections import TrainConfig
from dedpo.errors import UserError


def make_optimizer(
    config: TrainConfig, parameters: Iterable[torch.Tensor], device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser of `train.optimizer` over the parameters that are to move.

    Raises:
        UserError: adamw_8bit without a GPU or without bitsandbytes, or a strategy that its state cannot be sharded by.
    """
    if config.optimizer != "adamw" and config.strategy == "fsdp":
        raise UserError(
            f"train.optimizer {config.optimizer}: its state cannot be sharded; set train.optimizer=adamw or "
            "train.strategy=ddp"
        )
    moving = [p for p in parameters if p.requires_grad]
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        # The settings of Diffusion-DPO's SDXL run: the rate is what params.yaml says, not one of Adafactor's making.
        return Adafactor(  # type: ignore[no-any-return]
            moving, lr=rate, weight_decay=decay, scale_parameter=False, relative_step=False, warmup_init=False
        )
    if config.optimizer == "adamw_8bit":
        return _adamw_8bit(moving, rate, decay, device)
    return torch.optim.AdamW(moving, lr=rate, weight_decay=decay, fused=True)


def _adamw_8bit(
    parameters: list[torch.Tensor], rate: float, decay: float, device: torch.device
) -> torch.optim.Optimizer:
    if device.type != "cuda":
        raise UserError("train.optimizer adamw_8bit: it needs a GPU; set train.optimizer=adamw")
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found]
    except ImportError:
        raise UserError(
            "train.optimizer adamw_8bit: the package 'bitsandbytes' is missing; pip install bitsandbytes, or set "
            "train.optimizer=adamw"
        ) from None
    return AdamW8bit(parameters, lr=rate, weight_decay=decay)  # type: ignore[no-any-return]


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of step number `step` (from 0): a linear warm-up over `warmup_steps`, times the schedule's factor."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    return config.learning_rate * warm * _factor(config, step)


def _factor(config: TrainConfig, step: int) -> float:
    if config.schedule == "piecewise_constant":
        begun = [start for start in config.schedule_steps if start <= step]
        return config.schedule_steps[max(begun)] if begun else 1.0
    # Share of the way from the end of the warm-up (0) to the end of training (1, which no step reaches).
    way = max(0.0, (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1))
    if config.schedule == "linear":
        return 1.0 - way
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * way))
    return 1.0
