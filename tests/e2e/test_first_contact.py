"""What people bring and do in their first days, through the commands: refused with a remedy, or right."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dedpo.cli import main
from dedpo.contract import tables
from dedpo.vision import images
from tests.fixtures import write_tables, write_targets
from tests.train.tiny import tiny_sd, tiny_sdxl

CLIP = Path(__file__).parents[2] / "models" / "shapes-clip"
SETTINGS = {
    "arms": "[dedpo]", "primary": "dedpo", "train.base": "base", "train.steps": 2, "train.batch_size": 8,
    "train.learning_rate": 1e-3, "train.device": "cpu", "sample.device": "cpu", "sample.steps": 2,
    "sample.prompts": "prompts.txt", "sample.seeds": "[0]", "score.metrics": "[clipscore]",
    "score.clipscore_model": CLIP, "report.metric": "clipscore",
}  # fmt: skip
UNET, VAE = "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"


class Done(NamedTuple):
    code: int
    out: str
    err: str


def dedpo(command: str, **changes: object) -> Done:
    """A command in this process, in the current folder; a setting's '.' is written '__'."""
    settings = SETTINGS | {name.replace("__", "."): value for name, value in changes.items()}
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["dedpo", *command.split(), *sets])
        with pytest.raises(SystemExit) as stop:
            main()
    return Done(int(stop.value.code or 0), out.getvalue(), err.getvalue())


def did(command: str, **changes: object) -> Done:
    done = dedpo(command, **changes)
    assert done.code == 0, done.err
    return done


def refused(command: str, **changes: object) -> str:
    done = dedpo(command, **changes)
    last = done.err.strip().splitlines()[-1]
    assert done.code == 2, done.err
    assert last.startswith("error: ")
    return last


TRAIN = "train --arm dedpo"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    tiny_sd(folder / "base")
    tiny_sdxl(folder / "xl")
    write_tables(folder / "outputs", n=16, n_labelled=8, n_holdout=4)
    write_targets(folder / "outputs", "dedpo", "dpo_human")
    (folder / "prompts.txt").write_text("a red circle\na blue square\n")
    return folder


@pytest.fixture(autouse=True)
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one's own, and the folder that the commands run in."""
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def weights(file: str, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = Path("base", file)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def setting(file: str, **values: Any) -> None:
    path = Path("base", file)
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def drawn() -> dict[str, list[np.ndarray]]:
    """Model → its pictures, in the table's order."""
    found: dict[str, list[np.ndarray]] = {}
    for row in tables.read(Path("outputs/samples"), tables.SAMPLES).to_pylist():
        found.setdefault(row["model"], []).append(np.asarray(images.decode(row["image"]["bytes"])))
    return found


def nan_in(file: str, beginning: str) -> Callable[[], None]:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        name = next(name for name in sorted(tensors) if name.startswith(beginning))
        tensors[name].view(-1)[0] = torch.nan

    return lambda: weights(file, spoil)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (nan_in(UNET, "mid_block"), "1 of its weights are not finite, such as unet.mid_block"),
        (nan_in(VAE, "encoder.conv_in.weight"), "its vae gives numbers that are not finite for the images of pair"),
        (nan_in(VAE, "decoder.conv_out.weight"), "1 of its weights are not finite, such as vae.decoder.conv_out"),
        (nan_in("text_encoder/model.safetensors", "final_layer"), "its text_encoder gives numbers that are not finite"),
        (
            lambda: setting("scheduler/scheduler_config.json", trained_betas=[0.001] * 999 + [float("nan")]),
            "the noise levels in its scheduler/scheduler_config.json are not finite",
        ),
        (lambda: shutil.rmtree("base/tokenizer"), "no folder tokenizer, which its model_index.json names"),
        (lambda: setting("unet/config.json", sample_size=None), "names no square; set train.resolution"),
        (lambda: setting("model_index.json", _class_name="FluxPipeline"), "is a FluxPipeline; Stable Diffusion 1.x"),
        (lambda: Path("base", UNET).rename(Path("base", UNET).with_suffix(".bin")), "has pickled weights (.bin) alone"),
    ],
)  # fmt: skip
def test_a_base_that_cannot_be_used_is_refused_before_anything_is_trained(spoil: Callable[[], None], told: str) -> None:
    spoil()
    assert told in refused(TRAIN)
    assert not Path("outputs/policies/0/dedpo").exists()


def test_what_only_the_reference_draws_with_is_named_in_sampling() -> None:
    did(TRAIN)
    nan_in(VAE, "decoder.conv_out.weight")()
    told = refused("sample")
    assert "model 'reference' (base): prompt 'a red circle', seed 0: the picture is not finite" in told
    assert "such as vae.decoder.conv_out.weight: fetch the base model again" in told


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        (lambda: setting("unet/config.json", sample_size=[8, 8]), {}),
        (lambda: setting("unet/config.json", sample_size=None), {"train__resolution": 16}),
        (lambda: setting("tokenizer/tokenizer_config.json", model_max_length=int(1e30)), {}),
        (lambda: setting("model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"]), {}),
        (lambda: Path("base").rename("my models@home"), {"train__base": "my models@home"}),
        (lambda: None, {"train__base": "xl"}),
    ],
)
def test_a_base_as_people_have_it_is_trained_and_drawn(change: Callable[[], None], settings: dict[str, Any]) -> None:
    change()
    did(TRAIN, train__lora="{rank: 2, alpha: 8}", **settings)
    did("sample", **settings)
    found = drawn()
    assert found.keys() == {"reference", "dedpo-0"}
    assert all(picture.shape == (16, 16, 3) for pictures in found.values() for picture in pictures)


def test_files_of_half_precision_are_trained_and_drawn() -> None:
    for path in list(Path("base").rglob("*.safetensors")):
        half = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(half, path.with_name(f"{path.stem}.fp16.safetensors"), {"format": "pt"})
        path.unlink()
    did(TRAIN, train__variant="fp16")
    did("sample", train__variant="fp16")


def test_pictures_are_of_the_size_that_was_trained_and_never_of_two() -> None:
    did(TRAIN)
    did("sample")
    told = did(TRAIN, train__resolution=32).err
    assert "train.resolution: 32 pixels, and the base model was made for 16" in told
    assert "20 of 20 pairs have an image smaller than 32 pixels: enlarged" in told
    # The reference's pictures of 16 pixels are kept from before.
    assert "'reference' 16 pixels and 'dedpo-0' 32 pixels" in refused("sample")
    did("sample", train__resolution=32)
    assert {picture.shape for pictures in drawn().values() for picture in pictures} == {(32, 32, 3)}
    assert "model 'dedpo-0' was made for 32 pixels and is drawn at 16" in did("sample", sample__resolution=16).err
    assert "multiple of 8, got 20" in refused(TRAIN, train__resolution=20)


def test_an_untrained_policy_draws_what_the_reference_draws_whatever_is_drawn_beside() -> None:
    setting("scheduler/scheduler_config.json", algorithm_type="sde-dpmsolver++")
    did(TRAIN, train__learning_rate=1e-30, train__weight_decay=0)
    did("sample", sample__steps=4)
    before = drawn()
    assert all(np.array_equal(a, b) for a, b in zip(before["reference"], before["dedpo-0"], strict=True))
    shutil.rmtree("outputs/samples")
    Path("prompts.txt").write_text("a green dot\na blue square\na red circle\n")
    did("sample", sample__steps=4, sample__batch_size=3)
    assert np.array_equal(drawn()["reference"][2], before["reference"][0])


def test_adapters_go_with_their_base_and_not_with_its_name(here: Path) -> None:
    lora = {"train__lora": "{rank: 2, alpha: 8}"}
    did(TRAIN, **lora)
    did("sample", **lora)
    before = drawn()["dedpo-0"]
    shutil.rmtree("outputs/samples")
    shutil.copytree(here, here.with_name("elsewhere"))
    with contextlib.chdir(here.with_name("elsewhere")):
        did("sample", **lora)
        assert all(np.array_equal(a, b) for a, b in zip(drawn()["dedpo-0"], before, strict=True))
        weights(UNET, lambda tensors: next(iter(tensors.values())).mul_(2))
        assert "model 'dedpo-0' was trained from another base than lies at base now" in did("sample", **lora).err
        shutil.rmtree("outputs/samples")
        assert "another model than the one that its adapters were trained on (unet differ)" in refused("sample", **lora)


def test_adapters_may_be_the_base_of_others() -> None:
    did(TRAIN, train__lora="{rank: 2, alpha: 8}")
    shutil.copytree("outputs/policies/0/dedpo", "first")
    did(TRAIN, train__lora="{rank: 2, alpha: 8}", train__base="first")
    assert "warning" not in did("sample", train__base="first").err
    weights_of = Path("first/pytorch_lora_weights.safetensors")
    save_file({name: 2 * tensor for name, tensor in load_file(weights_of).items()}, weights_of, {"format": "pt"})
    shutil.rmtree("outputs/samples")
    assert "(adapters differ)" in refused("sample", train__base="first")


def test_what_is_stale_is_refused_and_what_is_not_is_not() -> None:
    for command in (TRAIN, "sample", "score", "report"):
        did(command)
    Path("outputs/policies/0/dedpo/manifest.json").touch()
    did("report")
    did(TRAIN, train__beta=900)
    for command in ("score", "report"):
        assert "made from another 'model dedpo-0'" in refused(command)
    did("sample")
    assert "outputs/scores: made from another 'samples'" in refused("report")
    did("score")
    did("report")
    Path("prompts.txt").write_text("a red circle\n")
    assert "made from another 'prompts'" in refused("report")


@pytest.mark.parametrize("arm", ["dedpo", "dpo_human"])
def test_one_arm_alone_is_reported_on_against_the_reference(arm: str) -> None:
    ours = {"arms": f"[{arm}]", "primary": arm}
    if arm == "dpo_human":
        shutil.rmtree("outputs/labels")
        shutil.rmtree("outputs/targets")
        did("targets", **ours)
    for command in (f"train --arm {arm}", "sample", "score"):
        did(command, **ours)
    assert f"{arm} minus reference: " in did("report", **ours).out


def test_more_steps_go_on_from_those_that_were_taken() -> None:
    did(TRAIN, train__steps=3)
    assert "the run of 3 steps that lies there goes on to 5" in did(TRAIN, train__steps=5).err
    extended = Path("outputs/policies/0/dedpo", UNET).read_bytes()
    shutil.rmtree("outputs/policies")
    assert "goes on" not in did(TRAIN, train__steps=5).err
    assert Path("outputs/policies/0/dedpo", UNET).read_bytes() == extended


def test_what_the_square_leaves_out_is_counted() -> None:
    path = Path("outputs/data/pairs/pairs-0.parquet")
    rows = tables.read(path, tables.PAIRS).to_pylist()
    for row, size in zip(rows, [(64, 16), (16, 64), (40, 16), (16, 8)], strict=False):
        row["image_1"] = {"bytes": images.encode_png(Image.new("RGB", size)), "path": None}
    import pyarrow as pa

    tables.write(pa.Table.from_pylist(rows, schema=tables.PAIRS.schema), tables.PAIRS, path)
    told = did(TRAIN).err
    assert "1 of 20 pairs have an image smaller than 16 pixels: enlarged" in told
    assert "3 of 20 pairs have an image of which less than half is in the square" in told
    for command in ("sample", "score", "report"):
        did(command)
    page = Path("reports/report.md").read_text()
    assert "1 pairs have an image that was enlarged; 3 pairs have an image of which less than half" in page
