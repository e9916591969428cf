"""The aesthetic head against the one linear map that it collapses to."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dedpo.contract.sections import ScoreConfig
from dedpo.errors import UserError
from dedpo.score import aesthetic, plan
from dedpo.score.local import LocalScorer
from tests import tiny_clip as tiny

WIDTHS = {0: (1024, 768), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}


def state() -> dict[str, torch.Tensor]:
    """Random weights under the published file's names."""
    draw = torch.Generator().manual_seed(0)
    weights = {f"layers.{i}.weight": torch.randn(s, generator=draw) / s[1] ** 0.5 for i, s in WIDTHS.items()}
    return weights | {f"layers.{i}.bias": torch.randn(s[0], generator=draw) for i, s in WIDTHS.items()}


def collapsed(weights: dict[str, torch.Tensor]) -> tuple[np.ndarray, float]:
    """The product of the matrices, and what the biases come to."""
    matrix, offset = np.eye(768), np.zeros(768)
    for i in WIDTHS:
        layer = weights[f"layers.{i}.weight"].double().numpy()
        matrix, offset = layer @ matrix, layer @ offset + weights[f"layers.{i}.bias"].double().numpy()
    return matrix[0], float(offset[0])


@pytest.fixture
def published(tmp_path: Path) -> Path:
    torch.save(state(), tmp_path / "head.pth")
    return tmp_path / "head.pth"


def trusted(path: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest().upper()]


def test_the_head_is_one_linear_map_and_drops_nothing(published: Path) -> None:
    head = aesthetic.load(str(published), "score.aesthetic_head", trusted(published))
    images = torch.nn.functional.normalize(torch.randn(50, 768, generator=torch.Generator().manual_seed(1)), dim=1)
    row, offset = collapsed(state())
    values = head(images)
    assert not head.training
    assert torch.equal(values, head(images))
    np.testing.assert_allclose(values.numpy(), images.double().numpy() @ row + offset, atol=1e-5)


def test_embeddings_of_another_width_are_refused_by_what_to_name(tmp_path: Path, published: Path) -> None:
    tiny.write(tmp_path / "clip")
    config = ScoreConfig(
        metrics=["aesthetic"], device="cpu", aesthetic_model=str(tmp_path / "clip"), aesthetic_head=str(published)
    )
    (model,) = plan.models(config)
    with pytest.raises(UserError, match=r"^score.aesthetic_model: .*clip: its embeddings have \d+ numbers.*768.*ViT-L"):
        LocalScorer(config, model, ["aesthetic"], [])


def test_safetensors_need_no_checksum(tmp_path: Path, published: Path) -> None:
    save_file(state(), tmp_path / "head.safetensors")
    head = aesthetic.load(str(tmp_path / "head.safetensors"), "place")
    other = aesthetic.load(str(published), "place", trusted(published))
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), other.parameters(), strict=True))


def test_the_score_reads_the_unit_image_embedding(tmp_path: Path, published: Path) -> None:
    model = tiny.write(tmp_path / "clip", projection=768)
    config = ScoreConfig(
        metrics=["aesthetic"], aesthetic_model=str(tmp_path / "clip"), aesthetic_head=str(published),
        trusted_sha256=trusted(published),
    )  # fmt: skip
    ((source, asked),) = plan.models(config).items()
    picture = tiny.pictures()[4]
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32) / 255)
    pixels = (pixels - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    )
    with torch.no_grad():
        embedding = model.get_image_features(pixel_values=pixels.permute(2, 0, 1)[None]).pooler_output[0].numpy()
    row, offset = collapsed(state())
    expected = embedding / np.linalg.norm(embedding) @ row + offset
    # The prompt plays no part.
    for prompt in ("a", "b"):
        scores = LocalScorer(config, source, asked, [prompt]).score([picture], [prompt])
        assert scores == {"aesthetic": [pytest.approx(expected, abs=1e-4)]}


def test_an_unknown_checksum_is_refused_and_shown(published: Path) -> None:
    (found,) = trusted(published)
    with pytest.raises(UserError, match=f"^score.aesthetic_head: .*{found.lower()} is not trusted.*trusted_sha256"):
        aesthetic.load(str(published), "score.aesthetic_head", ["0" * 64])


class Evil:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


def test_even_a_trusted_pickle_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "head.pth"
    torch.save({"layers.0.weight": Evil(tmp_path / "ran")}, path)
    with pytest.raises(UserError, match="not a readable file of weights"):
        aesthetic.load(str(path), "place", trusted(path))
    assert not (tmp_path / "ran").exists()


def test_another_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"layers.0.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(UserError, match="not the aesthetic predictor's weights"):
        aesthetic.load(str(path), "place", trusted(path))
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="something else than named tensors"):
        aesthetic.load(str(path), "place", trusted(path))
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a readable file of weights"):
        aesthetic.load(str(tmp_path / "broken.safetensors"), "place")


@pytest.mark.parametrize("name", ["nowhere.pth", "owner/name", "owner/name/head.pth"])
def test_a_missing_file_says_so(name: str) -> None:
    with pytest.raises(UserError, match=rf"^score.aesthetic_head: {name}: ") as caught:
        aesthetic.load(name, "score.aesthetic_head")
    assert "\n" not in str(caught.value)
