from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dedpo.contract import config as settings
from dedpo.contract import tables
from dedpo.contract.sections import SampleConfig
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest
from dedpo.sample import sampler, stage
from dedpo.vision import diffusion, images
from dedpo.world import base_model

PROMPTS = ["a photo of a red circle on white", "<script>alert(1)</script>", "=cmd()"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    base_model.build(root / "base", base_model.Recipe(vae_steps=2, unet_steps=2))
    shutil.copytree(root / "base", root / "same")
    pipeline = diffusion.load(str(root / "base"), "here")
    with torch.no_grad():
        for weight in pipeline.unet.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    pipeline.save_pretrained(root / "other")
    return {"reference": str(root / "base"), "sft-0": str(root / "same"), "dedpo-0": str(root / "other")}


@pytest.fixture
def config(tmp_path: Path) -> SampleConfig:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join([PROMPTS[0], "", *PROMPTS[1:], f"  {PROMPTS[0]}  ", ""]), encoding="utf-8")
    return SampleConfig(prompts=str(path), seeds=[0, 5], steps=2, guidance=2.0, batch_size=4, device="cpu")


def pixels(path: Path) -> dict[tuple[str, int], np.ndarray]:
    rows = tables.read(path, tables.SAMPLES).to_pylist()
    return {(r["prompt"], r["seed"]): np.asarray(images.decode(r["image"]["bytes"])) for r in rows}


def test_every_model_prompt_and_seed(models: dict[str, str], config: SampleConfig, tmp_path: Path) -> None:
    summary = stage.run(config, models=models, out=tmp_path / "samples")
    written = json.loads((tmp_path / "samples/summary.json").read_text())
    assert summary == written | {"drawn": 3 * 3 * 2, "carried_over": 0}
    assert summary["pictures"] == 3 * 3 * 2
    assert summary["duplicate_prompts_dropped"] == 1
    assert tables.read(tmp_path / "samples", tables.SAMPLES).num_rows == 18
    assert set(read_manifest(tmp_path / "samples")["inputs"]) == {"prompts", *(f"model {m}" for m in models)}
    found = {m: pixels(tmp_path / f"samples/samples-{m}.parquet") for m in models}
    assert set(found["sft-0"]) == {(p, s) for p in PROMPTS for s in (0, 5)}
    for key, picture in found["reference"].items():
        np.testing.assert_array_equal(picture, found["sft-0"][key])
    assert any((found["dedpo-0"][key] != picture).any() for key, picture in found["reference"].items())


def test_a_finished_shard_is_kept(
    models: dict[str, str], config: SampleConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = sampler.load

    def failing(model: str, place: str, device: torch.device, **options: str | None) -> object:
        loaded.append(model)
        if model == models["dedpo-0"] and len(loaded) == 3:
            raise KeyboardInterrupt
        return load(model, place, device, **options)

    monkeypatch.setattr(sampler, "load", failing)
    with pytest.raises(KeyboardInterrupt):
        stage.run(config, models=models, out=tmp_path / "samples")
    assert not (tmp_path / "samples").exists()
    shard = tmp_path / "samples.partial/samples-reference.parquet"
    os.utime(shard, (1, 1))
    stage.run(config, models=models, out=tmp_path / "samples")
    assert loaded[3:] == [models["dedpo-0"]]
    assert (tmp_path / "samples/samples-reference.parquet").stat().st_mtime == 1
    assert tables.read(tmp_path / "samples", tables.SAMPLES).num_rows == 18


def test_running_out_of_memory_names_what_helps_there_and_keeps_finished_models(
    models: dict[str, str], config: SampleConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = sampler.sample

    def full(pipeline: Any, *rest: Any) -> Any:
        if pipeline.name_or_path == models["sft-0"]:
            torch.empty(1 << 50)
        return draw(pipeline, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(sampler, "sample", full)
        with pytest.raises(UserError, match=r"^sample: 16 pictures at a time: out of memory; set sample.prec"):
            stage.run(config, models=models, out=tmp_path / "samples")
    assert not (tmp_path / "samples").exists()
    assert stage.run(config, models=models, out=tmp_path / "samples")["carried_over"] == 3 * 2


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were loaded to draw with."""
    found: list[str] = []
    load = sampler.load

    def noted(model: str, place: str, device: torch.device, **options: str | None) -> object:
        found.append(model)
        return load(model, place, device, **options)

    monkeypatch.setattr(sampler, "load", noted)
    return found


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def test_one_arm_more_draws_its_pictures_alone(
    models: dict[str, str], config: SampleConfig, tmp_path: Path, loaded: list[str]
) -> None:
    few = {name: models[name] for name in ("reference", "sft-0")}
    stage.run(config, models=few, out=tmp_path / "a")
    loaded.clear()
    summary = stage.run(config, models=models, out=tmp_path / "a")
    assert loaded == [models["dedpo-0"]]
    assert (summary["drawn"], summary["carried_over"]) == (6, 12)
    stage.run(config, models=models, out=tmp_path / "anew")
    assert shards(tmp_path / "a") == shards(tmp_path / "anew")
    summary = stage.run(config, models=few, out=tmp_path / "a")
    assert (summary["drawn"], summary["carried_over"]) == (0, 12)
    assert set(shards(tmp_path / "a")) == {"samples-reference.parquet", "samples-sft-0.parquet"}


def test_a_policy_that_was_trained_anew_is_drawn_anew(
    models: dict[str, str], config: SampleConfig, tmp_path: Path, loaded: list[str]
) -> None:
    stage.run(config, models=models, out=tmp_path / "a")
    loaded.clear()
    changed = models | {"sft-0": models["dedpo-0"]}
    assert stage.run(config, models=changed, out=tmp_path / "a")["drawn"] == 6
    assert loaded == [models["dedpo-0"]]
    found = {name: pixels(tmp_path / f"a/samples-{name}.parquet") for name in ("sft-0", "dedpo-0")}
    for key, picture in found["dedpo-0"].items():
        np.testing.assert_array_equal(picture, found["sft-0"][key])


def test_only_prompts_that_are_new_are_drawn(models: dict[str, str], config: SampleConfig, tmp_path: Path) -> None:
    one = {"reference": models["reference"]}
    stage.run(config, models=one, out=tmp_path / "a")
    path = Path(config.prompts)
    path.write_text(f"one more\n{path.read_text()}and another\n")
    summary = stage.run(config, models=one, out=tmp_path / "a")
    assert (summary["drawn"], summary["carried_over"]) == (4, 6)
    stage.run(config, models=one, out=tmp_path / "anew")
    assert shards(tmp_path / "a") == shards(tmp_path / "anew")


def test_what_a_killed_run_has_drawn_outlives_another_request(
    models: dict[str, str], config: SampleConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: models[name] for name in ("reference", "dedpo-0")}
    load = sampler.load
    with monkeypatch.context() as patch:
        patch.setattr(sampler, "load", lambda m, *a, **k: load(m, *a, **k) if m != models["dedpo-0"] else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stage.run(config, models=few, out=tmp_path / "a")
    assert stage.run(config, models=models, out=tmp_path / "a")["carried_over"] == 6


@pytest.mark.parametrize("change", [{"steps": 3}, {"guidance": 1.0}, {"precision": "bf16"}, {"vae": True}])
def test_other_settings_begin_anew(
    change: dict[str, object], models: dict[str, str], config: SampleConfig, tmp_path: Path
) -> None:
    one = {"reference": models["reference"]}
    stage.run(config, models=one, out=tmp_path / "a")
    if "vae" in change:
        change = {"vae": f"{models['dedpo-0']}/vae"}
    other = config.model_copy(update=change)
    assert stage.run(other, models=one, out=tmp_path / "a")["carried_over"] == 0
    assert stage.run(other, models=one, out=tmp_path / "a")["carried_over"] == 6


def test_a_damaged_shard_is_drawn_again(models: dict[str, str], config: SampleConfig, tmp_path: Path) -> None:
    one = {"reference": models["reference"]}
    stage.run(config, models=one, out=tmp_path / "a")
    before = shards(tmp_path / "a")
    for damage in (b"", b"PAR1", before["samples-reference.parquet"][:-9]):
        (tmp_path / "a/samples-reference.parquet").write_bytes(damage)
        assert stage.run(config, models=one, out=tmp_path / "a")["drawn"] == 6
        assert shards(tmp_path / "a") == before


def test_the_same_run_gives_the_same_bytes(models: dict[str, str], config: SampleConfig, tmp_path: Path) -> None:
    one = {"reference": models["reference"]}
    for name in ("a", "b"):
        stage.run(config, models=one, out=tmp_path / name)
    assert read_manifest(tmp_path / "a")["outputs"] == read_manifest(tmp_path / "b")["outputs"]


@pytest.mark.parametrize("content", [b"", b"\n \n\r\n"])
def test_a_file_without_prompts(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(UserError, match="holds no prompt"):
        stage.read_prompts(tmp_path / "p.txt")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sample\.prompts.*No such file"):
        stage.read_prompts(tmp_path / "none.txt")


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        stage.read_prompts(tmp_path / "p.txt")


def test_only_line_feeds_part_prompts(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes("\ufeffone\u2028still one\r\ntwo\r\n".encode())
    assert stage.read_prompts(tmp_path / "p.txt") == (["one\u2028still one", "two"], 0)


@pytest.mark.parametrize(
    ("models", "seeds", "words"),
    [({}, [0], "no model"), ({"../x": "m"}, [0], "model name '../x'"), ({"x": "m"}, [3, 3], "holds a value twice")],
)
def test_bad_requests(
    models: dict[str, str], seeds: list[int], words: str, config: SampleConfig, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words.replace(".", r"\.")):
        stage.run(config.model_copy(update={"seeds": seeds}), models=models, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_diverged_model_is_named(models: dict[str, str], config: SampleConfig, tmp_path: Path) -> None:
    pipeline = diffusion.load(models["reference"], "here")
    with torch.no_grad():
        next(pipeline.unet.parameters()).fill_(torch.nan)
    pipeline.save_pretrained(tmp_path / "nan")
    with pytest.raises(UserError, match=r"model 'dedpo-1' .*not finite"):
        stage.run(config, models={"dedpo-1": str(tmp_path / "nan")}, out=tmp_path / "out")


def test_a_broken_reference_is_not_told_to_train(models: dict[str, str], config: SampleConfig, tmp_path: Path) -> None:
    pipeline = diffusion.load(models["reference"], "here")
    with torch.no_grad():
        pipeline.vae.decoder.conv_out.weight[0, 0, 0, 0] = torch.inf
    pipeline.save_pretrained(tmp_path / "broken")
    told = r"such as vae.decoder.conv_out.weight: fetch the base model again$"
    with pytest.raises(UserError, match=told):
        stage.run(config, models={"reference": str(tmp_path / "broken")}, out=tmp_path / "out")


def test_it_is_drawn_at_the_size_that_was_trained(models: dict[str, str], config: SampleConfig, tmp_path: Path) -> None:
    trained = settings.check({"train": {"resolution": 32, "precision": "bf16", "variant": "fp16", "vae": "v"}}, "here")
    told = trained.sample
    assert (told.resolution, told.precision, told.variant, told.vae) == (32, "bf16", "fp16", "v")
    own = settings.check(
        {"train": {"resolution": 32, "precision": "bf16"}, "sample": {"resolution": 16}}, "here"
    ).sample
    assert (own.resolution, own.precision, own.variant) == (16, "bf16", None)
    large = config.model_copy(update={"resolution": 32})
    stage.run(large, models=models, out=tmp_path / "samples")
    found = {
        picture.shape for model in models for picture in pixels(tmp_path / f"samples/samples-{model}.parquet").values()
    }
    assert found == {(32, 32, 3)}


def test_models_of_different_sizes_are_not_compared(
    models: dict[str, str], config: SampleConfig, tmp_path: Path
) -> None:
    pipeline = diffusion.load(models["dedpo-0"], "here")
    pipeline.unet.register_to_config(sample_size=16)
    pipeline.save_pretrained(tmp_path / "large")
    both = {"reference": models["reference"], "dedpo-0": str(tmp_path / "large")}
    with pytest.raises(UserError, match="'reference' 16 pixels and 'dedpo-0' 32 pixels .* set sample.resolution"):
        stage.run(config, models=both, out=tmp_path / "out")


def test_the_references_files_of_half_precision_are_found(
    models: dict[str, str], config: SampleConfig, tmp_path: Path
) -> None:
    diffusion.load(models["reference"], "here").to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    half = config.model_copy(update={"variant": "fp16"})
    stage.run(half, models={"reference": str(tmp_path / "half"), "sft-0": models["sft-0"]}, out=tmp_path / "samples")


def test_a_missing_policy_is_found_before_anything_is_sampled(
    models: dict[str, str], config: SampleConfig, tmp_path: Path
) -> None:
    both = {"reference": models["reference"], "sft-1": str(tmp_path / "policies/1/sft")}
    with pytest.raises(UserError, match=r"model 'sft-1'.*no such folder"):
        stage.run(config, models=both, out=tmp_path / "out")
    assert not list((tmp_path / "out.partial").glob("*.parquet"))


def test_the_step_is_chosen_on_other_prompts_than_it_is_judged_on(
    models: dict[str, str],
    config: SampleConfig,
    tmp_path: Path,
    loaded: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "others.txt").write_text("a photo of a blue cross on navy\n")
    named = {"dedpo@1-0": models["sft-0"], **models}
    chosen = config.model_copy(update={"validation_prompts": str(tmp_path / "others.txt")})
    found = stage.run(chosen, models=named, out=tmp_path / "samples", chosen_among=["dedpo@1-0", "dedpo-0"])
    assert (found["pictures"], found["drawn"]) == (4 * 3 * 2 + 2, 4 * 3 * 2 + 2)
    drawn = tables.read(tmp_path / "samples/validation", tables.SAMPLES)
    assert set(drawn["model"].to_pylist()) == {"dedpo@1-0", "dedpo-0"}
    assert set(drawn["prompt"].to_pylist()) == {"a photo of a blue cross on navy"}
    assert tables.read(tmp_path / "samples", tables.SAMPLES).num_rows == 4 * 3 * 2
    assert "best step" not in capsys.readouterr().err
    # Without them nothing is drawn, and nothing of them stays.
    loaded.clear()
    assert stage.run(config, models=named, out=tmp_path / "samples")["drawn"] == 0
    assert not loaded
    assert not (tmp_path / "samples/validation").exists()
    # One without the other chooses nothing, which is said.
    stage.run(chosen, models=named, out=tmp_path / "samples")
    assert "train.snapshots=3" in capsys.readouterr().err
    stage.run(config, models=named, out=tmp_path / "samples", chosen_among=["dedpo@1-0"])
    assert "name other prompts with sample.validation_prompts" in capsys.readouterr().err


def test_a_prompt_on_both_lists_is_refused(models: dict[str, str], config: SampleConfig, tmp_path: Path) -> None:
    (tmp_path / "others.txt").write_text(f"a cat\n{PROMPTS[1]}\n")
    shared = config.model_copy(update={"validation_prompts": str(tmp_path / "others.txt")})
    with pytest.raises(UserError, match=r"^sample.validation_prompts: .*others.txt: 1 of its prompts .*alert\(1\)"):
        stage.run(shared, models=models, out=tmp_path / "samples", chosen_among=["dedpo-0"])
