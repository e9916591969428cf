"""The weights on the way are those of a shorter run, are kept over a kill, and draw like any policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dedpo.contract.sections import LoraConfig, TrainConfig
from dedpo.outputs.manifest import read_manifest
from dedpo.train import extension, snapshots, stage
from dedpo.vision import diffusion, step_files
from tests.fixtures import content, write_tables, write_targets

UNET = "diffusion_pytorch_model.safetensors"
LORA = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshots")
    write_tables(folder, n=24, n_labelled=8, n_holdout=6)
    write_targets(folder, "dedpo")
    return folder


def run(work: Path, base: Path, out: Path, steps: int, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"base": str(base), "beta": 1000, "learning_rate": 1e-3, "warmup_steps": 2}
    settings |= {"batch_size": 8, "evaluate_every": 4, "checkpoint_every": 2, "device": "cpu", "steps": steps}
    settings |= {"ema_decay": 0.9}
    return stage.run(
        TrainConfig(**settings | changes),
        pairs=work / "data" / "pairs",
        ratings=work / "data" / "ratings.parquet",
        splits=work / "splits" / "0" / "splits.parquet",
        targets=work / "targets" / "0" / "dedpo",
        out=out,
        cache=work / "cache",
        seed=0,
    )


def same(one: Path, other: Path) -> bool:
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_they_are_the_weights_of_a_run_of_so_many_steps(work: Path, sd: Path, tmp_path: Path) -> None:
    run(work, sd, tmp_path / "long", 7, snapshots=[3, 5])
    run(work, sd, tmp_path / "short", 3)
    found = step_files.found(tmp_path / "long")
    assert list(found) == [3, 5]
    assert same(found[3] / "unet" / UNET, tmp_path / "short/unet" / UNET)
    assert not same(found[5] / "unet" / UNET, tmp_path / "long/unet" / UNET)
    rows = [json.loads(line) for line in (tmp_path / "long/metrics.jsonl").read_text().splitlines()]
    # Each is measured, as is every fourth step and the last.
    assert [row["step"] + 1 for row in rows if "drift" in row] == [3, 4, 5, 7]
    assert f"steps/000003/unet/{UNET}" in read_manifest(tmp_path / "long")["outputs"]


def test_a_snapshot_draws_with_the_other_parts_of_its_policy(work: Path, sd: Path, tmp_path: Path) -> None:
    run(work, sd, tmp_path / "out", 3, snapshots=1)
    (snapshot,) = step_files.found(tmp_path / "out").values()
    diffusion.check_name(str(snapshot), "model")
    pipeline, policy = (diffusion.load(str(p), "model") for p in (snapshot, tmp_path / "out"))
    assert diffusion.weights_hash(pipeline.vae) == diffusion.weights_hash(policy.vae)
    assert diffusion.weights_hash(pipeline.unet) != diffusion.weights_hash(policy.unet)
    assert diffusion.side(pipeline, "model") == diffusion.side(policy, "model")


def test_of_adapters_the_adapters_alone_are_kept(work: Path, sd: Path, tmp_path: Path) -> None:
    lora = LoraConfig(rank=2)
    run(work, sd, tmp_path / "long", 4, snapshots=[2], lora=lora)
    run(work, sd, tmp_path / "short", 2, lora=lora)
    snapshot = step_files.found(tmp_path / "long")[2]
    assert {path.name for path in snapshot.iterdir()} == {LORA, "base.json"}
    assert same(snapshot / LORA, tmp_path / "short" / LORA)
    assert diffusion.weights_hash(diffusion.load(str(snapshot), "model").unet) == diffusion.weights_hash(
        diffusion.load(str(tmp_path / "short"), "model").unet
    )


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_run_that_was_interrupted_at_a_snapshot_ends_with_the_same(
    work: Path, sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    save = snapshots.save

    def interrupted(*arguments: Any) -> None:
        if at == "after":
            save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(work, sd, tmp_path / "out", 6, snapshots=[3])
    run(work, sd, tmp_path / "out", 6, snapshots=[3])
    run(work, sd, tmp_path / "quiet", 6, snapshots=[3])
    assert content(tmp_path / "out") == content(tmp_path / "quiet")


def test_a_number_of_them_is_spread_over_the_steps() -> None:
    assert TrainConfig(steps=200, snapshots=4).snapshot_steps == [40, 80, 120, 160]
    assert TrainConfig(steps=200, snapshots=[80, 20]).snapshot_steps == [20, 80]
    assert TrainConfig(steps=2, snapshots=5).snapshot_steps == [1]
    assert TrainConfig(steps=200).snapshot_steps == []
    with pytest.raises(ValueError, match="200 is not before the last of 200 steps"):
        TrainConfig(steps=200, snapshots=[100, 200])


def test_early_stopping_knows_nothing_of_them(work: Path, sd: Path, tmp_path: Path) -> None:
    stopping = {"early_stop": 2, "learning_rate": 3e-2}
    plain = run(work, sd, tmp_path / "plain", 12, **stopping)
    found = run(work, sd, tmp_path / "found", 12, snapshots=[2, 3, 5], **stopping)
    assert (found["steps"], found.get("best_step")) == (plain["steps"], plain.get("best_step"))
    assert same(tmp_path / "plain/unet" / UNET, tmp_path / "found/unet" / UNET)


def test_a_longer_run_that_was_killed_while_it_was_taken_up_is_taken_up_again(
    work: Path, sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(work, sd, tmp_path / "out", 5, snapshots=[3])
    link = extension._link

    def interrupted(source: Path, target: Path) -> None:
        if "checkpoint" in source.name:
            raise KeyboardInterrupt
        link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(extension, "_link", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(work, sd, tmp_path / "out", 7, snapshots=[3])
    run(work, sd, tmp_path / "out", 7, snapshots=[3])
    run(work, sd, tmp_path / "whole", 7, snapshots=[3])
    assert content(tmp_path / "out") == content(tmp_path / "whole")
