"""HPSv2's preparation in PIL and numpy, and open_clip's forward pass written out, against ours."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from dedpo.contract.sections import ScoreConfig
from dedpo.errors import UserError
from dedpo.score import hpsv2, plan
from dedpo.score.local import LocalScorer
from dedpo.world.base_model import make_tokenizer
from tests import tiny_clip as tiny

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
State = dict[str, torch.Tensor]


def prepared(picture: Image.Image, side: int) -> NDArray[np.float64]:
    """The definition, channel by channel: longest side to `side` by Pillow's bicubic on floats, black around it."""
    width, height = picture.size
    scale = side / max(width, height)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (side - new_width) // 2, (side - new_height) // 2
    out = np.zeros((3, side, side))
    for c, channel in enumerate(picture.convert("RGB").split()):
        floats = Image.fromarray(np.asarray(channel, dtype=np.float32) / np.float32(255))
        resized = np.asarray(floats.resize((new_width, new_height), Image.Resampling.BICUBIC))
        out[c, top : top + new_height, left : left + new_width] = resized
        out[c] = (out[c] - MEAN[c]) / STD[c]
    return out


@pytest.mark.parametrize(
    "size", [(640, 320), (200, 700), (5, 3), (1, 1), (224, 100), (100, 224), (224, 224), (512, 512), (1000, 1)]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_preparation_is_its_definition(size: tuple[int, int], mode: str) -> None:
    rng = np.random.default_rng(0)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    picture = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
    assert picture.mode == mode
    pixels = hpsv2.pixels(picture)
    assert pixels.shape == (3, 224, 224)
    np.testing.assert_allclose(pixels.numpy(), prepared(picture, 224), atol=1e-4)


def test_nothing_of_a_wide_picture_is_cropped_and_the_rest_is_black() -> None:
    pixels = hpsv2.pixels(Image.new("RGB", (448, 224), (255, 255, 255)))
    black, white = (-np.array(MEAN) / STD), ((1 - np.array(MEAN)) / STD)
    np.testing.assert_allclose(pixels[:, 0, 0], black, atol=1e-5)
    np.testing.assert_allclose(pixels[:, 112, 0], white, atol=1e-4)
    assert int((pixels[0, :, 0] > 0).sum()) == 112


def open_clip_state() -> State:
    """Random weights under open_clip's names, in the shapes of `tiny.config`."""
    c = tiny.config()
    draw = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw) * 0.3

    def blocks(prefix: str, width: int, inner: int) -> State:
        found = {}
        for i in range(2):
            at = f"{prefix}transformer.resblocks.{i}."
            for norm in ("ln_1", "ln_2"):
                found |= {f"{at}{norm}.weight": random(width), f"{at}{norm}.bias": random(width)}
            found |= {f"{at}attn.in_proj_weight": random(3 * width, width), f"{at}attn.in_proj_bias": random(3 * width)}
            for name, rows, columns in (
                ("attn.out_proj", width, width), ("mlp.c_fc", inner, width), ("mlp.c_proj", width, inner)
            ):  # fmt: skip
                found |= {f"{at}{name}.weight": random(rows, columns), f"{at}{name}.bias": random(rows)}
        return found

    text, vision, d = c.text_config, c.vision_config, c.projection_dim
    state = blocks("", text.hidden_size, text.intermediate_size)
    state |= blocks("visual.", vision.hidden_size, vision.intermediate_size)
    state |= {
        "logit_scale": torch.tensor(4.6),
        "token_embedding.weight": random(text.vocab_size, text.hidden_size),
        "positional_embedding": random(16, text.hidden_size),
        "text_projection": random(text.hidden_size, d),
        "attn_mask": torch.zeros(16, 16),
        "visual.class_embedding": random(vision.hidden_size),
        "visual.conv1.weight": random(vision.hidden_size, 3, 8, 8),
        "visual.positional_embedding": random(1 + (tiny.SIDE // 8) ** 2, vision.hidden_size),
        "visual.proj": random(vision.hidden_size, d),
    }
    for norm, width in (("ln_final", 32), ("visual.ln_pre", 40), ("visual.ln_post", 40)):
        state |= {f"{norm}.weight": random(width), f"{norm}.bias": random(width)}
    return state


def norm(x: torch.Tensor, s: State, name: str) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"], eps=1e-5)


def tower(x: torch.Tensor, s: State, prefix: str, *, causal: bool) -> torch.Tensor:
    """open_clip's residual attention blocks; x is (tokens, width), four heads."""
    for i in range(2):
        at = f"{prefix}transformer.resblocks.{i}."
        q, k, v = (norm(x, s, f"{at}ln_1") @ s[f"{at}attn.in_proj_weight"].T + s[f"{at}attn.in_proj_bias"]).chunk(3, 1)
        heads = []
        for h in range(4):
            part = slice(h * x.shape[1] // 4, (h + 1) * x.shape[1] // 4)
            logits = q[:, part] @ k[:, part].T / (x.shape[1] // 4) ** 0.5
            if causal:
                logits = logits + torch.full_like(logits, -torch.inf).triu(1)
            heads.append(logits.softmax(1) @ v[:, part])
        x = x + torch.cat(heads, 1) @ s[f"{at}attn.out_proj.weight"].T + s[f"{at}attn.out_proj.bias"]
        inner = F.gelu(norm(x, s, f"{at}ln_2") @ s[f"{at}mlp.c_fc.weight"].T + s[f"{at}mlp.c_fc.bias"])
        x = x + inner @ s[f"{at}mlp.c_proj.weight"].T + s[f"{at}mlp.c_proj.bias"]
    return x


def open_clip_cosine(s: State, picture: Image.Image, prompt: str) -> float:
    pixels = torch.tensor(prepared(picture, tiny.SIDE), dtype=torch.float32)
    patches = F.conv2d(pixels[None], s["visual.conv1.weight"], stride=8)[0].flatten(1).T
    x = torch.cat([s["visual.class_embedding"][None], patches]) + s["visual.positional_embedding"]
    x = tower(norm(x, s, "visual.ln_pre"), s, "visual.", causal=False)
    image = norm(x[0], s, "visual.ln_post") @ s["visual.proj"]
    tokens = make_tokenizer()(prompt, truncation=True, max_length=16).input_ids
    y = s["token_embedding.weight"][tokens] + s["positional_embedding"][: len(tokens)]
    text = norm(tower(y, s, "", causal=True), s, "ln_final")[-1] @ s["text_projection"]
    return float(F.cosine_similarity(image, text, dim=0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The published files as the hub has them, and the architecture's folder beside them."""
    (tmp_path / "hps").mkdir()
    for name in plan.HPSV2_FILES.values():
        torch.save({"epoch": 3, "state_dict": open_clip_state()}, tmp_path / "hps" / name)
    tiny.write(tmp_path / "base")
    return tmp_path


def settings(folder: Path, **more: object) -> ScoreConfig:
    hashes = [hashlib.sha256(p.read_bytes()).hexdigest() for p in (folder / "hps").glob("*.pt")]
    given = {"hpsv2_model": str(folder / "hps"), "hpsv2_base": str(folder / "base"), "trusted_sha256": hashes}
    return ScoreConfig.model_validate({"metrics": ["hpsv2.1"]} | given | more)


def scored(config: ScoreConfig, pictures: list[Image.Image], prompts: list[str]) -> list[float]:
    ((model, asked),) = plan.models(config).items()
    (values,) = LocalScorer(config, model, asked, prompts).score(pictures, prompts).values()
    return values


def test_open_clips_weights_score_as_open_clip_does(folder: Path) -> None:
    pictures = tiny.pictures()
    prompts = [tiny.PROMPTS[i % len(tiny.PROMPTS)] for i in range(len(pictures))]
    expected = [open_clip_cosine(open_clip_state(), p, t) for p, t in zip(pictures, prompts, strict=True)]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(np.array(scored(settings(folder), pictures, prompts)) / 100, expected, atol=1e-5)


def test_a_converted_folder_scores_the_same(folder: Path) -> None:
    from dedpo.score import clip

    config = settings(folder)
    ((source, _),) = plan.models(config).items()
    model = clip.load(source, torch.device("cpu"), torch.float32, config.trusted_sha256)._model
    model.save_pretrained(folder / "base")
    given = ([tiny.pictures()[0]], [tiny.PROMPTS[0]])
    converted = settings(folder, hpsv2_model=str(folder / "base"), metrics=["hpsv2.0"])
    assert scored(converted, *given) == pytest.approx(scored(config, *given), abs=1e-5)
    both = converted.model_copy(update={"metrics": ["hpsv2.0", "hpsv2.1"]})
    with pytest.raises(UserError, match="one CLIPModel and cannot be hpsv2.0 and hpsv2.1"):
        plan.models(both)


def test_the_two_versions_are_two_models(folder: Path) -> None:
    found = plan.models(settings(folder, metrics=["hpsv2.0", "hpsv2.1"]))
    assert [Path(m.weights).name for m in found] == ["HPS_v2_compressed.pt", "HPS_v2.1_compressed.pt"]
    assert list(found.values()) == [["hpsv2.0"], ["hpsv2.1"]]


def test_an_unknown_checksum_and_other_weights_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^score.hpsv2_model: .*HPS_v2.1_compressed.pt: a pickle whose SHA-256"):
        scored(settings(folder, trusted_sha256=[]), [], ["x"])
    for wrong in ({"visual.bogus": torch.zeros(1)}, {"logit_scale": torch.zeros(3)}, {"logit_scale": torch.zeros(())}):
        torch.save(wrong, folder / "hps" / "HPS_v2.1_compressed.pt")
        with pytest.raises(UserError, match=r"score.hpsv2_model: .*not (open_clip's weights|a whole CLIPModel)"):
            scored(settings(folder), [], ["x"])


def test_a_missing_file_names_the_setting_and_the_remedy(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^score.hpsv2_model: xswu/HPSv2/.*hf download xswu/HPSv2 HPS_v2.1_comp"):
        scored(settings(folder, hpsv2_model="xswu/HPSv2"), [], ["x"])
