"""Several annotators as one: the mixture that leaves the gradient the least variance.

PPI++ (arXiv 2311.01453) with a vector λ in place of the number: with u = σ(h) − z and v_k = σ(h) − ĝ_k, Σ w (u − Σ_k
λ_k v_k)² is what remains of the human residual after correction, and its minimum over λ ≥ 0 weighs each annotator by
what it says beyond the others. The shares λ_k / Σλ make it one synthetic preference; its own power is tuned as ever.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from dedpo.stats.arrays import Bools, Floats, Ints
from dedpo.stats.folds import group_folds

_RIDGE: Final = 1e-6
_TOLERANCE: Final = 1e-12


class Combined(NamedTuple):
    """One synthetic preference for each pair, shape (n,), and each annotator's share in it, shape (k,), adding to 1."""

    preference: Floats
    shares: Floats


def combined(
    annotations: Floats,
    human: Floats,
    is_labelled: Bools,
    groups: Ints,
    rng: np.random.Generator,
    predicted: Floats | None = None,
    weights: Floats | None = None,
    folds: int = 5,
) -> Combined:
    """Σ_k s_k ĝ_k with cross-fitted shares s: a labelled pair's come from the folds without its group.

    An unlabelled pair's are the mean over folds, each weighted by the labelled pairs that it serves, as are the
    returned ones (cross-prediction, Zrnic & Candès 2024). Shares are equal where nothing is known of any annotator's
    worth. An annotator without an answer on a pair counts there as without a residual in the fit, and the others'
    shares are scaled up in the result.

    Args:
        annotations: ĝ_k in [0, 1], NaN where an annotator gave none; shape (n, k). A row of NaN stays NaN.
        human: z in [0, 1], read where `is_labelled`; shape (n,).
        is_labelled: R, shape (n,).
        groups: the prompt's number of each pair, shape (n,).
        predicted: σ(h) of each pair in (0, 1), read where `is_labelled`, shape (n,); None: ½, the reference.
        weights: squared gradient norms ‖∇h‖² up to a factor, ≥ 0, read where `is_labelled`, shape (n,); None: alike.

    Raises:
        ValueError: there is no annotator, or no labelled pair.
    """
    n, k = annotations.shape
    n_labelled = int(is_labelled.sum())
    if k == 0 or n_labelled == 0:
        raise ValueError(f"need an annotator and a labelled pair, got {k} annotators and {n_labelled} labelled pairs")
    if k == 1:
        return Combined(annotations[:, 0].copy(), np.ones(1))
    p = np.full(n_labelled, 0.5) if predicted is None else predicted[is_labelled]
    w = np.ones(n_labelled) if weights is None else weights[is_labelled]
    root = np.sqrt(w)
    u = root * (p - human[is_labelled])
    v = root[:, None] * np.nan_to_num(p[:, None] - annotations[is_labelled], nan=0.0)
    fold = group_folds(groups[is_labelled], folds, rng)
    own = np.empty((n_labelled, k))
    for i in np.unique(fold):
        rest = fold != i
        own[~rest] = _shares(v[rest], u[rest])
    shares = own.mean(axis=0)
    of_pair = np.tile(shares, (n, 1))
    of_pair[is_labelled] = own
    return Combined(_mixed(annotations, of_pair), shares)


def _shares(design: Floats, target: Floats) -> Floats:
    """λ_k / Σλ, shape (k,), of the λ ≥ 0 that minimises ‖u − Vλ‖²; equal shares if no annotator is worth anything.

    A ridge of 10⁻⁶ of V's mean squared column makes λ unique, and equal for equal columns.

    Args:
        design: V, shape (m, k).
        target: u, shape (m,).
    """
    from scipy.optimize import nnls  # scipy takes 0.3 s to import, and one annotator needs none of it

    k, squares = design.shape[1], (design**2).sum(axis=0)
    ridge = np.sqrt(_RIDGE * squares.mean()) * np.eye(k)
    found, _ = nnls(np.concatenate([design, ridge]), np.append(target, np.zeros(k)))
    # The rounding of a sum whose true value is 0 must not count as agreement.
    found[found * np.sqrt(squares) <= _TOLERANCE * np.sqrt(target @ target)] = 0.0
    total = float(found.sum())
    return found / total if total > 0 else np.full(k, 1 / k)


def _mixed(annotations: Floats, shares: Floats) -> Floats:
    """Σ s_k ĝ_k over the annotators that answered, shape (n,).

    Where only annotators with a share of 0 did, they are taken alike.
    """
    answered = ~np.isnan(annotations)
    parts = np.where(answered, shares, 0.0)
    parts = np.where(parts.sum(axis=1, keepdims=True) > 0, parts, answered)
    totals = parts.sum(axis=1)
    sums = (parts * np.nan_to_num(annotations, nan=0.0)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.clip(sums / totals, 0.0, 1.0))
