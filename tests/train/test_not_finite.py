"""Nothing that is not finite is silent: broken bases are named before a step is taken, skipped steps are counted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dedpo.contract.sections import TrainConfig
from dedpo.errors import UserError
from dedpo.train import loop, stage
from dedpo.vision import diffusion
from dedpo.world.prompts import prompts_of
from tests.fixtures import BASE, write_tables, write_targets


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    write_tables(folder)
    write_targets(folder, "dedpo")
    return folder


def run(work: Path, out: Path, base: Path = BASE, **settings: Any) -> dict[str, Any]:
    config = TrainConfig(
        base=str(base), beta=1000, learning_rate=1e-4, steps=3, batch_size=8, device="cpu", warmup_steps=0
    )
    return stage.run(
        config.model_copy(update=settings),
        pairs=work / "data" / "pairs",
        ratings=work / "data" / "ratings.parquet",
        splits=work / "splits" / "0" / "splits.parquet",
        targets=work / "targets" / "0" / "dedpo",
        out=out,
        cache=out.parent / "cache",
        seed=0,
    )


def broken(folder: Path, change: Callable[[Any], None]) -> Path:
    """A copy of the base, changed."""
    pipeline = diffusion.load(str(BASE), "base")
    with torch.no_grad():
        change(pipeline)
    pipeline.save_pretrained(folder)
    return folder


def a_word(pipeline: Any) -> None:
    word = pipeline.tokenizer("circle").input_ids[1]
    pipeline.text_encoder.get_input_embeddings().weight[word] = torch.nan


def the_vae(pipeline: Any) -> None:
    next(pipeline.vae.encoder.parameters()).view(-1)[0] = torch.nan


def the_unet(pipeline: Any) -> None:
    next(pipeline.unet.up_blocks.parameters()).view(-1)[0] = torch.inf


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            a_word,
            r"its text_encoder gives numbers that are not finite for the prompt '[^']*circle.*' of pair [0-9]+",
        ),
        (a_word, r"1 of its weights are not, such as text_encoder\..*embedding\.weight; fetch the model again"),
        (the_vae, r"its vae gives numbers that are not finite for the images of pair [0-9a-f]+: 1 of its weights"),
        (the_unet, r"train.base: .*: 1 of its weights are not finite, such as unet\.up_blocks"),
    ],
)
def test_a_broken_part_of_the_base_is_named_and_nothing_is_trained(
    work: Path, tmp_path: Path, change: Callable[[Any], None], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        run(work, tmp_path / "policy", broken(tmp_path / "base", change))
    assert not (tmp_path / "policy").exists()


def test_a_word_that_no_prompt_has_does_no_harm(work: Path, tmp_path: Path) -> None:
    def unused(pipeline: Any) -> None:
        texts = ["", *(prompt.text for prompt in prompts_of("train"))]
        ids = pipeline.tokenizer(texts, padding="max_length").input_ids
        free = set(range(len(pipeline.tokenizer))) - {i for row in ids for i in row}
        pipeline.text_encoder.get_input_embeddings().weight[min(free)] = torch.nan

    run(work, tmp_path / "policy", broken(tmp_path / "base", unused))


def strict(text: str) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def not_finite_at(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    settle, calls = loop.Trainer._settle, iter(range(100))

    def spoiled(trainer: loop.Trainer, seen: loop.Seen) -> torch.Tensor:
        return settle(trainer, seen) * (torch.nan if next(calls) in steps else 1)

    monkeypatch.setattr(loop.Trainer, "_settle", spoiled)


def test_a_skipped_step_stands_in_metrics_card_and_warning(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    not_finite_at(monkeypatch, 1)
    found = run(work, tmp_path / "policy")
    assert found["skipped_steps"] == 1
    assert strict((tmp_path / "policy" / "metrics.json").read_text())["skipped_steps"] == 1
    rows = [strict(line) for line in (tmp_path / "policy" / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] is None for row in rows] == [False, True, False]
    assert "1 of 3 steps were skipped" in (tmp_path / "policy" / "README.md").read_text()
    assert "warning: step 1: its loss or gradient is not finite" in capfd.readouterr().err


def test_a_run_without_one_good_step_is_no_policy(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    not_finite_at(monkeypatch, 0, 1, 2)
    with pytest.raises(UserError, match="none of 3 steps had a finite loss .* it is the base model"):
        run(work, tmp_path / "policy")
    assert not (tmp_path / "policy").exists()


def test_squares_of_another_size_than_the_bases_are_said(
    work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = run(work, tmp_path / "policy", resolution=32, steps=1)
    told = capfd.readouterr().err
    assert "train.resolution: 32 pixels, and the base model was made for 16" in told
    pairs = found["pairs_enlarged"]
    assert pairs > 0
    assert f"warning: {pairs} of " in told
    assert "pairs have an image smaller than 32 pixels: enlarged" in told
    # Drawn by anybody, it draws what it was trained on.
    assert diffusion.side(diffusion.load(str(tmp_path / "policy"), "here"), "here") == 32
    shutil.rmtree(tmp_path / "policy")
    assert run(work, tmp_path / "policy", steps=1)["pairs_enlarged"] == 0
