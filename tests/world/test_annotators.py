from __future__ import annotations

import numpy as np
import pytest

from dedpo.world import oracle, prompts
from dedpo.world.annotators import ANNOTATORS
from dedpo.world.render import Images, render

N = 1500


@pytest.fixture(scope="module")
def pairs() -> tuple[list[prompts.Prompt], Images, Images]:
    rng = np.random.default_rng(11)
    asked = [prompts.every_prompt()[i] for i in rng.integers(0, 576, N)]
    return asked, render(asked, rng), render(asked, rng)


def logits(name: str, asked: list[prompts.Prompt], first: Images, second: Images) -> np.ndarray:
    return np.array([ANNOTATORS[name](p, x, y) for p, x, y in zip(asked, first, second, strict=True)])


def agreement(name: str, pairs: tuple[list[prompts.Prompt], Images, Images]) -> float:
    """Share of fresh human choices (ties left out) that the annotator, asked in both orders, shares."""
    asked, x, y = pairs
    human = oracle.human_preferences(asked, x, y, np.random.default_rng(12))
    said = logits(name, asked, x, y) - logits(name, asked, y, x) > 0
    return float((said == (human == 1))[human != 0.5].mean())


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("biased-vlm", 0.82, 0.89),
        ("strong-vlm", 0.9, 0.94),
        ("adversarial", 0.36, 0.45),
        ("clip-like", 0.4, 0.6),
        ("random-flips", 0.72, 0.86),
    ],
)
def test_agreement_with_humans(
    name: str, low: float, high: float, pairs: tuple[list[prompts.Prompt], Images, Images]
) -> None:
    assert low < agreement(name, pairs) < high


@pytest.mark.parametrize("name", ["clip-like", "random-flips", "adversarial"])
def test_annotators_without_position_bias_only_change_sign(
    name: str, pairs: tuple[list[prompts.Prompt], Images, Images]
) -> None:
    asked, x, y = pairs
    np.testing.assert_allclose(logits(name, asked, x, y), -logits(name, asked, y, x), atol=1e-12)


def test_the_biased_one_prefers_paler_paintings_and_people_fuller_ones(
    pairs: tuple[list[prompts.Prompt], Images, Images],
) -> None:
    asked, x, y = pairs
    is_painting = np.array([p.finish == "painting" for p in asked])
    fuller = oracle.measure(asked, y)["chroma"] > oracle.measure(asked, x)["chroma"]
    said = logits("biased-vlm", asked, x, y) - logits("biased-vlm", asked, y, x) > 0
    human = oracle.human_reward(asked, y) > oracle.human_reward(asked, x)
    assert (said == fuller)[is_painting].mean() < 0.5 < (human == fuller)[is_painting].mean() - 0.1


def test_the_biased_one_leans_to_the_first_picture(pairs: tuple[list[prompts.Prompt], Images, Images]) -> None:
    asked, x, y = pairs
    lean = (logits("biased-vlm", asked, x, y) + logits("biased-vlm", asked, y, x)) / 2
    assert (lean < 0).all()


def test_the_flipped_answers_are_the_same_ones_at_every_asking(
    pairs: tuple[list[prompts.Prompt], Images, Images],
) -> None:
    assert (logits("random-flips", *pairs) == logits("random-flips", *pairs)).all()


def test_the_biased_one_errs_on_paintings_alone(pairs: tuple[list[prompts.Prompt], Images, Images]) -> None:
    asked, x, y = pairs
    is_painting = np.array([p.finish == "painting" for p in asked])
    shares = [
        agreement("biased-vlm", ([p for p, k in zip(asked, keep, strict=True) if k], x[keep], y[keep]))
        for keep in (is_painting, ~is_painting)
    ]
    assert shares[0] < 0.65
    assert shares[1] > 0.9
