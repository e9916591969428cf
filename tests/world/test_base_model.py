"""The shipped base model: what it is, that the committed command makes it, and that it draws what it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dedpo.contract.sections import SampleConfig
from dedpo.sample import sampler
from dedpo.world.base_model import Recipe, build, make_tokenizer
from dedpo.world.oracle import measure
from dedpo.world.prompts import every_prompt, parse, prompts_of
from tests.fixtures import BASE


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed command's recipe, shortened."""
    out = tmp_path_factory.mktemp("base") / "shapes-sd"
    build(out, Recipe(vae_steps=2, unet_steps=2))
    return out


def _files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_it_is_small_and_holds_no_pickle() -> None:
    assert sum(p.stat().st_size for p in BASE.rglob("*")) <= 3 * 2**20
    assert {Path(name).suffix for name in _files(BASE)} == {".json", ".safetensors"}


def test_the_command_rebuilds_the_same_architecture(rebuilt: Path) -> None:
    assert _files(rebuilt) == _files(BASE)
    for part in ("unet", "vae", "text_encoder", "scheduler", "tokenizer"):
        for file in (BASE / part).glob("*.json"):
            shipped, made = json.loads(file.read_text()), json.loads((rebuilt / part / file.name).read_text())
            # The latents' scale is measured on the autoencoder, which two steps have not trained.
            shipped.pop("scaling_factor", None), made.pop("scaling_factor", None)
            assert made == shipped, file


def test_the_tokenizer_makes_one_token_of_each_word() -> None:
    tokenizer = make_tokenizer()
    words = {w for p in every_prompt() for w in p.text.split()} - {"8k"}
    for word in words:
        start, *middle, end = tokenizer(word).input_ids
        assert len(middle) == 1, word
        assert (start, end) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert max(len(tokenizer(p.text).input_ids) for p in every_prompt()) <= tokenizer.model_max_length


def test_it_draws_the_prompt() -> None:
    """Pictures fit their own prompts much better than each other's."""
    prompts = prompts_of("validation")[:40]
    config = SampleConfig(steps=12, guidance=2.0, batch_size=40)
    pipeline = sampler.load(str(BASE), "base", torch.device("cpu"))
    pictures = np.stack(list(sampler.sample(pipeline, [sampler.Request(p.text, 0) for p in prompts], config, 16)))
    own = measure(prompts, pictures)["adherence"].mean()
    others = measure(prompts[7:] + prompts[:7], pictures)["adherence"].mean()
    assert own > -0.5
    assert own - others > 1.0


def test_prompts_survive_the_way_through_text() -> None:
    for prompt in every_prompt():
        assert parse(f'Which picture shows "{prompt.text}" better?') == prompt
    assert len({p.text for p in every_prompt()}) == 576
    sizes = [len(prompts_of(split)) for split in ("train", "validation", "test")]
    assert sum(sizes) == 576
    assert min(sizes) > 90
