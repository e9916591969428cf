"""What can be measured on the world's pixels, and the human taste made of it.

Humans and annotators are functions of (prompt, pixels) and of nothing else, so the servers need no hidden state.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from dedpo.world.prompts import Prompt, every_prompt
from dedpo.world.render import RGB, SIZE, Floats, Images, paled, render

MEASURES = ("sharp", "adherence", "chroma", "bright")
CALIBRATION_RENDERS = 4096
# People like edges this crisp, in standard deviations; softer and harder are both worse, up to LIMIT away.
CRISP = 0.5
CRISP_WEIGHT = 0.5
CRISP_LIMIT = 2.0
# σ(DECISIVENESS · Δreward) is the chance that a human picks the better picture.
DECISIVENESS = 6.0
# Where two pictures are as good as each other to this much, a human calls it a tie.
INDIFFERENCE = 0.05


def _raw_measures(prompts: Sequence[Prompt], images: Images, saturation: float = 1.0) -> dict[str, Floats]:
    """Each measure before z-scoring, shape (n,); images uint8 (n, 16, 16, 3)."""
    pixels = images.astype(float) / 255
    middle = slice(SIZE // 2 - 2, SIZE // 2 + 2)
    foreground = pixels[:, middle, middle].mean(axis=(1, 2))
    ring = np.ones((SIZE, SIZE), dtype=bool)
    ring[1:-1, 1:-1] = False
    border = pixels[:, ring].mean(axis=1)

    across = np.diff(pixels, axis=2)[:, :-1]
    down = np.diff(pixels, axis=1)[:, :, :-1]
    gradient = np.sqrt((across**2).sum(-1) + (down**2).sum(-1)).reshape(len(pixels), -1)
    steepest = np.sort(gradient, axis=1)[:, -20:].mean(axis=1)
    contrast = np.linalg.norm(foreground - border, axis=1)

    asked = paled(np.array([RGB[p.colour] for p in prompts]), saturation)
    ground = np.array([RGB[p.background] for p in prompts])
    return {
        "sharp": steepest / (contrast + 0.15),
        "adherence": -np.linalg.norm(foreground - asked, axis=1) - 0.5 * np.linalg.norm(border - ground, axis=1),
        "chroma": foreground.max(axis=1) - foreground.min(axis=1),
        "bright": pixels.mean(axis=(1, 2, 3)),
    }


@functools.cache
def _calibration() -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each raw measure over fresh renders of random prompts."""
    rng = np.random.default_rng(0)
    prompts = [every_prompt()[i] for i in rng.integers(0, len(every_prompt()), CALIBRATION_RENDERS)]
    raw = _raw_measures(prompts, render(prompts, rng))
    return {name: (float(v.mean()), float(v.std())) for name, v in raw.items()}


def measure(prompts: Sequence[Prompt], images: Images, saturation: float = 1.0) -> dict[str, Floats]:
    """Sharpness, prompt adherence, chroma and brightness in standard deviations, clamped to ±3.

    Args:
        images: uint8, shape (len(prompts), 16, 16, 3).
        saturation: adherence is to the asked colour of this saturation, 1 for the colour itself.

    Returns:
        each of `MEASURES`, shape (len(prompts),).
    """
    raw = _raw_measures(prompts, images, saturation)
    return {name: np.clip((raw[name] - mean) / sd, -3, 3) for name, (mean, sd) in _calibration().items()}


def reward(prompts: Sequence[Prompt], images: Images, saturation: float = 1.0) -> Floats:
    """How much whoever expects colours of this saturation likes each picture; shape (n,).

    The colours that were asked for, and edges that are crisp but not hard. The taste has a peak: moving ever further in
    one direction does not pay, so that the number of labels limits what can be learnt.
    """
    found = measure(prompts, images, saturation)
    off = np.minimum(np.abs(found["sharp"] - CRISP), CRISP_LIMIT)
    return np.clip(found["adherence"], -3, 1) - CRISP_WEIGHT * off


def human_reward(prompts: Sequence[Prompt], images: Images) -> Floats:
    """How much humans like each picture, who expect the colours themselves; shape (n,)."""
    return reward(prompts, images)


def human_preferences(
    prompts: Sequence[Prompt], images_0: Images, images_1: Images, rng: np.random.Generator
) -> Floats:
    """One human's choice a pair: 0, ½ (a tie, where the two are as good) or 1; shape (n,)."""
    gain = human_reward(prompts, images_1) - human_reward(prompts, images_0)
    chance = 1 / (1 + np.exp(-DECISIVENESS * gain))
    choice = (rng.random(len(gain)) < chance).astype(float)
    return np.where(np.abs(gain) < INDIFFERENCE, 0.5, choice)
