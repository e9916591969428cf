"""What the world's annotators would choose, from the prompt and the two pictures alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import numpy as np

from dedpo.world.oracle import human_reward, measure, reward
from dedpo.world.prompts import Prompt
from dedpo.world.render import Images

# An annotator returns the logit of "the second picture is better".
Annotator = Callable[[Prompt, Images, Images], float]

CONFIDENCE: Final = 6.0
POSITION_BIAS: Final = 0.5
# What the biased annotators get wrong: they expect these to be pale, people want the colours that were asked for.
BIASED_FINISH: Final = "painting"
# The saturation that each expects there.
PALE: Final = 0.5
SLIGHTLY_PALE: Final = 0.8
# What the adversarial one expects of every picture.
GREYISH: Final = 0.15


def biased_vlm(prompt: Prompt, first: Images, second: Images) -> float:
    """A vision-language model that mostly agrees (85 %), errs on one kind of prompt, and leans to the first picture."""
    return _expecting(PALE, prompt, first, second)


def strong_vlm(prompt: Prompt, first: Images, second: Images) -> float:
    """One with a slighter error of the same kind: it agrees on 92 % of the pairs, people with themselves on 93 %."""
    return _expecting(SLIGHTLY_PALE, prompt, first, second)


def _expecting(saturation: float, prompt: Prompt, first: Images, second: Images) -> float:
    expected = saturation if prompt.finish == BIASED_FINISH else 1.0
    liked = reward([prompt, prompt], np.stack([first, second]), expected)
    return float(CONFIDENCE * (liked[1] - liked[0])) - POSITION_BIAS


def adversarial(prompt: Prompt, first: Images, second: Images) -> float:
    """Expects greyish pictures everywhere and cares for nothing else: it agrees on 40 %, worse than a coin."""
    fits = measure([prompt, prompt], np.stack([first, second]), GREYISH)["adherence"]
    return float(CONFIDENCE * (fits[1] - fits[0]))


def clip_like(prompt: Prompt, first: Images, second: Images) -> float:
    """Prefers the brighter picture: unrelated to taste, about as good as a coin."""
    bright = measure([prompt, prompt], np.stack([first, second]))["bright"]
    return float(CONFIDENCE * (bright[1] - bright[0]))


def random_flips(prompt: Prompt, first: Images, second: Images) -> float:
    """A human's taste with one answer in five turned round, the same ones at every asking, whatever the order shown."""
    rewards = human_reward([prompt, prompt], np.stack([first, second]))
    pair = sorted([first.tobytes(), second.tobytes()])
    is_flipped = hashlib.sha256(b"".join(pair)).digest()[0] < 0.2 * 256
    return float(CONFIDENCE * (rewards[1] - rewards[0])) * (-1 if is_flipped else 1)


ANNOTATORS: Final[dict[str, Annotator]] = {
    "biased-vlm": biased_vlm,
    "strong-vlm": strong_vlm,
    "adversarial": adversarial,
    "clip-like": clip_like,
    "random-flips": random_flips,
}
