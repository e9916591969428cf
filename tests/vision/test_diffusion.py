"""Loading models: what is accepted, and how a wrong name is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDPMPipeline, DDPMScheduler, StableDiffusionXLPipeline, UNet2DModel

from dedpo.errors import UserError
from dedpo.vision import diffusion
from tests.fixtures import BASE
from tests.train.tiny import tiny_sd, tiny_sdxl


def test_a_diffusers_folder_loads_in_fp32() -> None:
    pipeline = diffusion.load(str(BASE), "train.base")
    assert pipeline.unet.dtype == torch.float32


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "nowhere", "a/b/c"])
def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"train.base: {name}: no such folder; name a diffusers folder or a hub id"):
        diffusion.load(name, "train.base")


def test_a_hub_id_without_the_hub_is_one_line() -> None:
    with pytest.raises(
        UserError, match="train.base: nobody/nothing: not a diffusers model that can be loaded"
    ) as caught:
        diffusion.load("nobody/nothing", "train.base")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no diffusers model: it has no model_index.json"):
        diffusion.load(str(tmp_path), "train.base")


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_truncated_weights_are_one_line(file: str, tmp_path: Path) -> None:
    path = tiny_sd(tmp_path / "base") / file
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match="train.base: .*: not a diffusers model that can be loaded") as caught:
        diffusion.load(str(tmp_path / "base"), "train.base")
    assert "\n" not in str(caught.value)


def test_another_kind_of_pipeline_is_named(tmp_path: Path) -> None:
    unet = UNet2DModel(sample_size=8, block_out_channels=(32,), down_block_types=("DownBlock2D",),
                       up_block_types=("UpBlock2D",), layers_per_block=1)  # fmt: skip
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a DDPMPipeline; Stable Diffusion"):
        diffusion.load(str(tmp_path), "train.base")


def test_an_sdxl_folder_loads_with_both_text_encoders_in_fp32(tmp_path: Path) -> None:
    pipeline = diffusion.load(str(tiny_sdxl(tmp_path / "xl")), "train.base")
    assert isinstance(pipeline, StableDiffusionXLPipeline)
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    assert {part.dtype for part in parts} == {torch.float32}


def test_half_precision_files_become_fp32(tmp_path: Path) -> None:
    plain = diffusion.load(str(tiny_sd(tmp_path / "plain")), "train.base")
    plain.to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    found = diffusion.load(str(tmp_path / "half"), "train.base", variant="fp16")
    assert found.unet.dtype == found.vae.dtype == torch.float32
    expected = next(diffusion.load(str(tmp_path / "plain"), "here").unet.parameters()).half().float()
    assert torch.equal(next(found.unet.parameters()), expected)
    with pytest.raises(UserError, match="has no .fp16.safetensors files; it has the plain ones"):
        diffusion.load(str(tmp_path / "plain"), "train.base", variant="fp16")


def test_another_vae_takes_the_place_of_the_models_own(tmp_path: Path) -> None:
    base = tiny_sd(tmp_path / "base")
    other = diffusion.load(str(base), "here").vae
    with torch.no_grad():
        next(other.parameters()).add_(1)
    other.register_to_config(scaling_factor=0.25)
    other.save_pretrained(tmp_path / "vae")
    # The model's own need not even be there.
    shutil.rmtree(base / "vae")
    found = diffusion.load(str(base), "train.base", vae=str(tmp_path / "vae")).vae
    assert found.config.scaling_factor == 0.25
    assert torch.equal(next(found.parameters()), next(other.parameters()))


def test_a_vae_that_is_none_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    base = tiny_sd(tmp_path / "base")
    with pytest.raises(UserError, match=r"train.base: its VAE: ./nowhere: no such folder"):
        diffusion.load(str(base), "train.base", vae="./nowhere")
    with pytest.raises(UserError, match="train.base: its VAE: .*: no AutoencoderKL that can be loaded"):
        diffusion.load(str(base), "train.base", vae=str(base))
    settings = {"block_out_channels": (8,), "norm_num_groups": 4, "sample_size": 8}
    AutoencoderKL(**settings, latent_channels=8).save_pretrained(tmp_path / "wide")
    with pytest.raises(UserError, match="its VAE makes 8 channels and its UNet takes 4"):
        diffusion.load(str(base), "train.base", vae=str(tmp_path / "wide"))
    AutoencoderKL(**settings, latents_mean=[0.0] * 4).save_pretrained(tmp_path / "shifted")
    with pytest.raises(UserError, match="VAEs with 'latents_mean' are not supported"):
        diffusion.load(str(base), "train.base", vae=str(tmp_path / "shifted"))


def test_a_prompt_that_either_encoder_cuts_is_too_long(tmp_path: Path) -> None:
    pipeline = diffusion.load(str(tiny_sdxl(tmp_path / "xl")), "here")
    limit = pipeline.tokenizer.model_max_length
    # Begin and end are tokens, too.
    fitting, longer = ("red " * (limit - 2)).strip(), ("red " * (limit - 1)).strip()
    assert diffusion.too_long(pipeline, [fitting, longer, ""]) == [longer]
    pipeline.tokenizer_2.model_max_length = limit - 1
    assert diffusion.too_long(pipeline, ["red", fitting]) == [fitting]
