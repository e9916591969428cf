"""A whole training in process: pictures on the way, early stopping, trackers, what is saved and said."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from dedpo.contract.sections import LoraConfig, TrainConfig
from dedpo.errors import UserError
from dedpo.train import policy, stage
from tests.disk_calls import calls, in_order  # noqa: F401 (a fixture)
from tests.fixtures import write_tables, write_targets
from tests.train.tiny import SIDE

STRIP = ["a photo of a red circle on white", "a blue square"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("session")
    write_tables(folder, n=24, n_labelled=8, n_holdout=6)
    write_targets(folder, "dedpo")
    return folder


def _train(work: Path, base: Path, out: Path, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"base": str(base), "beta": 1000, "learning_rate": 1e-3, "warmup_steps": 0, "steps": 4}
    settings |= {"batch_size": 8, "resolution": SIDE, "evaluate_every": 2, "device": "cpu", "processes": 1}
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


def _rows(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def _weights(out: Path) -> dict[str, np.ndarray]:
    return load_file(out / "unet" / "diffusion_pytorch_model.safetensors")


def _same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def test_each_step_is_measured_and_each_evaluation_more(work: Path, sd: Path, tmp_path: Path) -> None:
    found = _train(work, sd, tmp_path / "out")
    rows = _rows(tmp_path / "out")
    every = {"step", "loss", "mean_abs_logit", "gradient_norm", "learning_rate", "preferred_change", "other_change"}
    every |= {"logit_05", "logit_50", "logit_95"}
    more = {"drift", "implicit_accuracy", "held_out_nll", "correction_to_imputation"}
    assert [set(row) == every | (more if row["step"] % 2 else set()) for row in rows] == [True] * 4
    assert rows[0]["preferred_change"] == rows[0]["other_change"] == rows[0]["logit_95"] == 0
    assert rows[1]["logit_05"] < rows[1]["logit_50"] < rows[1]["logit_95"]
    assert found["held_out_pairs"] == 6
    assert found["peak_rss_mib"] > 50
    kept = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "peak_rss_mib" not in kept, "the folder is the same whenever it is made"
    assert found.items() >= kept.items()


def test_what_a_checkpoint_knows_of_is_on_the_disk_before_it(
    work: Path,
    sd: Path,
    tmp_path: Path,
    calls: list[tuple[str, str]],  # noqa: F811
) -> None:
    _train(work, sd, tmp_path / "out", checkpoint_every=2, validation_prompts=STRIP[:1])
    [errors] = (work / "cache").glob("*/reference/*-seed0")
    known = [("sync", "out.partial/metrics.jsonl"), ("sync", os.path.relpath(errors, tmp_path))]
    for step in (2, 4):
        file, drawn = f"out.partial/.checkpoint-{step:08d}", f"out.partial/validation/step-{step:06d}.png"
        saved = [("sync", f"{file}.tmp"), ("rename", f"{file}.pt"), ("sync", "out.partial")]
        in_order(calls, ("rename", drawn), *known, *saved)
        del calls[: calls.index(saved[1]) + 1]
    in_order(calls, ("sync", "out.partial/metrics.jsonl"), ("rename", "out.partial/manifest.json"), ("rename", "out"))


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
def test_strips_show_the_reference_above_and_change_nothing(
    work: Path, sd: Path, tmp_path: Path, lora: LoraConfig | None
) -> None:
    _train(work, sd, tmp_path / "plain", lora=lora)
    _train(work, sd, tmp_path / "drawn", lora=lora, validation_prompts=STRIP)
    folder = tmp_path / "drawn" / "validation"
    assert sorted(p.name for p in folder.iterdir()) == ["reference.png", "step-000002.png", "step-000004.png"]
    reference, strip = (np.asarray(Image.open(folder / n)) for n in ("reference.png", "step-000004.png"))
    assert strip.shape == (2 * SIDE, 2 * SIDE, 3)
    assert np.array_equal(strip[:SIDE], reference)
    assert not np.array_equal(strip[SIDE:], reference)
    assert _rows(tmp_path / "drawn") == _rows(tmp_path / "plain")
    if lora is None:
        assert _same(_weights(tmp_path / "drawn"), _weights(tmp_path / "plain"))


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_early_stopping_saves_the_weights_that_were_best(
    work: Path, sd: Path, tmp_path: Path, ema_decay: float | None
) -> None:
    common = {"evaluate_every": 1, "learning_rate": 3e-3, "ema_decay": ema_decay}
    found = _train(work, sd, tmp_path / "stopped", steps=40, early_stop=2, **common)
    rows = _rows(tmp_path / "stopped")
    nll = [row["held_out_nll"] for row in rows]
    best = int(np.argmin(nll))
    assert len(rows) < 40, "this run must get worse"
    assert (found["best_step"], found["steps"]) == (best, best + 3)
    assert found["held_out_nll"] == nll[best]
    _train(work, sd, tmp_path / "short", steps=best + 1, **common)
    assert _same(_weights(tmp_path / "stopped"), _weights(tmp_path / "short"))
    assert "Stopped after step" in (tmp_path / "stopped" / "README.md").read_text()
    assert not list((tmp_path / "stopped").rglob("*.pt"))


def test_large_logits_stop_a_run_where_it_is(work: Path, sd: Path, tmp_path: Path) -> None:
    found = _train(work, sd, tmp_path / "out", steps=40, evaluate_every=100, max_logit=1e-6)
    # The logit of step 0 is 0.
    assert found["steps"] == 11
    assert "drift" in _rows(tmp_path / "out")[-1]
    assert "best_step" not in found


def test_a_run_that_was_killed_after_it_had_stopped_does_not_go_on(
    work: Path, sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"steps": 40, "evaluate_every": 1, "learning_rate": 3e-3, "early_stop": 2}
    quiet = _train(work, sd, tmp_path / "quiet", **settings)

    def killed(*arguments: object, **more: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(policy, "save", killed)
        with pytest.raises(RuntimeError, match="killed"):
            _train(work, sd, tmp_path / "again", **settings)
    found = _train(work, sd, tmp_path / "again", **settings)
    assert {k: v for k, v in found.items() if "peak" not in k} == {k: v for k, v in quiet.items() if "peak" not in k}
    assert _rows(tmp_path / "again") == _rows(tmp_path / "quiet")
    assert _same(_weights(tmp_path / "again"), _weights(tmp_path / "quiet"))


def test_early_stopping_without_held_out_pairs_is_refused(sd: Path, tmp_path: Path) -> None:
    write_tables(tmp_path, n=8, n_labelled=4, n_holdout=0)
    write_targets(tmp_path, "dedpo")
    with pytest.raises(UserError, match=r"train.early_stop: no human-rated pair is held out; raise data.holdout"):
        _train(tmp_path, sd, tmp_path / "out", early_stop=1)


def test_large_logits_warn_once_on_stderr_and_in_the_card(
    work: Path, sd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _train(work, sd, tmp_path / "out", beta=1e7)
    said = capsys.readouterr().err
    assert said.count("warning: step 1: mean |h| is") == 1
    assert "mean |h| is" in (tmp_path / "out" / "README.md").read_text()


def test_trackers_follow_and_the_record_stays_the_same(work: Path, sd: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("dvclive")
    _train(work, sd, tmp_path / "plain")
    _train(work, sd, tmp_path / "tracked", trackers=["tensorboard", "dvclive"])
    assert _rows(tmp_path / "tracked") == _rows(tmp_path / "plain")
    assert list((tmp_path / "tracked" / "tensorboard" / "dedpo-0").glob("events.*"))
    live = tmp_path / "tracked" / "dvclive" / "plots" / "metrics"
    assert {"loss.tsv", "held_out_nll.tsv", "pairs_per_second.tsv", "peak_rss_mib.tsv"} <= {
        p.name for p in live.iterdir()
    }
    assert not list((tmp_path / "tracked").glob(".*"))


def test_the_card_says_what_it_was_made_of(work: Path, sd: Path, tmp_path: Path) -> None:
    _train(work, sd, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert all(f"| `{name}` | `{sha}` |" in card for name, sha in manifest["inputs"].items())
    assert "8 human-labelled of 24 preference pairs" in card


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_draw_and_stop_as_one_does(work: Path, sd: Path, tmp_path: Path, strategy: str) -> None:
    settings: dict[str, Any] = {"steps": 40, "evaluate_every": 1, "learning_rate": 3e-3, "early_stop": 2}
    settings |= {"validation_prompts": STRIP[:1], "trackers": ["dvclive"]}
    one = _train(work, sd, tmp_path / "one", **settings)
    two = _train(work, sd, tmp_path / "two", **settings | {"processes": 2, "strategy": strategy})
    assert (two["best_step"], two["steps"]) == (one["best_step"], one["steps"])
    for mine, theirs in zip(_rows(tmp_path / "one"), _rows(tmp_path / "two"), strict=True):
        assert theirs == pytest.approx(mine, rel=0.02, abs=0.02)
    names = [sorted(p.name for p in (tmp_path / n / "validation").iterdir()) for n in ("one", "two")]
    assert names[0] == names[1]
    ours, others = _weights(tmp_path / "one"), _weights(tmp_path / "two")
    assert all(np.allclose(ours[k], others[k], atol=1e-3) for k in ours)
