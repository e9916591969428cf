"""PickScore against its definition, worked out step by step from the same weights; what goes wrong with weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from transformers import CLIPModel

from dedpo.contract.config import Config
from dedpo.contract.sections import ScoreConfig
from dedpo.errors import UserError
from dedpo.score import clip, plan
from dedpo.score.local import LocalScorer
from dedpo.world.base_model import make_tokenizer
from tests import tiny_clip as tiny

MEAN, STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])


def scorer(prompts: list[str], **settings: object) -> LocalScorer:
    config = ScoreConfig.model_validate(settings)
    ((model, asked),) = plan.models(config).items()
    return LocalScorer(config, model, asked, prompts)


def settings(folder: Path) -> dict[str, object]:
    return {
        "metrics": ["clipscore", "pickscore"],
        "clipscore_model": str(folder),
        "pickscore_model": str(folder),
        "pickscore_processor": str(folder),
    }


def prepared(picture: Image.Image) -> NDArray[np.float64]:
    """CLIP's preparation: shorter side to 24 by bicubic, the middle square, normalised."""
    w, h = picture.size
    short = min(w, h)
    size = (tiny.SIDE, int(tiny.SIDE * h / short)) if w <= h else (int(tiny.SIDE * w / short), tiny.SIDE)
    resized = np.asarray(picture.resize(size, Image.Resampling.BICUBIC), dtype=float)
    top, left = ((n - tiny.SIDE) // 2 for n in resized.shape[:2])
    return (resized[top : top + tiny.SIDE, left : left + tiny.SIDE] / 255 - MEAN) / STD


def cosines(model: CLIPModel, pictures: list[Image.Image], prompts: list[str]) -> NDArray[np.float64]:
    """From the towers' pooled outputs and the projection matrices, in numpy."""
    tokenizer = make_tokenizer()
    found = []
    for picture, prompt in zip(pictures, prompts, strict=True):
        pixels = torch.tensor(prepared(picture), dtype=torch.float32).permute(2, 0, 1)[None]
        # One at a time and without padding.
        tokens = tokenizer([prompt], truncation=True, max_length=16, return_tensors="pt").input_ids
        with torch.no_grad():
            seen = model.vision_model(pixel_values=pixels).pooler_output[0].double().numpy()
            read = model.text_model(input_ids=tokens).pooler_output[0].double().numpy()
        image = model.visual_projection.weight.detach().double().numpy() @ seen
        text = model.text_projection.weight.detach().double().numpy() @ read
        found.append(image @ text / np.linalg.norm(image) / np.linalg.norm(text))
    return np.array(found)


def test_it_is_logit_scale_times_cosine(tmp_path: Path) -> None:
    model = tiny.write(tmp_path / "clip", log_scale=3.0)
    pictures = tiny.pictures()
    prompts = [tiny.PROMPTS[i % len(tiny.PROMPTS)] for i in range(len(pictures))]
    scores = scorer(prompts, **settings(tmp_path / "clip")).score(pictures, prompts)
    expected = cosines(model, pictures, prompts)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(np.array(scores["pickscore"]) / np.exp(3.0), expected, atol=1e-5)


def test_it_is_the_diagonal_of_transformers_logits(tmp_path: Path) -> None:
    model = tiny.write(tmp_path / "clip")
    picture, prompt = tiny.pictures()[4], tiny.PROMPTS[0]
    tokens = make_tokenizer()([prompt], return_tensors="pt").input_ids
    pixels = torch.tensor(prepared(picture), dtype=torch.float32).permute(2, 0, 1)[None]
    logits = model(input_ids=tokens, pixel_values=pixels).logits_per_image
    score = scorer([prompt], **settings(tmp_path / "clip")).score([picture], [prompt])["pickscore"]
    assert score == [pytest.approx(logits.item(), abs=1e-5)]


def test_metrics_on_the_same_weights_share_one_model(tmp_path: Path) -> None:
    config = ScoreConfig.model_validate(settings(tmp_path) | {"aesthetic_model": "a/b", "hpsv2_model": "c/d"})
    assert list(plan.models(config).values()) == [["clipscore", "pickscore"]]
    config = ScoreConfig(metrics=["clipscore", "human_oracle", "pickscore", "aesthetic"])
    assert list(plan.models(config).values()) == [["clipscore", "aesthetic"], ["pickscore"]]
    assert plan.oracle_metrics(config) == ["human_oracle"]


@pytest.mark.parametrize("name", ["openai/clip-vit-large-patch14", "no/folder"])
def test_without_the_hub_the_setting_and_the_remedy_are_named(name: str) -> None:
    with pytest.raises(UserError, match=rf"^score.clipscore_model: {name}: .*hf download {name}") as caught:
        scorer([], metrics=["clipscore"], clipscore_model=name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/no/such/folder", "./here", "nothing", "a/b/c/d"])
def test_a_missing_folder_is_found_before_anything_is_loaded(name: str) -> None:
    with pytest.raises(UserError, match=rf"^score.pickscore_model: {name}: nothing is there; name a folder"):
        plan.models(ScoreConfig(metrics=["pickscore"], pickscore_model=name))


def test_another_kind_of_model_is_not_filled_up_with_random_weights(tmp_path: Path) -> None:
    model = tiny.write(tmp_path / "clip")
    model.text_model.save_pretrained(tmp_path / "clip")
    with pytest.raises(UserError, match="score.clipscore_model: .* not a whole CLIPModel"):
        scorer([], metrics=["clipscore"], clipscore_model=str(tmp_path / "clip"))


def test_a_folder_without_its_tokenizer_is_not_read_with_an_empty_one(tmp_path: Path) -> None:
    tiny.write(tmp_path / "clip")
    for file in (tmp_path / "clip").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError, match="score.clipscore_model: .* a tokenizer of 2 tokens, but the model reads 153"):
        scorer([], metrics=["clipscore"], clipscore_model=str(tmp_path / "clip"))


def test_a_missing_image_processor_names_its_own_setting(tmp_path: Path) -> None:
    tiny.write(tmp_path / "clip")
    (tmp_path / "clip" / "preprocessor_config.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(UserError, match="^score.pickscore_processor: .* no CLIPImageProcessorPil could be loaded"):
        scorer([], **settings(tmp_path / "clip") | {"metrics": ["pickscore"]})


def test_halves_are_near_the_whole(tmp_path: Path) -> None:
    tiny.write(tmp_path / "clip")
    source = plan.Model(str(tmp_path / "clip"), str(tmp_path / "clip"))
    whole, half = (clip.load(source, torch.device("cpu"), t) for t in (torch.float32, torch.bfloat16))
    assert half.scale == whole.scale
    torch.testing.assert_close(half.images(tiny.pictures()), whole.images(tiny.pictures()), atol=0.05, rtol=0)
    torch.testing.assert_close(half.texts(tiny.PROMPTS), whole.texts(tiny.PROMPTS), atol=0.05, rtol=0)


def test_half_precision_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="score.precision: fp16 needs CUDA"):
        scorer([], **settings(tmp_path), device="cpu", precision="fp16")


def test_a_metric_named_twice_or_unknown_is_refused() -> None:
    for bad in (["clipscore", "clipscore"], ["beauty"], []):
        with pytest.raises(ValidationError, match="metrics"):
            Config.model_validate({"score": {"metrics": bad}})
