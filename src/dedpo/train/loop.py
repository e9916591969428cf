"""The training loop: one step is one batch of pairs through policy and reference.

A step is a function of (weights, optimiser state, step number), so a run that is killed and resumed is the same run.
Each rank takes its share of the batch in micro-batches; what is measured is the whole batch's, the same on every rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from dedpo.contract.sections import TrainConfig
from dedpo.errors import UserError
from dedpo.train import diagnostics, self_training
from dedpo.train.average import Average
from dedpo.train.batches import Batch, Sampler
from dedpo.train.cache import Cache
from dedpo.train.draws import draw
from dedpo.train.early import remedy
from dedpo.train.networks import Inputs, Networks
from dedpo.train.objective import exponents, logit, pair_loss, robust, tilt
from dedpo.train.optim import learning_rate, make_optimizer
from dedpo.train.parallel import only_at_last, placed_state, scale_gradients, whole, whole_state
from dedpo.train.reading import HeldOut, TrainingSet
from dedpo.train.reference import ReferenceErrors

# Draws of (t, ε) over which a held-out pair's logit is averaged, and the seed that no training run has.
EVALUATION_VISITS = 4
EVALUATION_SEED = -1


class Seen(NamedTuple):
    """What a step saw of each pair of a batch: shape (batch,), errors (2, batch); a and b after self-training."""

    weight: Tensor
    loss: Tensor
    h: Tensor
    a: Tensor
    b: Tensor
    policy_error: Tensor
    reference_error: Tensor


class Trainer:
    """Policy, reference, optimiser and average, and what one step does to them."""

    def __init__(
        self,
        config: TrainConfig,
        pipeline: Any,
        cache: Cache,
        data: TrainingSet,
        held_out: HeldOut,
        seed: int,
        accelerator: Accelerator,
    ) -> None:
        """
        Args:
            pipeline: of the base model; its UNet becomes the policy.
            held_out: pairs that the cache has.
            accelerator: its ranks divide `config.batch_size`.

        Raises:
            UserError: the base model, the adapters or the optimiser cannot be what `config` says.
        """
        self.config, self.cache, self.data, self.held_out, self.seed = config, cache, data, held_out, seed
        self.accelerator = accelerator
        self.networks = Networks(config, pipeline, seed, accelerator)
        self.weights = list(self.networks.parameters.values())
        self.optimizer = accelerator.prepare_optimizer(make_optimizer(config, self.weights, accelerator.device))
        self.average = Average(self.weights, config.ema_decay) if config.ema_decay else None
        self.sampler = Sampler(data.is_labelled, config.batch_size, config.labelled_share, seed)
        remembers = data.objective == "self_training" and not config.self_training_visits
        self.memory = self_training.Memory(len(data.pair_ids)) if remembers else None
        key = self.networks.reference_key
        self.references = {s: ReferenceErrors(cache, key, s) for s in (seed, EVALUATION_SEED) if key}
        self.micro_batch = config.micro_batch or config.batch_size // accelerator.num_processes
        self.bad_steps = self.skipped_steps = 0
        if accelerator.num_processes > 2 and not self.networks.is_sharded:
            # DDP sorts its buckets anew after its first backward pass, and with them the order in which more than two
            # ranks' gradients are added: a resumed run must not meet that in the middle.
            self._gradient_norm(self.sampler.batch(0))

    @property
    def policy(self) -> Any:
        """The UNet that is trained, without what several ranks put around it."""
        return self.networks.unet

    def step(self, number: int) -> dict[str, float]:
        """Take step number `number` (from 0) and return what it measured, on every rank the same.

        Raises:
            UserError: `max_bad_steps` losses or gradients in a row were not finite.
        """
        batch = self.sampler.batch(number)
        seen = self._gather(self._parts(batch))
        figures = {
            "loss": self._settle(seen),
            "mean_abs_logit": seen.h.abs().mean(),
            **diagnostics.batch_figures(seen.policy_error, seen.reference_error, seen.h, seen.a, seen.b, seen.weight),
        }
        measured = dict(zip(figures, torch.stack(list(figures.values())).tolist(), strict=True))
        measured |= {"gradient_norm": self._clip(), "learning_rate": learning_rate(self.config, number)}
        self._apply(number, measured)
        if self.memory:
            self.memory.remember(batch.rows, seen.h.cpu().numpy())
        return measured

    def _parts(self, batch: Batch) -> list[Seen]:
        """The batch's gradient, added up, and what this rank's micro-batches saw."""
        parts = batch.share(self.accelerator.process_index, self.accelerator.num_processes).parts(self.micro_batch)
        self.shift = torch.full((), -torch.inf, device=self.accelerator.device)
        # Dr. DPO's sum is brought to scale between micro-batches, and of shards only an exchanged one can be.
        each = bool(self.config.robust_beta) and self.networks.is_sharded
        return [self._part(part, is_last=each or part is parts[-1]) for part in parts]

    def _part(self, part: Batch, is_last: bool) -> Seen:
        """Add a micro-batch's share of the gradient of Σ wᵢ lossᵢ / batch_size."""
        config, device = self.config, self.accelerator.device
        pair_ids, visits = [self.data.pair_ids[i] for i in part.rows], part.visits.tolist()
        inputs = self._inputs(pair_ids, visits, self.seed)
        a, b, weight = (
            torch.as_tensor(v, dtype=torch.float32, device=device)
            for v in (self.data.a[part.rows], self.data.b[part.rows], part.weights)
        )
        if self.data.objective == "self_training":
            a, b = self_training.fill(a, b, self._synthetic(part, pair_ids), config.self_training_threshold)
        reference_error = self._reference_errors(pair_ids, visits, self.seed, inputs)
        with only_at_last(self.accelerator, self.networks.policy, is_last):
            policy_error = self.networks.policy_errors(inputs)
            h = logit(policy_error, reference_error, config.beta)
            loss = pair_loss(self.data.objective, h, policy_error, a, b, config.guard)
            pull = self._tilt(loss.detach(), weight, config.robust_beta) if config.robust_beta else weight
            # Ranks average their gradients, and the sum over them is wanted.
            share = self.accelerator.num_processes / config.batch_size
            self.accelerator.backward((pull * loss).sum() * share)
        return Seen(weight, loss.detach(), h.detach(), a, b, policy_error.detach(), reference_error)

    def _tilt(self, loss: Tensor, weight: Tensor, beta: float) -> Tensor:
        """Dr. DPO's weights of a micro-batch, at a scale that all ranks share and that follows the largest one."""
        mine = exponents(loss, weight, beta)
        shift = torch.maximum(self.shift, self.accelerator.gather(mine.max()).max())
        scale_gradients(self.weights, torch.exp(self.shift - shift))
        self.shift = shift
        return tilt(mine, shift)

    def _gather(self, parts: list[Seen]) -> Seen:
        """The whole batch, in the sampler's order, from all ranks' micro-batches."""
        mine = torch.cat([torch.stack([*p[:5], *p.policy_error, *p.reference_error]) for p in parts], dim=1)
        weight, loss, h, a, b, *errors = self.accelerator.gather(mine.T.contiguous()).T
        return Seen(weight, loss, h, a, b, torch.stack(errors[:2]), torch.stack(errors[2:]))

    def _settle(self, seen: Seen) -> Tensor:
        """The batch's loss; for Dr. DPO the gradients become its own, now that all of the batch has been seen."""
        if not (beta := self.config.robust_beta):
            return (seen.weight * seen.loss).mean()
        scale_gradients(self.weights, 1 / tilt(exponents(seen.loss, seen.weight, beta), self.shift).mean())
        return robust(seen.loss, seen.weight, beta)

    def _clip(self) -> float:
        """The gradient's norm before it is clipped."""
        return float(whole(self.accelerator.clip_grad_norm_(self.weights, self.config.max_grad_norm)))

    def _apply(self, number: int, measured: dict[str, float]) -> None:
        has_gradient, scaler = bool(np.isfinite(measured["gradient_norm"])), self.accelerator.scaler
        is_good = has_gradient and bool(np.isfinite(measured["loss"]))
        if is_good:
            self.bad_steps = 0
            for group in self.optimizer.param_groups:
                group["lr"] = measured["learning_rate"]
            self.optimizer.step()
            if self.average:
                self.average.update(self.weights)
        elif scaler is not None and not has_gradient and scaler.get_scale() > 1:
            # An overflow of fp16, no fault: told of it, the scaler takes no step and halves its factor.
            self.skipped_steps += 1
            self.optimizer.step()
        else:
            self.skipped_steps += 1
            self._count_bad_step(number, measured)
        self.optimizer.zero_grad(set_to_none=True)

    def _count_bad_step(self, number: int, measured: dict[str, float]) -> None:
        self.bad_steps += 1
        if self.bad_steps >= self.config.max_bad_steps:
            advice = remedy(self.skipped_steps > number, self.config.precision)
            raise UserError(
                f"training step {number}: loss {measured['loss']}, gradient norm {measured['gradient_norm']}, "
                f"not finite {self.bad_steps} times in a row; {advice} (the last good checkpoint is kept)"
            )

    def _synthetic(self, part: Batch, pair_ids: Sequence[str]) -> Tensor:
        """ĝ of a self-training step, shape (batch,)."""
        if self.memory:
            return torch.from_numpy(self.memory.recall(part.rows)).to(self.accelerator.device)
        return self_training.synthetic(self._fresh_errors, pair_ids, part.visits.tolist(), self.config.beta)

    def _fresh_errors(self, pair_ids: Sequence[str], visits: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Policy and reference errors, each (2, batch), of draws that no other run will ask for."""
        inputs = self._inputs(pair_ids, visits, self.seed)
        return self.networks.policy_errors(inputs), self.networks.reference_errors(inputs)

    def _reference_errors(self, pair_ids: Sequence[str], visits: Sequence[int], seed: int, inputs: Inputs) -> Tensor:
        """ρ, shape (2, batch): from the shared ones where they are known, through the reference where not."""
        device, shared = self.accelerator.device, self.references.get(seed)
        if shared is None:
            return self.networks.reference_errors(inputs)
        known = shared.get(pair_ids, visits)
        is_missing = torch.tensor(float(np.isnan(known).any()), device=device)
        # A sharded reference runs on all ranks or on none.
        if self.networks.is_sharded:
            is_missing = self.accelerator.reduce(is_missing, "sum")
        if is_missing:
            known = shared.put(pair_ids, visits, self.networks.reference_errors(inputs).cpu().numpy())
        return torch.from_numpy(known).to(device)

    def _inputs(self, pair_ids: Sequence[str], visits: Sequence[int], seed: int) -> Inputs:
        shape, timesteps = self.cache.latent_shape, self.networks.schedule.timesteps
        draws = [draw(seed, p, v, shape, timesteps) for p, v in zip(pair_ids, visits, strict=True)]
        moments, conditioning = self.cache.batch(pair_ids, [d.flip and self.config.flip for d in draws])
        latents = moments[:, :, 0] + moments[:, :, 1] * np.stack([d.posterior for d in draws])
        arrays = (latents.swapaxes(0, 1), np.stack([d.noise for d in draws]), np.array([d.timestep for d in draws]))
        device = self.accelerator.device
        tensors = [torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays]
        return tensors[0], tensors[1], tensors[2], conditioning.to(device)

    @torch.no_grad()
    def logits(self, pair_ids: Sequence[str], visits: Sequence[int], seed: int) -> Tensor:
        """Mean logit of each pair over the draws of these visits, shape (n,), on the CPU; all ranks share the work.

        Args:
            pair_ids: at least one.
            visits: each pair gets every one of them.
        """
        ranks, rank = self.accelerator.num_processes, self.accelerator.process_index
        # As many for every rank: the last ones begin again at the first and are cut off at the end.
        each = -(-len(pair_ids) // ranks)
        mine = [pair_ids[i % len(pair_ids)] for i in range(rank * each, (rank + 1) * each)]
        parts = [mine[i : i + self.micro_batch] for i in range(0, each, self.micro_batch)]
        found = torch.stack([torch.cat([self._logits(part, visit, seed) for part in parts]) for visit in visits])
        return self.accelerator.gather(found.mean(dim=0))[: len(pair_ids)].cpu()  # type: ignore[no-any-return]

    def _logits(self, pair_ids: Sequence[str], visit: int, seed: int) -> Tensor:
        visits = [visit] * len(pair_ids)
        inputs = self._inputs(pair_ids, visits, seed)
        reference_error = self._reference_errors(pair_ids, visits, seed, inputs)
        return logit(self.networks.policy_errors(inputs), reference_error, self.config.beta)

    def evaluate(self) -> dict[str, float]:
        """Distance moved, and how well the policy's own preference predicts held-out humans.

        Measured on the weights that would be saved now.

        Returns:
            `drift` ‖θ−θ_ref‖/‖θ_ref‖; if there are held-out pairs, `implicit_accuracy` (share of untied pairs where
            sign(h) agrees, h = 0 counting half) and `held_out_nll` (nats a pair); if the table has labelled and
            unlabelled pairs, `correction_to_imputation`, the ratio of the two gradients' norms (diagnostics.py).
        """
        found = self._balance()
        with self.averaged():
            found["drift"] = self.networks.drift()
            if self.held_out.pair_ids:
                h = self.logits(self.held_out.pair_ids, range(EVALUATION_VISITS), EVALUATION_SEED)
                found |= diagnostics.implicit(h, torch.from_numpy(self.held_out.human).float())
        return found

    def _balance(self) -> dict[str, float]:
        """Always on the first batch, so that only the weights differ; Dr. DPO's gradient does not split."""
        labelled = float(self.data.is_labelled.mean())
        if labelled in (0.0, 1.0) or self.config.robust_beta:
            return {}
        batch = self.sampler.batch(0)
        parts = diagnostics.split_weights(batch.weights, self.data.is_labelled[batch.rows], labelled)
        imputation, correction = (self._gradient_norm(replace(batch, weights=weights)) for weights in parts)
        return {"correction_to_imputation": correction / imputation} if imputation else {}

    def _gradient_norm(self, batch: Batch) -> float:
        """Of Σ wᵢ lossᵢ / batch_size, without a step."""
        self._parts(batch)
        norm = float(whole(torch.nn.utils.get_total_norm([w.grad for w in self.weights if w.grad is not None])))
        self.optimizer.zero_grad(set_to_none=True)
        return norm / (self.accelerator.scaler.get_scale() if self.accelerator.scaler else 1.0)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within: the policy holds the averaged weights, if there are any."""
        if self.average is None:
            yield
            return
        with self.average.in_place_of(self.weights):
            yield

    def state(self, steps_done: int) -> dict[str, Any]:
        """Everything that a resumed run needs, weights and their like whole; every rank must ask at the same time."""
        scaler = self.accelerator.scaler
        return {
            "steps_done": steps_done,
            "bad_steps": self.bad_steps,
            "skipped_steps": self.skipped_steps,
            "policy": self.networks.weights(),
            "optimizer": whole_state(self.optimizer.state_dict()),
            "average": self.average.state() if self.average else None,
            "scaler": scaler.state_dict() if scaler else None,
            "memory": torch.from_numpy(self.memory.values) if self.memory else None,
        }

    def restore(self, state: dict[str, Any]) -> int:
        """Take up `state` and return the number of steps already done."""
        self.networks.load(state["policy"])
        self.optimizer.load_state_dict(placed_state(state["optimizer"], self.weights))
        if self.average:
            self.average.restore(state["average"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.memory:
            self.memory.values[:] = state["memory"].numpy()
        self.bad_steps, self.skipped_steps = int(state["bad_steps"]), int(state["skipped_steps"])
        return int(state["steps_done"])
