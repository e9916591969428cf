"""Every arm as a table of two numbers a pair: loss = mean of a·softplus(h) − b·h.

BCE is linear in its target, so each offline method of the paper is a pair of coefficients; a is the mass and
b = a·target. With R = 1 where a human answered (z), r = n/n_l, ĝ the annotator's preference, y = z where R = 1 and ĝ
elsewhere:

    dpo_human             R·r              a·z                       human labels only
    dpo_all_human         1                z                         every human label revealed
    dpo_synthetic         1                y                         pooled imputation
    dpo_synthetic_split   n/n_l or n/n_u   a·y                       eq. (7), the sum of two means
    dedpo                 1                ĝ + R·r·(z − ĝ)           eq. (8) = eq. (11)
    dedpo_tuned           λ + R·r·(1−λ)    λ·ĝ + R·r·(z − λ·ĝ)       power λ (PPI++); λ = 1 is dedpo, λ = 0 dpo_human

`sft` uses dpo_human's table with the denoising loss.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Which tables need an answer of the annotator for every pair.
NEEDS_ANNOTATOR = frozenset({"dpo_synthetic", "dpo_synthetic_split", "dedpo", "dedpo_tuned"})


class Table(NamedTuple):
    """Mass a and linear coefficient b, each of shape (n,)."""

    a: Floats
    b: Floats


def table(arm: str, human: Floats, annotator: Floats, is_labelled: Bools, power: float = 1.0) -> Table:
    """The coefficients of `arm` over n training pairs.

    Args:
        human: z in [0, 1], shape (n,); read where `is_labelled` (everywhere for dpo_all_human).
        annotator: ĝ in [0, 1], shape (n,); ignored by the arms that use human labels alone.
        is_labelled: R, shape (n,), with at least one True.
        power: λ in [0, 1], for dedpo_tuned.
    """
    n, n_labelled = len(is_labelled), int(is_labelled.sum())
    assert 0 < n_labelled <= n
    labelled = is_labelled.astype(float)
    z = np.where(is_labelled, human, 0.0)
    g = annotator
    # R·r: inverse labelling rate. The ratio is the data set's, never a batch's.
    rate = labelled * n / n_labelled
    if arm in ("dpo_human", "sft"):
        return Table(rate, rate * z)
    if arm == "dpo_all_human":
        return Table(np.ones(n), human.copy())
    if arm == "dpo_synthetic":
        return Table(np.ones(n), np.where(is_labelled, z, g))
    if arm == "dpo_synthetic_split":
        a = rate + (1 - labelled) * n / max(n - n_labelled, 1)
        return Table(a, a * np.where(is_labelled, z, g))
    assert arm in ("dedpo", "dedpo_tuned"), arm
    lam = 1.0 if arm == "dedpo" else power
    return Table(lam + rate * (1 - lam), lam * g + rate * (z - lam * g))
