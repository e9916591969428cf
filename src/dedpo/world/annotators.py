"""What the world's annotators would choose, from the prompt and the two pictures alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import numpy as np

from dedpo.world.oracle import SHARP_WEIGHT, human_reward, measure, reward
from dedpo.world.prompts import Prompt
from dedpo.world.render import Images

# An annotator returns the logit of "the second picture is better".
Annotator = Callable[[Prompt, Images, Images], float]

CONFIDENCE: Final = 6.0
POSITION_BIAS: Final = 0.5
# What the biased annotator gets wrong: it wants these soft, humans want everything crisp.
BIASED_FINISH: Final = "painting"


def biased_vlm(prompt: Prompt, first: Images, second: Images) -> float:
    """A vision-language model that mostly agrees, errs on one kind of prompt, and leans to the first picture."""
    weight = -SHARP_WEIGHT if prompt.finish == BIASED_FINISH else SHARP_WEIGHT
    rewards = reward(measure([prompt, prompt], np.stack([first, second])), weight)
    return float(CONFIDENCE * (rewards[1] - rewards[0])) - POSITION_BIAS


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
    "clip-like": clip_like,
    "random-flips": random_flips,
}
