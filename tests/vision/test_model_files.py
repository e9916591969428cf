"""Base models as they lie on people's disks: usable, or refused with the command that helps."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dedpo.errors import UserError
from dedpo.vision import diffusion
from tests.train import tiny
from tests.train.tiny import SIDE, tiny_sd, tiny_sdxl


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_sd(tmp_path / "base")


def change(path: Path, **values: Any) -> None:
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (settings | values).items() if v != "gone"}))


def weights(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def refused(model: Path | str, variant: str | None = None) -> str:
    with pytest.raises(UserError) as error:
        diffusion.load(str(model), "train.base", variant=variant)
    assert "\n" not in str(error.value)
    return str(error.value)


def command(message: str) -> str:
    """The Python that a message tells the user to run."""
    found = re.search(r'python -c "([^"]+)"', message)
    assert found
    return found[1]


def test_a_tokenizer_that_does_not_say_where_it_ends_is_told(base: Path) -> None:
    expected = diffusion.load(str(base), "here")
    change(base / "tokenizer" / "tokenizer_config.json", model_max_length="gone")
    found = diffusion.load(str(base), "here")
    assert found.tokenizer.model_max_length == expected.tokenizer.model_max_length
    assert diffusion.too_long(found, ["red " * 100]) == ["red " * 100]
    pictures = [
        p.encode_prompt("a red fox", device=torch.device("cpu"), num_images_per_prompt=1,
                        do_classifier_free_guidance=False)[0]
        for p in (expected, found)
    ]  # fmt: skip
    assert torch.equal(*pictures)


@pytest.mark.parametrize(("size", "side"), [([8, 8], SIDE), (8, SIDE), (None, None), ([8, 16], None)])
def test_the_bases_own_size_is_read_or_asked_for(base: Path, size: object, side: int | None) -> None:
    change(base / "unet" / "config.json", sample_size=size)
    pipeline = diffusion.load(str(base), "here")
    if side is not None:
        assert diffusion.side(pipeline, "train.base") == side
        return
    with pytest.raises(UserError, match=r"train.base: its unet/config.json has sample_size .* set train.resolution"):
        diffusion.side(pipeline, "train.base")


def test_a_safety_checker_that_was_not_downloaded_is_not_missed(base: Path) -> None:
    change(
        base / "model_index.json",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
        requires_safety_checker=True,
    )
    assert diffusion.load(str(base), "here").safety_checker is None


def test_files_of_half_precision_alone_are_read(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = diffusion.load(str(base), "here").unet.half().float()
    for path in weights(base):
        halves = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(halves, path.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
        path.unlink()
    found = diffusion.load(str(base), "train.base").unet
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))
    assert "has .fp16.safetensors files alone: they are read" in capsys.readouterr().err
    assert "has no .bf16.safetensors files; it has fp16" in refused(base, variant="bf16")
    for path in weights(base / "vae"):
        path.rename(path.with_name(path.name.replace("fp16", "ema")))
    assert "different variants of its parts, unet: fp16; vae: ema; text_encoder: fp16" in refused(base)


def test_a_part_in_shards_is_read(base: Path) -> None:
    pipeline = diffusion.load(str(base), "here")
    shutil.rmtree(base / "unet")
    pipeline.unet.save_pretrained(base / "unet", max_shard_size="100KB")
    assert len(weights(base / "unet")) > 1
    found = diffusion.load(str(base), "train.base").unet
    assert torch.equal(next(found.parameters()), next(pipeline.unet.parameters()))


@pytest.mark.parametrize("parts", [("unet",), ("unet", "vae", "text_encoder")])
def test_pickled_weights_are_refused_with_the_command_that_converts(base: Path, parts: tuple[str, ...]) -> None:
    expected = diffusion.load(str(base), "here").unet
    for part in parts:
        for path in weights(base / part):
            torch.save(load_file(path), path.with_name(path.name.replace(".safetensors", ".bin")).with_stem(
                "pytorch_model" if part == "text_encoder" else "diffusion_pytorch_model"))  # fmt: skip
            path.unlink()
    message = refused(base)
    assert "has pickled weights (.bin) alone, and nothing is unpickled here" in message
    exec(command(message))
    found = diffusion.load(f"{base}-safetensors", "train.base").unet
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("model.diffusion_model.out.2.weight", "StableDiffusionPipeline"),
        ("conditioner.embedders.1.model.ln_final.bias", "StableDiffusionXLPipeline"),
    ],
)
def test_a_model_in_one_file_is_refused_with_the_command_that_converts(tmp_path: Path, key: str, kind: str) -> None:
    folder = tmp_path / "web-ui"
    folder.mkdir()
    save_file({key: torch.zeros(1)}, folder / "dream.safetensors")
    for name in (folder, folder / "dream.safetensors"):
        told = command(refused(name))
        assert told.startswith(f"from diffusers import {kind} as P; P.from_single_file('{folder}/dream.safetensors')")
    (folder / "dream.safetensors").rename(folder / "dream.ckpt")
    assert "(of an SDXL model: StableDiffusionXLPipeline)" in refused(folder / "dream.ckpt")


def test_what_git_left_in_place_of_weights_is_named(base: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 335\n"
    weights(base / "vae")[0].write_text(pointer)
    assert f"holds Git LFS pointers in place of weights; run 'git lfs pull' in {base}" in refused(base)


def test_folders_of_something_else_are_named(base: Path, tmp_path: Path) -> None:
    assert "is a part of a model; name the folder of the whole pipeline" in refused(base / "unet")
    repository = tmp_path / "models--team--model"
    shutil.copytree(base, repository / "snapshots" / ("1" * 40))
    assert f"name the version in it: {repository}/snapshots/{'1' * 40}" in refused(repository)
    shutil.rmtree(base / "vae")
    (base / "vae").mkdir()
    assert "vae has no weights; fetch the model again" in refused(base)


def test_a_revision_of_the_hub_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--team--model"
    (model / "refs").mkdir(parents=True)
    for seed, (name, commit) in enumerate({"main": "1" * 40, "v2": "2" * 40}.items()):
        tiny_sd(model / "snapshots" / commit, seed=seed)
        (model / "refs" / name).write_text(commit)
    first, second, by_commit = (
        next(diffusion.load(f"team/model{revision}", "train.base").unet.parameters())
        for revision in ("", "@v2", f"@{'2' * 40}")
    )
    assert not torch.equal(first, second)
    assert torch.equal(second, by_commit)
    assert "team/model@v3: not a diffusers model that can be loaded" in refused("team/model@v3")
    assert "team/model@: nothing is there" in refused("team/model@")


def test_an_sdxl_class_model_has_all_its_parts_looked_at(tmp_path: Path) -> None:
    base = tiny_sdxl(tmp_path / "xl")
    weights(base / "text_encoder_2")[0].unlink()
    assert "text_encoder_2 has no weights" in refused(base)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda b: shutil.rmtree(b / "tokenizer_2"), "no folder tokenizer_2, which its model_index.json names"),
        (lambda b: shutil.rmtree(b / "text_encoder_2"), "no folder text_encoder_2"),
        (lambda b: (b / "tokenizer" / "tokenizer.json").unlink(), "tokenizer has no vocabulary"),
        (lambda b: without(b, "text_encoder", "layers.0.mlp.fc2.weight"), "its text_encoder lacks 1 of its weights"),
        (lambda b: without(b, "vae", "decoder.conv_in.weight"), "its vae lacks 1 of its weights, such as decoder.conv"),
        (lambda b: change(b / "model_index.json", _class_name="StableDiffusion3Pipeline"), "is a StableDiffusion3Pipe"),
        (lambda b: change(b / "model_index.json", _class_name="NoSuchPipeline"), "is a NoSuchPipeline; Stable"),
    ],
)
def test_a_part_that_is_not_there_or_not_whole_is_not_made_up(
    spoil: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    base = tiny_sdxl(tmp_path / "base")
    spoil(base)
    assert told in refused(base)


def without(base: Path, part: str, ending: str) -> None:
    (file,) = (base / part).glob("*.safetensors")
    save_file({k: v for k, v in load_file(file).items() if not k.endswith(ending)}, file, {"format": "pt"})


def test_both_names_of_a_text_encoders_weights_are_read(base: Path) -> None:
    (file,) = (base / "text_encoder").glob("*.safetensors")
    before = diffusion.load(str(base), "here").text_encoder.state_dict()
    save_file(
        {f"text_model.{k.removeprefix('text_model.')}": v for k, v in load_file(file).items()}, file, {"format": "pt"}
    )
    after = diffusion.load(str(base), "here").text_encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    "settings", [{"num_class_embeds": 4}, {"time_cond_proj_dim": 8}, {"out_channels": 8}], ids=lambda s: next(iter(s))
)
def test_a_unet_that_takes_or_gives_something_else_is_refused(
    settings: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tiny._unet
    monkeypatch.setattr(tiny, "_unet", lambda **given: plain(**given, **settings))
    assert "not supported" in refused(tiny_sd(tmp_path / "base"))
