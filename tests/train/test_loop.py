"""The trainer in process: exactness, micro-batches, LoRA, other objectives, evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from dedpo.contract.sections import LoraConfig, TrainConfig
from dedpo.train import reading
from dedpo.train.cache import Cache, open_or_build
from dedpo.train.loop import Trainer
from dedpo.train.objective import robust
from dedpo.train.reading import HeldOut, TrainingSet
from dedpo.vision import diffusion
from tests.fixtures import BASE, write_tables, write_targets
from tests.train.rounding import CHANGE, GRADIENT, LOGIT, distance

CONFIG = TrainConfig(
    base=str(BASE),
    beta=1000,
    learning_rate=1e-4,
    warmup_steps=0,
    steps=4,
    batch_size=8,
    resolution=16,
    share_reference=False,
)
LORA = LoraConfig(rank=4, alpha=8)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loop")
    write_tables(folder)
    write_targets(folder, "dpo_human", "dedpo")
    return folder


@pytest.fixture(scope="module")
def cache(work: Path) -> Cache:
    return open_or_build(work / "cache", work / "data" / "pairs", diffusion.load(str(BASE), "base"), 16, 10**6)


def _config(**settings: Any) -> TrainConfig:
    return CONFIG.model_copy(update=settings)


def _trainer(
    cache: Cache,
    data: TrainingSet,
    config: TrainConfig = CONFIG,
    held_out: HeldOut | None = None,
    precision: str | None = None,
) -> Trainer:
    AcceleratorState._reset_state(reset_partial_state=False)
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    pipeline = diffusion.load(str(BASE), "base")
    return Trainer(config, pipeline, cache, data, held_out or HeldOut([], np.array([])), 0, accelerator)


@pytest.fixture
def data(work: Path, cache: Cache) -> TrainingSet:
    return reading.training_set(work / "targets" / "0" / "dedpo", cache.row, {})


def _parameters(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.weights])


def _train(trainer: Trainer, steps: int = 3) -> list[float]:
    return [trainer.step(step)["loss"] for step in range(steps)]


@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("precision", [None, "bf16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_at_step_0_the_logit_is_exactly_0_on_every_path(
    lora: LoraConfig | None, precision: str | None, checkpointing: bool, cache: Cache, data: TrainingSet
) -> None:
    """One path for policy and reference: the first loss is the mean mass times log 2."""
    config = _config(lora=lora, gradient_checkpointing=checkpointing, micro_batch=3)
    measured = _trainer(cache, data, config, precision=precision).step(0)
    assert measured["mean_abs_logit"] == 0.0
    assert measured["loss"] == pytest.approx(np.log(2), rel=1e-6)


def test_bf16_keeps_fp32_master_weights(cache: Cache, data: TrainingSet) -> None:
    """Pure bf16 weights would swallow most of so small a step."""
    trainer = _trainer(cache, data, _config(learning_rate=1e-7), precision="bf16")
    before = _parameters(trainer).clone()
    _train(trainer)
    assert trainer.weights[0].dtype == torch.float32
    assert (_parameters(trainer) != before).float().mean() > 0.9


def test_swapping_every_pair_gives_the_same_step(cache: Cache, data: TrainingSet) -> None:
    # The posterior noise belongs to a place in the pair, so it is taken out of the comparison.
    plain = [replace(e, latents=e.latents * np.array([1, 0], "f4")[:, None, None, None]) for e in cache.entries]
    turned = [replace(e, latents=e.latents[:, :, ::-1]) for e in plain]
    straight = _trainer(replace(cache, entries=tuple(plain)), data)
    swapped = _trainer(replace(cache, entries=tuple(turned)), replace(data, b=data.a - data.b))
    before = _parameters(straight).clone()
    for step in range(2):
        assert straight.step(step)["loss"] == pytest.approx(swapped.step(step)["loss"], abs=LOGIT)
    assert distance(_parameters(straight) - before, _parameters(swapped) - before) < CHANGE


@pytest.mark.parametrize(
    "settings",
    [
        {"micro_batch": 3},
        {"micro_batch": 1, "robust_beta": 0.7},
        {"micro_batch": 4, "lora": LORA},
        {"micro_batch": 2, "optimizer": "adafactor"},
        {"gradient_checkpointing": True},
    ],
    ids=str,
)
def test_how_the_work_is_cut_changes_nothing_beyond_round_off(
    settings: dict[str, Any], cache: Cache, data: TrainingSet
) -> None:
    cut = {"micro_batch": None, "gradient_checkpointing": False}
    at_once = _trainer(cache, data, _config(**settings | cut))
    in_parts = _trainer(cache, data, _config(**settings))
    before = _parameters(at_once).clone()
    for step in range(3):
        found, expected = in_parts.step(step), at_once.step(step)
        assert found["loss"] == pytest.approx(expected["loss"], abs=LOGIT)
        assert found["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=GRADIENT)
    assert distance(_parameters(in_parts) - before, _parameters(at_once) - before) < CHANGE
    assert not torch.equal(_parameters(at_once), before)


@pytest.mark.parametrize(
    ("beta", "mass"),
    [(0.5, 1.0), pytest.param(1e-3, 1.0, id="exp underflows"), pytest.param(1e-3, -1.0, id="exp overflows")],
)
def test_dr_dpos_gradient_over_micro_batches_is_the_gradient_of_its_loss(
    beta: float, mass: float, cache: Cache, data: TrainingSet
) -> None:
    """A negative mass is no table's; it stands for losses below 0, as targets outside [0, a] reach them in time."""
    config = _config(robust_beta=beta, micro_batch=3)
    data = replace(data, a=mass * data.a, b=mass * data.b)
    trainer = _trainer(cache, data, config)
    trainer.step(0)
    batch = trainer.sampler.batch(1)
    seen = trainer._gather(trainer._parts(batch))
    value = trainer._settle(seen)
    found = torch.cat([p.grad.flatten().clone() for p in trainer.weights])
    trainer.optimizer.zero_grad()
    whole = _differentiable_loss(trainer, batch)
    assert value.item() == pytest.approx(whole.item(), abs=LOGIT)
    whole.backward()
    expected = torch.cat([p.grad.flatten() for p in trainer.weights])
    # A loss's rounding moves the tilt exp(−loss/β′) by LOGIT/β′; below the β′ of ½ one pair has all of the weight.
    assert distance(found, expected) < GRADIENT + LOGIT / 0.5


def _differentiable_loss(trainer: Trainer, batch: Any) -> torch.Tensor:
    from dedpo.train.objective import logit, pair_loss

    ids = [trainer.data.pair_ids[i] for i in batch.rows]
    inputs = trainer._inputs(ids, batch.visits.tolist(), 0)
    errors = trainer.networks.policy_errors(inputs)
    h = logit(errors, trainer.networks.reference_errors(inputs), trainer.config.beta)
    a, b = (torch.tensor(v[batch.rows], dtype=torch.float32) for v in (trainer.data.a, trainer.data.b))
    losses = pair_loss("preference", h, errors, a, b)
    return robust(losses, torch.tensor(batch.weights, dtype=torch.float32), trainer.config.robust_beta)


@pytest.mark.parametrize("objective", ["preference", "self_training"])
def test_state_and_restore_continue_the_same_run(objective: str, cache: Cache, data: TrainingSet) -> None:
    config = _config(ema_decay=0.9, self_training_visits=0)
    data = replace(data, objective=objective)
    quiet = _trainer(cache, data, config)
    _train(quiet, 8)
    first, second = _trainer(cache, data, config), _trainer(cache, data, config)
    _train(first, 6)
    done = second.restore(first.state(6))
    for step in range(done, 8):
        second.step(step)
    assert torch.equal(_parameters(quiet), _parameters(second))
    with quiet.averaged(), second.averaged():
        assert torch.equal(_parameters(quiet), _parameters(second))


def test_a_non_finite_step_is_skipped_and_counted(cache: Cache, data: TrainingSet) -> None:
    trainer = _trainer(cache, replace(data, a=data.a * np.nan), _config(ema_decay=0.9))
    before = _parameters(trainer).clone()
    trainer.step(0)
    assert trainer.bad_steps == 1
    assert torch.equal(before, _parameters(trainer))
    assert trainer.average is not None
    assert trainer.average.steps == 0
    trainer.data = data
    trainer.step(1)
    assert trainer.bad_steps == 0
    assert not torch.equal(before, _parameters(trainer))


def test_the_reference_of_lora_is_a_frozen_copy_of_the_base(cache: Cache, data: TrainingSet) -> None:
    trainer = _trainer(cache, data, _config(lora=LORA))
    _train(trainer, 2)
    copy = _trainer(cache, data)
    ids = data.pair_ids[:4]
    inputs = trainer._inputs(ids, [0] * 4, 0)
    off, base = trainer.networks.reference_errors(inputs), copy.networks.reference_errors(inputs)
    assert torch.equal(off, base)
    with torch.no_grad():
        assert not torch.equal(trainer.networks.policy_errors(inputs), base)
    assert all(p.requires_grad for p in trainer.weights), "switching off and on must leave them trainable"


def test_shared_reference_errors_are_used_and_are_the_online_ones(
    work: Path, cache: Cache, data: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = _train(_trainer(cache, data))
    shared = _config(share_reference=True)
    assert _train(_trainer(cache, data, shared)) == online
    second = _trainer(cache, data, shared)
    monkeypatch.setattr(second.networks, "reference_errors", None)
    assert _train(second) == online


def test_another_order_shares_them_within_a_tolerance(cache: Cache, data: TrainingSet) -> None:
    """Who else is in the batch decides the last bits; times β/2 that stays far below a logit that matters."""
    config = _config(share_reference=True, beta=5000)
    _trainer(cache, data, config).step(0)
    again = _trainer(cache, data, _config(share_reference=True, beta=5000, micro_batch=3)).step(0)
    assert again["mean_abs_logit"] < 2e-3


def test_self_training_fills_its_table_from_the_policy(cache: Cache, data: TrainingSet) -> None:
    """With ĝ of ½ before the first visit, unlabelled rows are (1, ½): the loss at h = 0 is log 2 whatever z is."""
    human = replace(data, a=4.0 * data.is_labelled, b=4.0 * data.is_labelled, objective="self_training")
    for visits in (0, 2):
        trainer = _trainer(cache, human, _config(self_training_visits=visits))
        assert trainer.step(0)["loss"] == pytest.approx(np.log(2), rel=1e-5)
        assert np.isfinite(_train(trainer)).all()
    remembering = _trainer(cache, human, _config(self_training_visits=0))
    remembering.step(0)
    remembering.step(1)
    assert remembering.memory is not None
    assert (remembering.memory.values != 0.5).any()


def test_evaluation_reads_the_sign_of_the_logit(cache: Cache, data: TrainingSet) -> None:
    held_out = HeldOut(list(cache.row)[:6], np.array([0.0, 1.0, 1.0, 0.5, 0.0, 1.0]))
    trainer = _trainer(cache, data, _config(micro_batch=4), held_out=held_out)
    found = trainer.evaluate()
    assert found["drift"] == 0
    assert found["implicit_accuracy"] == 0.5, "h = 0 counts half"
    assert found["held_out_nll"] == pytest.approx(np.log(2))
    trainer.step(0)
    assert trainer.evaluate()["drift"] > 0


@pytest.mark.parametrize("lora", [None, LORA])
def test_drift_is_the_distance_over_the_size_of_all_weights(
    lora: LoraConfig | None, cache: Cache, data: TrainingSet
) -> None:
    base = diffusion.load(str(BASE), "base").unet.requires_grad_(False)
    trainer = _trainer(cache, data, _config(lora=lora))
    _train(trainer, 2)
    drift = trainer.evaluate()["drift"]
    if lora:
        trainer.policy.fuse_lora()
    tuned: Mapping[str, torch.Tensor] = {
        name.replace(".base_layer", ""): p.detach()
        for name, p in trainer.policy.named_parameters()
        if "lora_" not in name
    }
    gaps = [(tuned[name] - p).double().square().sum() for name, p in base.named_parameters()]
    size = sum(float(p.double().square().sum()) for p in base.parameters())
    assert drift == pytest.approx((sum(map(float, gaps)) / size) ** 0.5, rel=1e-4)
    assert drift > 0


def test_flips_are_drawn_where_they_are_wanted(work: Path, data: TrainingSet) -> None:
    pipeline = diffusion.load(str(BASE), "base")
    flipped = open_or_build(work / "cache", work / "data" / "pairs", pipeline, 16, 10**6, flip=True)
    plain, mirrored = (_trainer(flipped, data, _config(flip=flip)) for flip in (False, True))
    ids = data.pair_ids
    straight, drawn = (t._inputs(ids, [0] * len(ids), 0)[0] for t in (plain, mirrored))
    is_same = (straight == drawn).all(dim=(0, 2, 3, 4))
    assert 0.2 < is_same.float().mean() < 0.8


def test_the_gradients_two_parts_are_measured_without_a_trace(cache: Cache, data: TrainingSet) -> None:
    quiet, watched = _trainer(cache, data, _config(micro_batch=3)), _trainer(cache, data, _config(micro_batch=3))
    ratio = watched.evaluate()["correction_to_imputation"]
    assert ratio == pytest.approx(_trainer(cache, data).evaluate()["correction_to_imputation"], rel=1e-3)
    assert 0.1 < ratio < 100
    assert watched._gradient_norm(watched.sampler.batch(0)) == pytest.approx(
        _trainer(cache, data).step(0)["gradient_norm"], rel=1e-3
    )
    assert _train(watched) == _train(quiet)
    assert torch.equal(_parameters(watched), _parameters(quiet))


def test_a_gradient_of_one_part_is_not_split(work: Path, cache: Cache, data: TrainingSet) -> None:
    human = reading.training_set(work / "targets" / "0" / "dpo_human", cache.row, {})
    assert "correction_to_imputation" not in _trainer(cache, human).evaluate()
    assert "correction_to_imputation" not in _trainer(cache, data, _config(robust_beta=1.0)).evaluate()
