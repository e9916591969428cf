"""Whether an annotator looks at the pictures at all: pure functions of its answers.

One that does not (a text model behind a gateway that drops pictures, a model stuck on one letter) answers a pair in
both orders alike, as only the order differs between the two questions. One that looks and leans to a position, however
strongly, does not: what it sees moves its answer when the pictures change places.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

# P(second shown) of one pair in its two orders.
Both = tuple[float, float]

# Logits of a model that does not look are equal up to the noise of half precision and batches.
SAME: Final = 0.15
# Of the pairs. A looking model whose answer moves by a standard deviation of 0.3 when the pictures change places has
# nine tenths of twenty pairs within SAME once in 400,000 runs.
SHARE: Final = 0.9
SOFT_PAIRS: Final = 20
# Letters without probabilities say less: if the order decided as many as four in five of a looking model's pairs,
# thirty in a row would come once in 800 runs.
HARD_PAIRS: Final = 30
# At the end of a run so few pairs do: labels that are all one half teach nothing, whoever gave them.
END_PAIRS: Final = 10
_CLIP: Final = 1e-6


def blindness(answers: Iterable[Both], *, at_end: bool = False, is_known: bool = False) -> str | None:
    """What shows that these answers were given without looking, in words; None: nothing, or they are too few.

    Args:
        is_known: of this annotator: one pair is enough to doubt what it has answered before.
    """
    pairs = list(answers)
    is_hard = all(p in (0.0, 1.0) for both in pairs for p in both)
    least = 1 if is_known else END_PAIRS if at_end else HARD_PAIRS if is_hard else SOFT_PAIRS
    if len(pairs) < least:
        return None
    same = sum(abs(_logit(one) - _logit(other)) <= SAME for one, other in pairs)
    if same < (1.0 if is_hard else SHARE) * len(pairs):
        return None
    first = sum(one < 0.5 for one, _ in pairs)
    letters = f"the first letter for {first} pairs, the second for {len(pairs) - first}"
    return f"in {same} of {len(pairs)} pairs its answer is the same whichever picture is shown first ({letters})"


def _logit(p: float) -> float:
    p = min(max(p, _CLIP), 1 - _CLIP)
    return math.log(p / (1 - p))
