"""How much each property of an image weighs in a choice: least squares with errors clustered by prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dedpo.stats.arrays import Floats, Ints


@dataclass(frozen=True)
class Weights:
    """What one standard deviation more of each property does, the other properties held fixed; each shape (k,).

    Attributes:
        human, annotator: change of the choice in [−½, ½]; the annotator's with its 95 % interval `annotator_low` to
            `annotator_high`.
        difference: annotator − human, with its 95 % interval `low` to `high` and two-sided `p`.
    """

    human: Floats
    annotator: Floats
    annotator_low: Floats
    annotator_high: Floats
    difference: Floats
    low: Floats
    high: Floats
    p: Floats


def weights(differences: Floats, human: Floats, annotator: Floats, groups: Ints) -> Weights | None:
    """Regress both choices, and by that their signed disagreement, on the properties' differences.

    The linear probability model makes the weight of the disagreement exactly the difference of the two weights, and
    CR1 errors (Liang & Zeger 1986; Cameron & Miller 2015) with n_prompts − 1 degrees of freedom let pairs of one
    prompt be alike.

    Args:
        differences: image 1 minus image 0, every column of mean square 1 or so, no NaN; shape (n, k).
        human, annotator: choices 0, ½ or 1, shape (n,).
        groups: the prompt's number of each pair, shape (n,).

    Returns:
        None if there are too few prompts (k + 2 or fewer) or the columns depend on one another.
    """
    n, k = differences.shape
    design = np.column_stack([differences, np.ones(n)])
    _, number = np.unique(groups, return_inverse=True)
    clusters = int(number.max()) + 1 if n else 0
    if clusters <= k + 2 or np.linalg.matrix_rank(design) < k + 1:
        return None
    bread = np.linalg.inv(design.T @ design)
    choices = np.stack([human, annotator, annotator - human], axis=1)
    found = bread @ design.T @ choices
    errors = [_clustered(design, y - design @ b, number, bread)[:k] for y, b in zip(choices.T, found.T, strict=True)]
    return _weights(found[:k], np.stack(errors, axis=1), clusters - 1)


def _clustered(design: Floats, residual: Floats, number: Ints, bread: Floats) -> Floats:
    """CR1 standard error of each coefficient, shape (k + 1,)."""
    (n, columns), clusters = design.shape, int(number.max()) + 1
    scores = np.zeros((clusters, columns))
    np.add.at(scores, number, design * residual[:, None])
    meat = scores.T @ scores * clusters / (clusters - 1) * (n - 1) / (n - columns)
    return np.asarray(np.sqrt(np.diag(bread @ meat @ bread)))


def _weights(found: Floats, errors: Floats, degrees: int) -> Weights:
    """From coefficients and errors of human, annotator and difference, shape (k, 3)."""
    from scipy.stats import t  # scipy takes 0.3 s to import, and only reports need it

    human, annotator, difference = found.T
    _, own, error = float(t.ppf(0.975, degrees)) * errors.T
    # With an error of 0 any difference at all is certain, and none is none.
    certain = np.where(np.abs(difference) > 1e-12, np.inf, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(errors[:, 2] > 0, np.abs(difference) / errors[:, 2], certain)
    p = np.asarray(2 * t.sf(ratio, degrees))
    return Weights(
        human, annotator, annotator - own, annotator + own, difference, difference - error, difference + error, p
    )
