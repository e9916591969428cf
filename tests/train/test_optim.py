"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dedpo.contract.sections import TrainConfig
from dedpo.errors import UserError
from dedpo.train.optim import learning_rate, make_optimizer

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def _config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{"learning_rate": 1.0, "warmup_steps": 4, "steps": 14} | settings)


def _rates(**settings: Any) -> list[float]:
    config = _config(**settings)
    return [learning_rate(config, step) for step in range(config.steps)]


def _weights() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.full((2, 3), 2.0)), torch.nn.Parameter(torch.ones(3), requires_grad=False)]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "piecewise_constant"])
def test_every_schedule_warms_up_in_a_line(schedule: str) -> None:
    assert _rates(schedule=schedule)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert _rates(warmup_steps=0) == [1.0] * 14


def test_the_schedules_fall_as_they_say() -> None:
    assert _rates()[4:] == [1.0] * 10
    assert _rates(schedule="linear")[4:] == pytest.approx([1 - i / 10 for i in range(10)])
    assert _rates(schedule="cosine")[4:] == pytest.approx([(1 + math.cos(math.pi * i / 10)) / 2 for i in range(10)])
    steps = {12: 0.25, 6: 0.5}
    assert _rates(schedule="piecewise_constant", schedule_steps=steps)[4:] == [1, 1, *[0.5] * 6, 0.25, 0.25]


def test_a_warm_up_longer_than_the_run_is_all_there_is() -> None:
    assert _rates(schedule="cosine", warmup_steps=28) == pytest.approx([(i + 1) / 28 for i in range(14)])


def test_adamw_moves_what_is_to_move() -> None:
    weights = _weights()
    optimizer = make_optimizer(_config(weight_decay=0.1), weights, CPU)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["params"] == weights[:1]
    weights[0].grad = torch.ones(2, 3)
    optimizer.step()
    # The first step is the rate times the gradient's sign, beside the decay.
    torch.testing.assert_close(weights[0].detach(), torch.full((2, 3), 2.0 * 0.9 - 1.0))


@pytest.mark.parametrize("device", [CPU, GPU])
def test_adamw_is_fused(device: torch.device) -> None:
    assert make_optimizer(_config(), _weights(), device).defaults["fused"] is True


def test_adafactor_takes_the_rate_that_it_is_given() -> None:
    """With scale_parameter the step would be twice as large: the weights' root mean square is 2."""
    weights = _weights()
    optimizer = make_optimizer(_config(optimizer="adafactor", learning_rate=0.5, weight_decay=0.1), weights, CPU)
    weights[0].grad = torch.full((2, 3), 7.0)
    optimizer.step()
    torch.testing.assert_close(weights[0].detach(), torch.full((2, 3), 2.0 * 0.95 - 0.5), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adamw_8bit"}, "adamw_8bit: it needs a GPU; set train.optimizer=adamw"),
        ({"optimizer": "adafactor", "strategy": "fsdp"}, "adafactor: its state cannot be sharded"),
        ({"optimizer": "adamw_8bit", "strategy": "fsdp"}, "adamw_8bit: its state cannot be sharded"),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_optimizer(_config(**settings), _weights(), CPU)


def test_a_missing_bitsandbytes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(UserError, match="the package 'bitsandbytes' is missing; pip install bitsandbytes"):
        make_optimizer(_config(optimizer="adamw_8bit"), _weights(), GPU)
