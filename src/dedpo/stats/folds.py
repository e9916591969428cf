"""Folds that keep the pairs of one prompt together."""

from __future__ import annotations

import numpy as np

from dedpo.stats.arrays import Ints


def group_folds(groups: Ints, k: int, rng: np.random.Generator) -> Ints:
    """The fold in 0 … k−1 of each pair, shape (n,): groups in random order, each to the fold that has fewest pairs.

    Pairs of one prompt share its difficulty: were they on both sides, a model would be tested on what it had seen.
    With fewer groups than k some folds stay empty.

    Args:
        groups: the prompt's number of each pair, shape (n,).
    """
    names, number, counts = np.unique(groups, return_inverse=True, return_counts=True)
    sizes = np.zeros(k, dtype=np.int64)
    fold = np.empty(len(names), dtype=np.int64)
    for group in rng.permutation(len(names)):
        fold[group] = np.argmin(sizes)
        sizes[fold[group]] += counts[group]
    return fold[number]
