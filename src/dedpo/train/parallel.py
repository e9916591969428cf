"""What several ranks share: weights in shards (FSDP2), whole tensors gathered from them, micro-batches without talk.

With one rank, and with copies (DDP), every function here hands its argument through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

# The units that are gathered and let go one after the other: where a diffusion UNet's weights are.
SHARDED_BLOCKS = ("BasicTransformerBlock", "ResnetBlock2D")


def shard(module: torch.nn.Module, device: torch.device) -> None:
    """Spread the module's weights over all ranks, in place; `device` is where they are.

    Weights are gathered in fp32 and autocast as everywhere: half the traffic of gathering bf16 is given up so that
    a run gives the same numbers with DDP, with FSDP and on one rank.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for block in list(module.modules()):
        if type(block).__name__ in SHARDED_BLOCKS:
            fully_shard(block, mesh=mesh)
    # By default the outermost unit stays gathered after a forward pass; where no backward pass follows, as in an
    # evaluation with averaged weights, the next step would compute with what was gathered then.
    fully_shard(module, mesh=mesh, reshard_after_forward=True)


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that is on this rank, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on the CPU if it was sharded; every rank must ask for the same one at the same time."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def scale_gradients(weights: Iterable[Tensor], factor: Tensor) -> None:
    """Multiply what has been added up on this rank so far."""
    for weight in weights:
        if weight.grad is not None:
            local(weight.grad).mul_(factor)


def like(full: Tensor, pattern: Tensor) -> Tensor:
    """`full`, which every rank has, on the device and in the shards of `pattern`."""
    if not isinstance(pattern, DTensor):
        return full.to(pattern.device)
    on_device = full.to(pattern.to_local().device)
    return distribute_tensor(on_device, pattern.device_mesh, pattern.placements, src_data_rank=None)


def whole_state(state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's `state_dict` with every tensor whole."""
    return _mapped(state, lambda _, value: whole(value))


def placed_state(state: dict[str, Any], weights: Sequence[Tensor]) -> dict[str, Any]:
    """What `whole_state` gave, moments in the shards of their weights: for `load_state_dict`."""
    # Others, such as the count of steps, are not in shards.
    return _mapped(state, lambda i, value: like(value, weights[i]) if value.shape == weights[i].shape else value)


def _mapped(state: dict[str, Any], change: Callable[[int, Tensor], Tensor]) -> dict[str, Any]:
    """The state with `change` applied to each tensor that belongs to weight number i."""
    moments = {
        i: {name: change(i, value) if isinstance(value, Tensor) else value for name, value in found.items()}
        for i, found in state["state"].items()
    }
    return {**state, "state": moments}


@contextmanager
def only_at_last(accelerator: Accelerator, module: Any, is_last: bool) -> Iterator[None]:
    """Within: gradients add up on each rank; ranks exchange them in the last of a step's micro-batches alone."""
    if is_last:
        yield
    elif isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            module.set_requires_gradient_sync(True)
    else:
        with accelerator.no_sync(module):
            yield
