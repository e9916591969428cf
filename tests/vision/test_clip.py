"""The shared CLIP: its embeddings against transformers' own, and one-line errors that name the setting."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dedpo.errors import UserError
from dedpo.vision import clip
from dedpo.world.base_model import make_tokenizer
from tests import tiny_clip as tiny

CPU = torch.device("cpu")


def unit(embeddings: Tensor) -> Tensor:
    return embeddings / embeddings.norm(dim=1, keepdim=True)


def test_embeddings_are_transformers_own_at_unit_length(tmp_path: Path) -> None:
    model = tiny.write(tmp_path / "clip")
    found = clip.load(str(tmp_path / "clip"), "here", CPU)
    pictures = tiny.pictures()
    with torch.no_grad():
        seen = unit(model.get_image_features(pixel_values=found.prepare(pictures)).pooler_output)
        # One at a time and without padding.
        tokens = [make_tokenizer()([p], truncation=True, max_length=16, return_tensors="pt") for p in tiny.PROMPTS]
        read = unit(torch.cat([model.get_text_features(input_ids=t.input_ids).pooler_output for t in tokens]))
    torch.testing.assert_close(found.images(pictures), seen)
    torch.testing.assert_close(found.texts(tiny.PROMPTS), read)
    assert (seen @ seen.T).min() < 0.99, "pictures differ"
    assert found.scale == pytest.approx(model.logit_scale.detach().exp().item())


def test_pictures_may_be_prepared_one_by_one(tmp_path: Path) -> None:
    tiny.write(tmp_path / "clip")
    found = clip.load(str(tmp_path / "clip"), "here", CPU)
    pictures = tiny.pictures()
    prepared = torch.cat([found.prepare([picture]) for picture in pictures])
    assert prepared.shape == (len(pictures), 3, tiny.SIDE, tiny.SIDE)
    torch.testing.assert_close(found.embed(prepared), found.images(pictures), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", "no CLIPModel could be loaded"),
        ("tokenizer*", "a tokenizer of 2 tokens, but the model reads 153; name a folder or hub id with"),
        ("preprocessor_config.json", "no CLIPImageProcessorPil could be loaded"),
    ],
)
def test_a_folder_in_part_names_the_setting(missing: str, message: str, tmp_path: Path) -> None:
    tiny.write(tmp_path / "clip")
    for file in (tmp_path / "clip").glob(missing):
        file.unlink()
    with pytest.raises(UserError, match=rf"^data\.clip_model: {tmp_path / 'clip'}: {message}") as caught:
        clip.load(str(tmp_path / "clip"), "data.clip_model", CPU)
    assert "\n" not in str(caught.value)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    tiny.write(tmp_path / "clip").text_model.save_pretrained(tmp_path / "clip")
    with pytest.raises(UserError, match=r"^data\.clip_model: .*: not a whole CLIPModel, \d+ weights such as"):
        clip.load(str(tmp_path / "clip"), "data.clip_model", CPU)
