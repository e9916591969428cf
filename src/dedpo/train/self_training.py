"""Self-training, eq. (12) of DeDPO: the policy annotates the pairs that it is trained on.

The targets hold human labels alone, a = R·r and b = R·r·z with zero rows kept; ĝ exists only while training, and `fill`
adds what it says. ĝ = σ(h) comes from a fresh draw of (t, ε) for the policy as it is now (`synthetic`), or from what
the pair's last visit left behind (`Memory`). Both have seen the labels that are to correct them; the ĝ of
sample_splitting.py has not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dedpo.train.objective import logit

# Visits from here on are draws for ĝ: no training run reaches them, so the two never share (t, ε).
FRESH = 1 << 32

# So near to ½, ĝ is not rounded. Before the first step h is 0 but for round-off, whose sign must not become a label.
UNDECIDED = 1e-3

Errors = Callable[[Sequence[str], Sequence[int]], tuple[Tensor, Tensor]]


def fill(a: Tensor, b: Tensor, synthetic: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """(a, b) + m·(1 − a)·(1, round ĝ), with m = 1 where max(ĝ, 1 − ĝ) ≥ threshold and 0 elsewhere.

    That is the mean of m·ℓ(h, round ĝ) over all pairs and of ℓ(h, z) − m·ℓ(h, round ĝ) over the labelled ones: with the
    mask in the imputation and in its correction, the two still cancel in expectation. A ĝ of ½, as every ĝ is at first,
    is not rounded: it says nothing, and at threshold 0 gives an unlabelled pair the row (1, ½), which holds h near 0.

    Args:
        a, b: the human labels' table, R·r and R·r·z; shape (batch,).
        synthetic: ĝ in [0, 1], shape (batch,), without gradient.
        threshold: in [0, 1); up to ½ every pair counts.
    """
    lean = synthetic - 0.5
    hard = torch.where(lean.abs() < UNDECIDED, 0.5, 0.5 + 0.5 * torch.sign(lean))
    mass = (torch.maximum(synthetic, 1 - synthetic) >= threshold) * (1 - a)
    return a + mass, b + mass * hard


@torch.no_grad()
def synthetic(errors: Errors, pair_ids: Sequence[str], visits: Sequence[int], beta: float) -> Tensor:
    """ĝ = σ(h) of the policy as it is now, at another (t, ε) than these visits have; shape (batch,).

    Args:
        errors: policy and reference errors, each (2, batch), of pairs at visits. It is asked for visits from FRESH on,
            which are nobody else's: there is nothing to share.
    """
    policy_error, reference_error = errors(pair_ids, [visit + FRESH for visit in visits])
    return torch.sigmoid(logit(policy_error, reference_error, beta))


class Memory:
    """σ(h) of each pair's last visit, ½ before the first; part of the checkpoint.

    Attributes:
        values: float32 (n,), by row of the training set.
    """

    def __init__(self, n: int) -> None:
        self.values = np.full(n, 0.5, dtype=np.float32)

    def recall(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """ĝ of these rows, shape (batch,)."""
        return self.values[rows]

    def remember(self, rows: NDArray[np.int64], h: NDArray[np.float32]) -> None:
        """Take in the logits of a whole step, all ranks' and in the batch's order, once the step is over.

        A row that the batch holds twice keeps the later one; a logit that is not finite is passed over.
        """
        finite = np.isfinite(h)
        # Not 1 / (1 + exp(−h)), which overflows.
        self.values[rows[finite]] = 0.5 + 0.5 * np.tanh(0.5 * h[finite])
