"""Images and prompts as the encoders see them, the noise schedule, and the error that training compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from PIL import Image

from dedpo.errors import UserError
from dedpo.train import backbone
from dedpo.train.backbone import Conditioning, NoiseSchedule
from dedpo.vision import diffusion

PROMPTS = ["a photo of a red circle on white", "a blue square"]


def _load(folder: Path) -> Any:
    return diffusion.load(str(folder), "here")


def _inputs(n: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents (2, n, 4, 8, 8), noise (n, 4, 8, 8) and timesteps (n,)."""
    chance = torch.Generator().manual_seed(0)
    latents = torch.randn(2, n, 4, 8, 8, generator=chance)
    return latents, torch.randn(n, 4, 8, 8, generator=chance), torch.tensor([3, 500, 990][:n])


def test_pixels_are_the_centre_square_between_minus_one_and_one() -> None:
    array = np.zeros((4, 8, 3), dtype=np.uint8)
    array[:, 2:6] = 255
    found = backbone.pixels(Image.fromarray(array), 4)
    assert found.shape == (3, 4, 4)
    assert (found == 1).all(), "the dark sides are cut away"
    assert (backbone.pixels(Image.new("RGB", (8, 4)), 4) == -1).all()


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    array = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    found = backbone.pixels(Image.fromarray(array), 16)
    np.testing.assert_array_equal(np.rint((found.numpy() + 1) * 127.5).transpose(1, 2, 0), array)


def test_an_extreme_strip_stays_small() -> None:
    assert backbone.pixels(Image.new("RGB", (1_000_000, 2)), 512).shape == (3, 512, 512)


def test_the_text_is_the_encoders_last_layer(sd: Path) -> None:
    pipeline = _load(sd)
    text, pooled = backbone.encode_prompts(pipeline, PROMPTS)
    tokens = pipeline.tokenizer(PROMPTS, padding="max_length", max_length=16, return_tensors="pt").input_ids
    assert torch.equal(text, pipeline.text_encoder(tokens)[0])
    assert pooled is None
    assert text.shape == (2, 16, 16)


def test_sdxls_text_is_both_encoders_last_but_one_layer_and_the_seconds_pooled(sdxl: Path) -> None:
    pipeline = _load(sdxl)
    text, pooled = backbone.encode_prompts(pipeline, PROMPTS)
    found = []
    for n in ("", "_2"):
        tokenizer, encoder = getattr(pipeline, f"tokenizer{n}"), getattr(pipeline, f"text_encoder{n}")
        tokens = tokenizer(PROMPTS, padding="max_length", max_length=16, return_tensors="pt").input_ids
        found.append(encoder(tokens, output_hidden_states=True))
    assert torch.equal(text, torch.cat([f.hidden_states[-2] for f in found], dim=-1))
    assert pooled is not None
    assert torch.equal(pooled, found[1].text_embeds)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_conditioning_is_what_the_pipeline_tells_its_unet_when_it_draws(
    kind: str, request: pytest.FixtureRequest
) -> None:
    pipeline = _load(request.getfixturevalue(kind))
    seen: dict[str, Any] = {}
    forward = pipeline.unet.forward

    def spy(*arguments: Any, **named: Any) -> Any:
        seen.update(named)
        return forward(*arguments, **named)

    pipeline.unet.forward = spy
    pipeline(PROMPTS, guidance_scale=1.0, num_inference_steps=1, height=16, width=16, output_type="latent")
    text, pooled = backbone.encode_prompts(pipeline, PROMPTS)
    our_text, added = Conditioning(text, pooled, 16).for_both_images()
    assert torch.equal(our_text, torch.cat([seen["encoder_hidden_states"]] * 2))
    if kind == "sd":
        assert added is None
    else:
        assert added is not None
        assert added.keys() == seen["added_cond_kwargs"].keys()
        assert all(torch.equal(added[k], torch.cat([v] * 2)) for k, v in seen["added_cond_kwargs"].items())


def test_latents_are_encoded_in_fp32_whatever_is_around(sd: Path) -> None:
    pipeline = _load(sd)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, text = backbone.encode_images(pipeline, images), backbone.encode_prompts(pipeline, PROMPTS)[0]
    posterior = pipeline.vae.encode(images).latent_dist
    assert torch.equal(found[:, 0], posterior.mean * 0.5)
    assert torch.equal(found[:, 1], posterior.std * 0.5)
    assert torch.equal(text, backbone.encode_prompts(pipeline, PROMPTS)[0])


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_the_schedule_is_diffusion_whatever_sampler_the_model_came_with(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Euler's own add_noise, SDXL's default, would give clean + σ·noise, which no UNet was trained on."""
    scheduler = _load(request.getfixturevalue(kind)).scheduler
    schedule = NoiseSchedule(scheduler)
    levels = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, dim=0)
    latents, noise, t = _inputs()
    kept = levels[t].reshape(-1, 1, 1, 1)
    assert torch.allclose(schedule.add_noise(latents[0], noise, t), kept**0.5 * latents[0] + (1 - kept) ** 0.5 * noise)
    assert schedule.target(latents[0], noise, t) is noise
    assert schedule.timesteps == 1000


def test_velocity_is_learnt_where_velocity_is_predicted(sd_velocity: Path) -> None:
    """PNDM, with which such models come, has no get_velocity."""
    pipeline = _load(sd_velocity)
    latents, noise, t = _inputs()
    text, _ = backbone.encode_prompts(pipeline, [*PROMPTS, ""])
    found = backbone.denoising_error(
        pipeline.unet, NoiseSchedule(pipeline.scheduler), latents, noise, t, Conditioning(text, None, 16)
    )
    levels = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, dim=0)
    for image in (0, 1):
        for i in range(3):
            clean, kept = latents[image, i], levels[t[i]]
            noisy = kept**0.5 * clean + (1 - kept) ** 0.5 * noise[i]
            predicted = pipeline.unet(noisy[None], t[i], text[i : i + 1]).sample[0]
            velocity = kept**0.5 * noise[i] - (1 - kept) ** 0.5 * clean
            expected = (predicted - velocity).square().mean()
            torch.testing.assert_close(found[image, i], expected, rtol=1e-5, atol=0)


def test_sdxls_error_is_that_of_each_image_by_itself(sdxl: Path) -> None:
    pipeline = _load(sdxl)
    latents, noise, t = _inputs(2)
    conditioning = Conditioning(*backbone.encode_prompts(pipeline, PROMPTS), 16)
    schedule = NoiseSchedule(pipeline.scheduler)
    found = backbone.denoising_error(pipeline.unet, schedule, latents, noise, t, conditioning)
    text, _, pooled, _ = pipeline.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
    time_ids = torch.tensor([[16, 16, 0, 0, 16, 16]], dtype=torch.float32)
    for image in (0, 1):
        for i in range(2):
            noisy = DDPMScheduler.from_config(pipeline.scheduler.config).add_noise(latents[image, i], noise[i], t[i])
            added = {"text_embeds": pooled[i : i + 1], "time_ids": time_ids}
            predicted = pipeline.unet(noisy[None], t[i], text[i : i + 1], added_cond_kwargs=added).sample[0]
            torch.testing.assert_close(found[image, i], (predicted - noise[i]).square().mean(), rtol=1e-5, atol=0)


def test_sdxls_prompt_size_and_pooled_text_all_matter(sdxl: Path) -> None:
    pipeline = _load(sdxl)
    latents, noise, t = _inputs(2)
    text, pooled = backbone.encode_prompts(pipeline, PROMPTS)
    assert pooled is not None
    schedule = NoiseSchedule(pipeline.scheduler)
    conditionings = [
        Conditioning(text, pooled, 16),
        Conditioning(text.flip(0), pooled, 16),
        Conditioning(text, pooled.flip(0), 16),
        Conditioning(text, pooled, 64),
    ]
    errors = [backbone.denoising_error(pipeline.unet, schedule, latents, noise, t, c) for c in conditionings]
    assert all((error != errors[0]).all() for error in errors[1:])


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (FlowMatchEulerDiscreteScheduler(), "FlowMatchEulerDiscreteScheduler with prediction_type None"),
        (DDPMScheduler(prediction_type="sample"), "DDPMScheduler with prediction_type 'sample'"),
    ],
)
def test_another_kind_of_diffusion_is_refused(scheduler: Any, words: str) -> None:
    with pytest.raises(UserError, match=f"train.base: its {words} cannot be trained; name a diffusion model"):
        NoiseSchedule(scheduler)


def test_what_decides_the_schedule_is_told_apart(sd: Path, sd_velocity: Path) -> None:
    identities = [NoiseSchedule(_load(folder).scheduler).identity for folder in (sd, sd, sd_velocity)]
    assert identities[0] == identities[1] != identities[2]
    assert NoiseSchedule(DDPMScheduler()).identity not in identities
