"""Validation strips: size, determinism, the reference above, and the pipeline left as it was."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dedpo.train.validation import REFERENCE, Validation
from dedpo.vision import diffusion
from tests.train.tiny import SIDE

PROMPTS = ["a photo of a red circle on white", "a blue square"]
PLAIN = contextlib.nullcontext()


@pytest.fixture(params=["sd", "sdxl"])
def pipeline(request: pytest.FixtureRequest) -> Any:
    return diffusion.load(str(request.getfixturevalue(request.param)), "base")


def _moved(pipeline: Any) -> Any:
    unet = copy.deepcopy(pipeline.unet)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.mul_(1.5)
    return unet


def _array(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_strip_has_the_reference_above_the_policy(pipeline: Any, tmp_path: Path) -> None:
    before = pipeline.unet, pipeline.scheduler
    validation = Validation(pipeline, PROMPTS, SIDE, tmp_path / "v")
    pipeline.text_encoder = None
    validation.draw_reference(pipeline.unet, PLAIN, is_main=True)
    validation.draw(pipeline.unet, 0, PLAIN, is_main=True)
    validation.draw(_moved(pipeline), 80, PLAIN, is_main=True)
    reference = _array(tmp_path / "v" / REFERENCE)
    same, tuned = _array(tmp_path / "v" / "step-000000.png"), _array(tmp_path / "v" / "step-000080.png")
    assert same.shape == (2 * SIDE, len(PROMPTS) * SIDE, 3)
    np.testing.assert_array_equal(same, np.concatenate([reference, reference]))
    np.testing.assert_array_equal(tuned[:SIDE], reference)
    assert (tuned[SIDE:] != reference).any()
    assert (reference[:, :SIDE] != reference[:, SIDE:]).any(), "each prompt has a picture of its own"
    assert (pipeline.unet, pipeline.scheduler) == before


def test_the_reference_of_an_interrupted_run_is_kept(sd: Path, tmp_path: Path) -> None:
    pipeline = diffusion.load(str(sd), "base")
    Validation(pipeline, PROMPTS, SIDE, tmp_path).draw_reference(pipeline.unet, PLAIN, is_main=True)
    before = (tmp_path / REFERENCE).read_bytes()
    Validation(pipeline, PROMPTS, SIDE, tmp_path).draw_reference(_moved(pipeline), PLAIN, is_main=True)
    assert (tmp_path / REFERENCE).read_bytes() == before


def test_other_ranks_draw_and_do_not_write(sd: Path, tmp_path: Path) -> None:
    pipeline = diffusion.load(str(sd), "base")
    validation = Validation(pipeline, PROMPTS[:1], SIDE, tmp_path)
    validation.draw_reference(pipeline.unet, PLAIN, is_main=False)
    validation.draw(pipeline.unet, 1, PLAIN, is_main=False)
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_policy_draws_black(sd: Path, tmp_path: Path) -> None:
    pipeline = diffusion.load(str(sd), "base")
    validation = Validation(pipeline, PROMPTS[:1], SIDE, tmp_path)
    validation.draw_reference(pipeline.unet, PLAIN, is_main=True)
    broken = copy.deepcopy(pipeline.unet)
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(torch.nan)
    validation.draw(broken, 3, PLAIN, is_main=True)
    assert not _array(tmp_path / "step-000003.png")[SIDE:].any()


def test_in_bf16_the_vae_stays_in_fp32(sd: Path, tmp_path: Path) -> None:
    pipeline = diffusion.load(str(sd), "base")
    seen: list[torch.dtype] = []
    pipeline.vae.decoder.conv_out.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    pipeline.unet.conv_out.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    validation = Validation(pipeline, PROMPTS[:1], SIDE, tmp_path)
    validation.draw_reference(pipeline.unet, torch.autocast("cpu", torch.bfloat16), is_main=True)
    assert set(seen[:-1]) == {torch.bfloat16}
    assert seen[-1] == torch.float32
