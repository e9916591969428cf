"""Training through the command: a golden trajectory, what it writes and refuses."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file

from dedpo.cli import main
from dedpo.contract import tables
from dedpo.contract.sections import LoraConfig, SampleConfig, TrainConfig
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest
from dedpo.train import stage
from dedpo.vision import images
from tests.fixtures import BASE, write_tables, write_targets
from tests.train.command import command, policy, train

CONFIG = TrainConfig(
    base=str(BASE), beta=1000, learning_rate=1e-4, steps=2, batch_size=8, resolution=16, device="cpu", warmup_steps=0
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    write_tables(folder)
    write_targets(folder, "dedpo", "dpo_human", "sft", "dedpo_ipo", "self_training")
    return folder


def _run(work: Path, out: Path, arm: str = "dedpo", **settings: Any) -> dict[str, Any]:
    """In this process."""
    return stage.run(
        CONFIG.model_copy(update=settings),
        pairs=work / "data" / "pairs",
        ratings=work / "data" / "ratings.parquet",
        splits=work / "splits" / "0" / "splits.parquet",
        targets=work / "targets" / "0" / arm,
        out=out,
        cache=work / "cache",
        seed=0,
    )


def _here(work: Path, **settings: object) -> tuple[int, str]:
    """The command in this process: its exit code and what it wrote to stderr."""
    told = io.StringIO()
    with (
        patch.object(sys, "argv", command(work, **settings)[1:]),
        contextlib.redirect_stderr(told),
        pytest.raises(SystemExit) as stop,
    ):
        main()
    return int(stop.value.code or 0), told.getvalue()


@pytest.fixture(scope="module")
def finished(work: Path) -> Path:
    """A policy trained through the command."""
    done = train(work)
    assert done.returncode == 0, done.stderr
    return policy(work).rename(work / "quiet")


def test_at_step_0_the_logit_is_exactly_zero(finished: Path) -> None:
    first = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])
    assert first["mean_abs_logit"] == 0.0


def test_the_averaged_weights_are_saved_and_have_moved_as_far_as_is_said(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    assert 0 < metrics["drift"] < 0.1
    assert 0 <= metrics["implicit_accuracy"] <= 1
    assert metrics["held_out_nll"] > 0
    assert metrics["targets_outside_unit_interval"] > 0
    base = load_file(BASE / "unet" / "diffusion_pytorch_model.safetensors")
    tuned = load_file(finished / "unet" / "diffusion_pytorch_model.safetensors")
    assert all((base[name] != tuned[name]).any() for name in base)
    moved, size = (sum(float(np.square(x, dtype=np.float64).sum()) for x in xs) for xs in (
        [tuned[name] - base[name] for name in base], base.values()
    ))  # fmt: skip
    assert metrics["drift"] == pytest.approx((moved / size) ** 0.5, rel=1e-5)


def test_the_policy_is_a_diffusers_folder_with_a_card(finished: Path) -> None:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(finished)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("a photo of a red circle on white", num_inference_steps=2, height=16, width=16).images[0]
    assert picture.size == (16, 16)
    left = {path.suffix for path in finished.rglob("*") if path.is_file()} | {p.name for p in finished.glob(".*")}
    assert left == {".json", ".jsonl", ".md", ".safetensors"}, "no pickles and no working files"
    assert "dedpo" in (finished / "README.md").read_text()
    assert set(read_manifest(finished)["inputs"]) == {"pairs", "ratings", "splits", "targets", "base"}


@pytest.mark.parametrize("arm", ["dpo_human", "sft"])
def test_the_human_arms_train_on_the_labelled_pairs_alone(work: Path, arm: str, tmp_path: Path) -> None:
    metrics = _run(work, tmp_path / arm, arm)
    assert metrics["pairs"] == 10
    assert metrics["targets_outside_unit_interval"] == 0


def test_ipo_begins_at_zero_and_lowers_its_loss(work: Path, tmp_path: Path) -> None:
    """At h = 0 every pair's loss is 0, where DPO's is a·log 2."""
    metrics = _run(work, tmp_path / "policy", "dedpo_ipo", learning_rate=1e-5, steps=8)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "policy" / "metrics.jsonl").read_text().splitlines()]
    assert losses[0] == 0.0
    # Each step draws its own noise, so single losses go up, too.
    assert sum(losses) < 0
    assert metrics["pairs"] == 40
    assert metrics["targets_outside_unit_interval"] > 0
    assert 0 < metrics["drift"] < 0.1


@pytest.mark.parametrize("settings", [{}, {"self_training_visits": 0}, {"self_training_threshold": 0.95}])
def test_self_training_trains_on_all_pairs(work: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    metrics = _run(work, tmp_path / "policy", "self_training", **settings)
    assert metrics["pairs"] == 40
    assert np.isfinite(metrics["loss"])


def test_a_lora_policy_is_small_and_can_be_sampled(work: Path, tmp_path: Path) -> None:
    from dedpo.sample import stage as sample

    settings = {"lora": LoraConfig(rank=2, alpha=4), "learning_rate": 1e-2, "steps": 3}
    metrics = _run(work, tmp_path / "policy", **settings)
    assert metrics["drift"] > 0
    names = {p.relative_to(tmp_path / "policy").as_posix() for p in (tmp_path / "policy").rglob("*")}
    assert {"pytorch_lora_weights.safetensors", "base.json", "metrics.json", "README.md"} <= names
    assert "unet" not in names
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a photo of a red circle on white\n")
    config = SampleConfig(prompts=str(prompts), seeds=[0], steps=2, guidance=2.0, device="cpu")
    models = {"reference": str(BASE), "policy": str(tmp_path / "policy")}
    sample.run(config, models=models, out=tmp_path / "samples")
    found = [tables.read(tmp_path / f"samples/samples-{m}.parquet", tables.SAMPLES).to_pylist() for m in models]
    pictures = [np.asarray(images.decode(rows[0]["image"]["bytes"])) for rows in found]
    assert (pictures[0] != pictures[1]).any()


def test_a_pair_that_cannot_be_decoded_is_set_aside_and_counted(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "data", tmp_path / "data")
    shutil.copytree(work / "splits", tmp_path / "splits")
    shutil.copytree(work / "targets", tmp_path / "targets")
    path = tmp_path / "data" / "pairs" / "pairs-0.parquet"
    rows = tables.read(path, tables.PAIRS).to_pylist()
    for bad in (3, 42):  # a training pair and a held-out one
        rows[bad]["image_1"]["bytes"] = rows[bad]["image_1"]["bytes"][:60]
    tables.write(pa.Table.from_pylist(rows, schema=tables.PAIRS.schema), tables.PAIRS, path)
    metrics = _run(tmp_path, tmp_path / "policy")
    assert (metrics["pairs"], metrics["pairs_set_aside"]) == (39, 2)


def test_divergence_stops_with_advice_and_keeps_the_checkpoint(work: Path) -> None:
    code, told = _here(work, train__learning_rate=1e30, train__max_bad_steps=2, train__steps=30)
    assert code == 2
    assert "not finite 2 times in a row; lower train.learning_rate" in told
    partial = policy(work).with_name("dedpo.partial")
    assert list(partial.glob(".checkpoint-*.pt"))
    shutil.rmtree(partial)


def test_an_unfinished_run_is_not_thrown_away_for_another(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "policy"
    with pytest.raises(UserError, match="not finite"):
        _run(work, out, learning_rate=1e30, max_bad_steps=1, checkpoint_every=1, steps=5)
    partial = out.with_name("policy.partial")
    kept = sorted(p.name for p in partial.glob(".checkpoint-*.pt"))
    assert kept
    with pytest.raises(UserError, match=r"unfinished run.*learning_rate was 1e\+30, now 0.0001; finish that one"):
        _run(work, out, max_bad_steps=1, checkpoint_every=1, steps=5)
    with pytest.raises(UserError, match="input 'targets' has other content"):
        _run(work, out, "dpo_human", learning_rate=1e30, max_bad_steps=1, checkpoint_every=1, steps=5)
    assert sorted(p.name for p in partial.glob(".checkpoint-*.pt")) == kept
    # How the work is cut may change: it is the same run.
    with pytest.raises(UserError, match="not finite"):
        _run(work, out, learning_rate=1e30, max_bad_steps=1, checkpoint_every=2, steps=5, micro_batch=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train__base": "./nowhere"}, "train.base: ./nowhere: no such folder"),
        ({"train__steps": 0}, "train.steps: input should be greater than or equal to 1, got 0"),
        ({"train__stepz": 3}, "unknown key 'train.stepz'; did you mean 'steps'?"),
        ({"train__device": "cuda"}, "device 'cuda': torch sees no GPU here"),
        ({"train__precision": "fp16"}, "train.precision fp16: it needs a GPU"),
        ({"train__batch_size": 7, "train__processes": 2}, "train.batch_size 7: 2 processes cannot share it equally"),
    ],
)
def test_bad_settings_are_one_line_and_exit_2(work: Path, settings: dict[str, object], message: str) -> None:
    code, told = _here(work, **settings)
    assert code == 2
    assert message in told
    assert len(told.strip().splitlines()) == 1, told


def test_a_missing_input_names_its_stage(tmp_path: Path) -> None:
    code, told = _here(tmp_path)
    assert code == 2
    assert "no such file or folder; run the stage that makes it first" in told
