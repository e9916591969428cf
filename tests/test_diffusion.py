"""Loading models: what is accepted, and how a wrong name is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from dedpo import diffusion
from dedpo.errors import UserError
from tests.fixtures import BASE


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
    with pytest.raises(UserError, match="not a diffusers model that can be loaded"):
        diffusion.load(str(tmp_path), "train.base")


def test_another_kind_of_pipeline_is_named(tmp_path: Path) -> None:
    unet = UNet2DModel(sample_size=8, block_out_channels=(32,), down_block_types=("DownBlock2D",),
                       up_block_types=("UpBlock2D",), layers_per_block=1)  # fmt: skip
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a DDPMPipeline; Stable Diffusion"):
        diffusion.load(str(tmp_path), "train.base")
