"""Two gloo processes against one: DDP, shards (FSDP2), accumulation, LoRA, resumption."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dedpo.contract.sections import LoraConfig, TrainConfig
from dedpo.train import launch
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
    ema_decay=0.9,
    device="cpu",
    share_reference=False,
)
LORA = LoraConfig(rank=4, alpha=8)
CASES: dict[str, dict[str, Any]] = {
    "ddp": {},
    "ddp, micro-batches, Dr. DPO": {"micro_batch": 3, "gradient_checkpointing": True, "robust_beta": 0.7},
    "ddp, lora": {"lora": LORA},
    "fsdp": {"strategy": "fsdp"},
    # β′ so small that exp(−loss/β′) would be 0 in fp32.
    "fsdp, micro-batches, Dr. DPO": {
        "strategy": "fsdp",
        "micro_batch": 3,
        "robust_beta": 6e-3,
        "share_reference": True,
    },
    "fsdp, lora": {"strategy": "fsdp", "lora": LORA},
}


@dataclass(frozen=True)
class Job:
    folder: Path
    cases: dict[str, dict[str, Any]]


def _train(job: Job) -> dict[str, Any]:
    """Each case: a run of three steps with an evaluation between, and the same run resumed after two steps."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    found: dict[str, Any] = {"ranks": accelerator.num_processes}
    for name, settings in job.cases.items():
        trainer = _trainer(job, settings, accelerator)
        begun = _flat(trainer)
        steps = [trainer.step(0), trainer.step(1)]
        measured = trainer.evaluate()
        state = trainer.state(2)
        if accelerator.is_main_process:
            torch.save(state, _state(job.folder, name, accelerator.num_processes))
        accelerator.wait_for_everyone()
        steps.append(trainer.step(2))
        resumed = _trainer(job, settings, accelerator)
        path = _state(job.folder, name, accelerator.num_processes)
        assert resumed.restore(torch.load(path, weights_only=True)) == 2
        resumed.step(2)
        accelerator.wait_for_everyone()
        with trainer.averaged(), resumed.averaged():
            weights, again = _flat(trainer), _flat(resumed)
        found[name] = {"steps": steps, "begun": begun, "weights": weights, "measured": measured, "resumed": again}
    return found


def _state(folder: Path, case: str, ranks: int) -> Path:
    return folder / f"state-{case}-{ranks}.pt"


def _trainer(job: Job, settings: dict[str, Any], accelerator: Any) -> Any:
    from dedpo.train import reading
    from dedpo.train.cache import open_or_build
    from dedpo.train.loop import Trainer

    config = CONFIG.model_copy(update=settings)
    pipeline = diffusion.load(str(BASE), "base")
    cache = open_or_build(job.folder / "cache", job.folder / "data" / "pairs", pipeline, 16, 10**6)
    data = reading.training_set(job.folder / "targets" / "0" / "dedpo", cache.row, {})
    held_out = reading.held_out(
        job.folder / "data" / "ratings.parquet", job.folder / "splits" / "0" / "splits.parquet", cache.row
    )
    return Trainer(config, pipeline, cache, data, held_out, 0, accelerator)


def _flat(trainer: Any) -> np.ndarray:
    return torch.cat([w.flatten() for w in trainer.networks.weights().values()]).numpy().copy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_tables(folder, n_holdout=5)
    write_targets(folder, "dedpo")
    return folder


@pytest.fixture(scope="module")
def one(folder: Path) -> dict[str, Any]:
    plain = {"strategy": "ddp", "micro_batch": None, "gradient_checkpointing": False, "share_reference": False}
    return _train(Job(folder, {name: settings | plain for name, settings in CASES.items()}))


@pytest.fixture(scope="module")
def two(folder: Path) -> dict[str, Any]:
    return launch.start(2, _train, Job(folder, CASES))


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_what_one_trains(case: str, one: dict[str, Any], two: dict[str, Any]) -> None:
    assert (one["ranks"], two["ranks"]) == (1, 2)
    alone, together = one[case], two[case]
    for found, expected in zip(together["steps"], alone["steps"], strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], abs=LOGIT)
        assert found["mean_abs_logit"] == pytest.approx(expected["mean_abs_logit"], abs=LOGIT)
        assert found["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=GRADIENT)
    np.testing.assert_array_equal(together["begun"], alone["begun"])
    assert distance(together["weights"] - alone["begun"], alone["weights"] - alone["begun"]) < CHANGE
    for name, value in alone["measured"].items():
        # A ratio of two gradients' norms, a distance moved, and means of logits.
        assert together["measured"][name] == pytest.approx(value, rel=CHANGE, abs=LOGIT), name


@pytest.mark.parametrize("case", ["ddp", "fsdp", "fsdp, lora"])
def test_one_rank_goes_on_where_two_stopped(case: str, folder: Path, one: dict[str, Any], two: dict[str, Any]) -> None:
    from accelerate import Accelerator

    assert two["ranks"] == 2
    trainer = _trainer(Job(folder, {}), {"lora": CASES[case].get("lora")}, Accelerator(cpu=True))
    trainer.restore(torch.load(_state(folder, case, 2), weights_only=True))
    trainer.step(2)
    with trainer.averaged():
        begun, weights = one[case]["begun"], one[case]["weights"]
        assert distance(_flat(trainer) - begun, weights - begun) < CHANGE


@pytest.mark.slow
def test_with_three_ranks_the_order_of_additions_survives_a_resumption(folder: Path) -> None:
    found = launch.start(3, _train, Job(folder, {"three": {"batch_size": 9}}))
    np.testing.assert_array_equal(found["three"]["resumed"], found["three"]["weights"])


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_same_run_to_the_last_bit(case: str, one: dict[str, Any], two: dict[str, Any]) -> None:
    for found in (one, two):
        np.testing.assert_array_equal(found[case]["resumed"], found[case]["weights"])
