"""A stand-in for the trained policy: what can be learnt from the human labels, by a small model on a pair's features.

λ̂ should be that of a policy near its optimum, and only training gives one. A regularised logistic model on features
of prompt and images, cross-fitted so that no pair is predicted by a model that saw its label, has residuals of the same
kind for nothing. How much that helps is measured in experiments/linear_world.py.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from dedpo.stats.arrays import Floats, Ints
from dedpo.stats.folds import group_folds
from dedpo.stats.logistic import fit, sigmoid

FOLDS: Final = 5
# From nearly no model at all to hardly any shrinkage; features have unit mean square.
RIDGES: Final = (1.0, 3e-1, 1e-1, 3e-2, 1e-2, 1e-3)


class Probe(NamedTuple):
    """What the probe says of each labelled pair, by a fit that did not see its prompt.

    Attributes:
        predicted: σ(h), shape (n_l,).
        weights: ‖∇h‖² = ‖x‖², shape (n_l,).
        loss: mean cross-entropy of `predicted`, in nats; log 2 is a coin's.
        ridge: the chosen one, the least cross-fitted loss.
    """

    predicted: Floats
    weights: Floats
    loss: float
    ridge: float


def cross_fitted(features: Floats, human: Floats, groups: Ints, rng: np.random.Generator) -> Probe:
    """Fit P(image 1 is preferred) = σ(x·θ) without an intercept, so that swapping a pair's images swaps the answer.

    Args:
        features: antisymmetric (image 1 minus image 0, maybe times something of the prompt), shape (n_l, d); scaled
            here to unit mean square, columns of zeros left as they are.
        human: z in [0, 1], shape (n_l,).
        groups: the prompt's number of each pair, shape (n_l,).
    """
    scale = np.sqrt((features**2).mean(axis=0))
    x = features / np.where(scale > 0, scale, 1.0)
    fold = group_folds(groups, FOLDS, rng)
    tried = _predict(x, human, fold)
    losses = [_cross_entropy(human, predicted) for predicted in tried]
    best = int(np.argmin(losses))
    return Probe(tried[best], (x**2).sum(axis=1), losses[best], RIDGES[best])


def _predict(x: Floats, human: Floats, fold: Ints) -> Floats:
    """The held-out predictions under each of `RIDGES`, shape (len(RIDGES), n_l)."""
    predicted = np.full((len(RIDGES), len(x)), 0.5)
    for k in np.unique(fold):
        held_out = fold == k
        rest, choices = x[~held_out], human[~held_out]
        theta = np.zeros(x.shape[1])
        for i, ridge in enumerate(RIDGES if len(rest) else ()):
            # Each fit starts where the one with more shrinkage ended.
            theta = fit(rest, np.ones(len(rest)), choices, ridge, theta).theta
            predicted[i, held_out] = sigmoid(x[held_out] @ theta)
    return predicted


def _cross_entropy(human: Floats, predicted: Floats) -> float:
    p = np.clip(predicted, 1e-12, 1 - 1e-12)
    return float(-(human * np.log(p) + (1 - human) * np.log1p(-p)).mean())
