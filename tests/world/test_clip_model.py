"""The shipped tiny CLIP: what it is, that the committed command makes it, and that it tells fit from misfit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from dedpo.contract.sections import ScoreConfig
from dedpo.score import plan
from dedpo.score.local import LocalScorer
from dedpo.world.clip_model import Recipe, build
from dedpo.world.oracle import measure
from dedpo.world.prompts import prompts_of
from dedpo.world.render import render
from tests.fixtures import BASE

CLIP = BASE.parent / "shapes-clip"


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed command's recipe, shortened."""
    out = tmp_path_factory.mktemp("clip") / "shapes-clip"
    build(out, Recipe(steps=2))
    return out


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def shapes(folder: Path) -> dict[str, list[int]]:
    with safe_open(folder / "model.safetensors", "np") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (not a dict)


def test_it_is_small_and_holds_no_pickle() -> None:
    assert sum(p.stat().st_size for p in CLIP.rglob("*") if p.is_file()) <= 700_000
    assert {Path(name).suffix for name in files(CLIP)} == {".json", ".safetensors"}


def test_the_command_rebuilds_the_same_architecture(rebuilt: Path) -> None:
    assert files(rebuilt) == files(CLIP)
    assert shapes(rebuilt) == shapes(CLIP)
    for name in files(CLIP) - {"manifest.json", "manifest.run.json", "model.safetensors"}:
        assert json.loads((rebuilt / name).read_text()) == json.loads((CLIP / name).read_text()), name
    assert json.loads((CLIP / "manifest.json").read_text())["config"] == {"batch": 128, "seed": 0, "steps": 1000}


def test_clipscore_measures_how_a_picture_fits_its_prompt() -> None:
    """On prompts that it was not trained on; ', 8k' is left out, for it cannot be seen."""
    prompts = [p for p in prompts_of("validation") if not p.is_8k]
    images = render(prompts, np.random.default_rng(3))
    config = ScoreConfig(metrics=["clipscore"], clipscore_model=str(CLIP))
    ((model, asked),) = plan.models(config).items()
    texts = [p.text for p in prompts]
    scorer = LocalScorer(config, model, asked, texts)
    pictures = [Image.fromarray(i) for i in images]
    own = np.array(scorer.score(pictures, texts)["clipscore"])
    others = np.array(scorer.score(pictures, texts[5:] + texts[:5])["clipscore"])
    assert own.mean() - others.mean() > 50
    # The renderer's wrong colours cost most of it.
    adherence = measure(prompts, images)["adherence"]
    assert own[adherence < -1.5].mean() < own[adherence > 0].mean() - 25
    assert np.corrcoef(own, adherence)[0, 1] > 0.6
