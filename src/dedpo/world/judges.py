"""How the world's judge compares two pictures, from the prompt and the pixels alone."""

from __future__ import annotations

from typing import Final

import numpy as np

from dedpo.contract.criteria import ALIGNMENT, APPEAL, OVERALL
from dedpo.world.oracle import human_reward, measure
from dedpo.world.prompts import Prompt
from dedpo.world.render import Images

JUDGES: Final = ("shapes-judge",)
# Closer than this, in the oracle's units (rewards differ by about 1.5 between two renders), it says tie.
CLOSE: Final = 0.25


def compare(prompt: Prompt, first: Images, second: Images) -> dict[str, float]:
    """How much better the second picture is by each criterion, 0 in a tie.

    general_preference is the human reward, prompt_alignment its adherence part, and visual_appeal the rest: how near to
    what people like its edges are.

    Args:
        first, second: uint8, shape (16, 16, 3).
    """
    asked, shown = [prompt, prompt], np.stack([first, second])
    liked = human_reward(asked, shown)
    alignment = np.clip(measure(asked, shown)["adherence"], -3, 1)
    by_criterion = {
        OVERALL: liked,
        APPEAL: liked - alignment,
        ALIGNMENT: alignment,
    }
    gains = {criterion: float(second - first) for criterion, (first, second) in by_criterion.items()}
    return {criterion: gain if abs(gain) >= CLOSE else 0.0 for criterion, gain in gains.items()}
