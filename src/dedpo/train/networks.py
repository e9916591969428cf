"""Policy and reference: two UNets that must compute alike, or one whose adapters are switched on and off."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from dedpo.contract.sections import TrainConfig
from dedpo.train import adapters
from dedpo.train.backbone import Conditioning, NoiseSchedule, denoising_error
from dedpo.train.parallel import like, local, shard, whole
from dedpo.train.reference import reference_key

# Latents (2, batch, C, H, W), noise (batch, C, H, W), timesteps (batch,), prompts.
Inputs = tuple[Tensor, Tensor, Tensor, Conditioning]


class Networks:
    """The policy as it is trained, and the reference that it is measured against.

    Attributes:
        policy: what a training step calls: the UNet, on several ranks within DDP or in shards.
        unet: the same weights without DDP around them, for passes that no gradient follows.
        parameters: name → weight, of those that training moves.
        is_sharded: whether each rank holds a part of each weight.
        reference_key: under which the reference's errors are shared; None if they are not.
    """

    def __init__(self, config: TrainConfig, pipeline: Any, seed: int, accelerator: Accelerator) -> None:
        """
        Args:
            pipeline: of the base model; its UNet becomes the policy.
            seed: of the adapters' first factors.
        """
        self.accelerator = accelerator
        self.schedule = NoiseSchedule(pipeline.scheduler)
        self.is_sharded = config.strategy == "fsdp" and accelerator.num_processes > 1
        self.reference_key = self._key(config, pipeline.unet) if config.share_reference else None
        self.unet = pipeline.unet.to(accelerator.device)
        self._copy: Any = None
        if config.lora:
            adapters.add(self.unet, config.lora, seed)
        else:
            self._copy = copy.deepcopy(self.unet).eval().requires_grad_(False)
            self.unet.requires_grad_(True)
        self.unet.train()
        if config.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        self._place(config)
        named = self.unet.named_parameters()
        self.parameters: dict[str, Tensor] = {name: p for name, p in named if p.requires_grad}
        self._base_size = self._squared_size()

    def _key(self, config: TrainConfig, unet: Any) -> str:
        compiled = ", compiled" if config.compile else ""
        device = self.accelerator.device.type
        if device == "cpu":
            # Other instructions round otherwise, and at the first step h would not be exactly 0.
            device += f" with {torch.backends.cpu.get_cpu_capability()}"
        return reference_key(unet, self.schedule, f"{config.precision} on {device}{compiled}")

    def _place(self, config: TrainConfig) -> None:
        """Compile, and share the weights out over the ranks; policy and reference alike."""
        networks = [network for network in (self.unet, self._copy) if network is not None]
        if config.compile:
            # With gradients and without, the compiler makes two graphs of it, which round differently.
            for network in networks:
                network.compile()
        if self.is_sharded:
            for network in networks:
                shard(network, self.accelerator.device)
            self.policy = self.unet
        else:
            self.policy = self.accelerator.prepare_model(self.unet)

    def policy_errors(self, inputs: Inputs) -> Tensor:
        """m, shape (2, batch), float32; with gradients unless they are switched off around."""
        network = self.policy if torch.is_grad_enabled() else self.unet
        # One autocast a pass: what it keeps of the weights in half precision would not know of gradients in the next.
        with self.accelerator.autocast():
            return denoising_error(network, self.schedule, *inputs)

    @torch.no_grad()
    def reference_errors(self, inputs: Inputs) -> Tensor:
        """ρ, shape (2, batch), float32, through the same numeric path as m."""
        with self.reference() as network, self.accelerator.autocast():
            return denoising_error(network, self.schedule, *inputs)

    @contextmanager
    def reference(self) -> Iterator[Any]:
        """Within: the UNet that computes what the base model does."""
        if self._copy is not None:
            yield self._copy
        else:
            with adapters.switched_off(self.unet):
                yield self.unet

    @torch.no_grad()
    def drift(self) -> float:
        """‖θ−θ_ref‖/‖θ_ref‖ over all of the UNet's weights."""
        if self._copy is None:
            return float((adapters.squared_change(self.unet) / self._base_size) ** 0.5)
        pairs = zip(self.unet.parameters(), self._copy.parameters(), strict=True)
        moved = self._total([(local(p) - local(r)).double().square().sum() for p, r in pairs])
        return float((moved / self._base_size) ** 0.5)

    @torch.no_grad()
    def _squared_size(self) -> float:
        frozen = self._copy if self._copy is not None else self.unet
        known = frozen.named_parameters()
        base = [p for name, p in known if self._copy is not None or name not in self.parameters]
        return self._total([local(p).double().square().sum() for p in base])

    def _total(self, parts: list[Tensor]) -> float:
        total = torch.stack(parts).sum()
        if self.is_sharded:
            total = self.accelerator.reduce(total, "sum")
        return float(total)

    def weights(self) -> dict[str, Tensor]:
        """What training moves, whole, by name: the tensors themselves, or gathered ones if they were in shards.

        Every rank must ask at the same time.
        """
        return {name: whole(p.detach()) for name, p in self.parameters.items()}

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor]) -> None:
        """Take up what `weights` gave."""
        assert weights.keys() == self.parameters.keys()
        for name, parameter in self.parameters.items():
            local(parameter).copy_(local(like(weights[name], parameter)))
