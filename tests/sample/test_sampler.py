from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from dedpo.contract.sections import SampleConfig
from dedpo.errors import UserError
from dedpo.sample import sampler
from dedpo.sample.sampler import Request
from dedpo.vision import diffusion
from dedpo.world import base_model
from tests.train.tiny import tiny_sd, tiny_sdxl

CPU = torch.device("cpu")
REQUESTS = [Request(f"a photo of a red circle on {ground}", seed) for ground in ("white", "navy") for seed in (0, 1)]
CONFIG = SampleConfig(steps=3, guidance=2.0, batch_size=4, device="cpu")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sampler") / "base"
    base_model.build(folder, base_model.Recipe(vae_steps=2, unet_steps=2))
    return str(folder)


def pictures(base: str, requests: list[Request], config: SampleConfig = CONFIG) -> np.ndarray:
    return drawn(sampler.load(base, "here", CPU), requests, config)


def drawn(pipeline: Any, requests: list[Request] = REQUESTS, config: SampleConfig = CONFIG) -> np.ndarray:
    return np.stack(list(sampler.sample(pipeline, requests, config, 16)))


def test_prompt_id_is_a_hash_of_the_text() -> None:
    assert sampler.prompt_id("ü") == hashlib.sha256("ü".encode()).hexdigest()[:16]


def test_noise_depends_on_prompt_and_seed_alone() -> None:
    shape = (4, 8, 8)
    one = sampler.noise(Request("a", 0), shape)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, sampler.noise(Request("a", 0), shape))
    assert not np.allclose(one, sampler.noise(Request("a", 1), shape))
    assert not np.allclose(one, sampler.noise(Request("b", 0), shape))


def test_noise_is_standard_normal() -> None:
    many = np.stack([sampler.noise(Request("a", seed), (4, 8, 8)) for seed in range(200)])
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02


def test_pictures_are_bytes_of_the_models_own_size(base: str) -> None:
    found = pictures(base, REQUESTS)
    assert found.shape == (4, 16, 16, 3)
    assert found.dtype == np.uint8
    assert len({p.tobytes() for p in found}) == 4


def test_identical_weights_give_identical_pictures(base: str) -> None:
    np.testing.assert_array_equal(pictures(base, REQUESTS), pictures(base, REQUESTS))


def test_order_and_batch_size_do_not_change_a_picture(base: str) -> None:
    whole = pictures(base, REQUESTS)
    for size in (1, 3, 8):
        np.testing.assert_array_equal(
            pictures(base, REQUESTS[::-1], CONFIG.model_copy(update={"batch_size": size}))[::-1], whole
        )


def test_what_is_drawn_beside_a_picture_does_not_change_it(base: str) -> None:
    many = [Request(f"a photo of a {colour} circle on white", seed) for colour in ("red", "blue") for seed in range(11)]
    whole = pictures(base, many)
    np.testing.assert_array_equal(pictures(base, many[5:8]), whole[5:8])
    np.testing.assert_array_equal(pictures(base, many[::-1])[::-1], whole)


def test_a_base_whose_solver_adds_noise_gives_the_same_pictures_twice(tmp_path: Path) -> None:
    """As in bases that were saved from a web interface's 'DPM++ SDE'."""
    pipeline = diffusion.load(str(tiny_sd(tmp_path / "base")), "here")
    kind = "sde-dpmsolver++"
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, algorithm_type=kind)
    pipeline.save_pretrained(tmp_path / "sde")
    torch.manual_seed(1)
    first = pictures(str(tmp_path / "sde"), REQUESTS)
    torch.manual_seed(2)
    np.testing.assert_array_equal(pictures(str(tmp_path / "sde"), REQUESTS), first)
    np.testing.assert_array_equal(pictures(str(tmp_path / "base"), REQUESTS), first)


def test_other_weights_give_other_pictures(base: str) -> None:
    pipeline = sampler.load(base, "here", CPU)
    before = drawn(pipeline)
    with torch.no_grad():
        for weight in pipeline.unet.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    assert (drawn(pipeline) != before).any()


def test_guidance_matters(base: str) -> None:
    strong = pictures(base, REQUESTS, CONFIG.model_copy(update={"guidance": 9.0}))
    assert (strong != pictures(base, REQUESTS)).any()


def test_hostile_prompts_are_sampled(base: str) -> None:
    hostile = [Request(p, 0) for p in ("<script>alert(1)</script>", "=cmd()", "x" * 10_000, "\u202e\x00🦆")]
    assert len(pictures(base, hostile)) == 4


def test_prompts_beyond_the_token_limit_are_counted(base: str) -> None:
    long = "red " * 100
    assert diffusion.too_long(diffusion.load(base, "here"), ["a photo", long]) == [long]


def test_diverged_weights_are_refused(base: str) -> None:
    pipeline = sampler.load(base, "here", CPU)
    with torch.no_grad():
        next(pipeline.unet.parameters()).fill_(torch.nan)
    with pytest.raises(sampler.NotFiniteError, match="not finite"):
        drawn(pipeline)


def test_the_prompt_whose_picture_is_not_finite_is_named(base: str) -> None:
    pipeline = sampler.load(base, "here", CPU)
    word = pipeline.tokenizer("navy").input_ids[1]
    with torch.no_grad():
        pipeline.text_encoder.get_input_embeddings().weight[word] = torch.nan
    with pytest.raises(sampler.NotFiniteError, match="on navy', seed 0"):
        drawn(pipeline)


def test_half_precision_draws_nearly_the_same(base: str) -> None:
    half = pictures(base, REQUESTS, CONFIG.model_copy(update={"precision": "bf16"})).astype(int)
    apart = np.abs(half - pictures(base, REQUESTS))
    assert apart.max() > 0
    # bf16 keeps 8 bits, and so do pixels: a few steps of rounding move a pixel by a few grey levels.
    assert apart.mean() < 4


def test_sdxl_is_drawn_from_the_same_noise_whatever_its_weights(tmp_path: Path) -> None:
    """Untrained twins: what they share is the noise, and with it the picture."""
    config = CONFIG.model_copy(update={"guidance": 7.5})
    found = pictures(str(tiny_sdxl(tmp_path / "xl")), REQUESTS, config)
    assert found.shape == (4, 16, 16, 3)
    assert len({p.tobytes() for p in found}) == 4
    np.testing.assert_array_equal(pictures(str(tmp_path / "xl"), REQUESTS, config), found)
    ones = pictures(str(tmp_path / "xl"), REQUESTS[::-1], config.model_copy(update={"batch_size": 3}))[::-1]
    np.testing.assert_array_equal(found, ones)
    pipeline = sampler.load(str(tmp_path / "xl"), "here", CPU)
    for request, picture in zip(REQUESTS, found, strict=True):
        latents = torch.from_numpy(sampler.noise(request, (1, 4, 8, 8)))
        again = pipeline(request.prompt, latents=latents, height=16, width=16, num_inference_steps=3,
                         guidance_scale=7.5, output_type="np").images  # fmt: skip
        # By itself, it is rounded otherwise: by a step of 8 bits at most.
        assert np.abs(picture.astype(int) - np.rint(again[0] * 255)).max() <= 1


def test_sdxl_gets_no_watermark_whatever_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl"
    monkeypatch.setattr(f"{module}.is_invisible_watermark_available", lambda: True)
    monkeypatch.setattr(f"{module}.StableDiffusionXLWatermarker", object, raising=False)
    assert sampler.load(str(tiny_sdxl(tmp_path / "xl")), "here", CPU).watermark is None


def test_a_velocity_model_is_drawn_as_one(tmp_path: Path) -> None:
    noise, velocity = (pictures(str(tiny_sd(tmp_path / p, p)), REQUESTS) for p in ("epsilon", "v_prediction"))
    assert (noise != velocity).any(), "the same weights, taken otherwise"


def test_one_vae_for_every_model(tmp_path: Path) -> None:
    base = tiny_sd(tmp_path / "base")
    tiny_sd(tmp_path / "other", seed=1)
    found = sampler.load(str(base), "here", CPU, vae=str(tmp_path / "other" / "vae"))
    expected = diffusion.load(str(tmp_path / "other"), "here").vae
    assert torch.equal(next(found.vae.parameters()), next(expected.parameters()))


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model 'sft-0'.*no such folder"):
        sampler.load(str(tmp_path / "none"), "model 'sft-0'", CPU)
