"""What the next label is worth: n_eff, and what it costs, for other numbers of labels or a better annotator.

All follows from one number, the annotator's help

    κ = max over λ in [0, 1] of (2λ u·v − λ² v²)/u²,    0 ≤ κ ≤ 1,

the share of the human labels' variance that it takes away once it has answered endlessly many pairs: with f = n_l/n,
n_eff = n_l / (1 − (1−f)κ) (stats/power.py). κ = 0 is an annotator without use, κ = 1 one whose answers are as good as
human labels. Arrays of κ, such as a bootstrap's, go through every function at once. Moments are triplets u², v², u·v in
the last axis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dedpo.stats.arrays import Bools, Floats, Ints
from dedpo.stats.bootstrap import resampled

Values = Floats | float


class Prices(NamedTuple):
    """US dollars, each ≥ 0; `annotated` contains `bare`.

    Attributes:
        human: one human label.
        annotated: one more pair with the annotator's answer, drawn and trained on.
        bare: one more pair without that answer.
    """

    human: float
    annotated: float
    bare: float


class Mix(NamedTuple):
    """Numbers of human labels and of pairs, both whole, and the US dollars that lead there from today.

    Attributes:
        humans_only: whether the annotator is not used: then every pair beyond today's has a human label.
    """

    n_labelled: Floats
    n: Floats
    cost: Floats
    humans_only: Bools


def drawn_moments(products: Floats, groups: Ints, draws: int, rng: np.random.Generator) -> Floats:
    """Moments of resampled prompts, shape (draws, 3); none, shape (0, 3), for fewer than two prompts.

    Four pairs join, each a prompt of its own: with residuals of average size, in two of them alike and in two opposed,
    as in power.effective_labels_interval. Resampling pairs that all agree would never show that others may not.

    Args:
        products: u², v² and u·v of each pair, shape (3, n).
        groups: the prompt's number of each pair, shape (n,).
    """
    names, number = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return np.empty((0, 3))
    sums = np.stack([np.bincount(number, weights=row) for row in (*products, np.ones(len(number)))], axis=1)
    uu, vv, _ = products.mean(axis=1)
    prior = [[uu, vv, sign * np.sqrt(uu * vv), 1.0] for sign in (1, 1, -1, -1)]
    totals = np.concatenate(list(resampled(np.concatenate([sums, prior]), draws, rng)))
    return np.asarray(totals[:, :3] / totals[:, 3:])


def help_of(moments: Floats) -> Floats:
    """κ of moments (..., 3), at the best λ in [0, 1]; NaN where the human labels leave no residual."""
    uu, vv, uv = np.moveaxis(moments, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        power = np.clip(np.where(vv > 0, uv / vv, 0.0), 0.0, 1.0)
        kappa = (2 * power * uv - power**2 * vv) / uu
    # Cauchy–Schwarz but for rounding.
    return np.asarray(np.clip(kappa, 0.0, 1.0))


def improved(moments: Floats, share: Values) -> Floats:
    """Moments (..., 3) of an annotator that gives the human's answer with probability `share` and its own otherwise.

    Its accuracy is then (1 − share)·accuracy + share.
    """
    uu, vv, uv = np.moveaxis(moments, -1, 0)
    return np.stack(np.broadcast_arrays(uu, (1 - share) * vv + share * uu, (1 - share) * uv + share * uu), axis=-1)


def worth(kappa: Values, n_labelled: Values, n: Values) -> Floats:
    """n_eff of n_l > 0 human labels among n ≥ n_l pairs, at the best λ."""
    return np.asarray(n_labelled / (1 - (1 - n_labelled / n) * kappa))


def gain(kappa: Values, n_labelled: float, n: float, *, labels: float = 0, pairs: float = 0) -> Floats:
    """How much n_eff grows with so many more human labels, or annotated pairs; labels beyond n come on new pairs."""
    more = n_labelled + labels
    return worth(kappa, more, max(n + pairs, more)) - worth(kappa, n_labelled, n)


def pairs_needed(kappa: Values, target: float, n_labelled: Values, n: float) -> Floats:
    """The least whole number of pairs, at least n and n_l, with which n_l human labels have n_eff ≥ target.

    ∞ where no number will do: n_l ≤ target·(1 − κ).
    """
    without, by_help = target * (1 - kappa), target * kappa
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(n_labelled > without, by_help * n_labelled / (n_labelled - without), np.inf)
    found = np.where(n_labelled >= target, n_labelled, found)
    # A hair less than the quotient: its last bit must not buy one more pair.
    return np.asarray(np.maximum(np.ceil(found * (1 - 1e-12)), np.maximum(n, n_labelled)))


def price_of(n_labelled: Values, n: Values, today: tuple[float, float], prices: Prices) -> Floats:
    """US dollars from `today`, its human labels and pairs, to n_l human labels among n annotated pairs."""
    more_labels, more_pairs = np.maximum(n_labelled - today[0], 0), np.maximum(n - today[1], 0)
    return np.asarray(prices.human * more_labels + prices.annotated * more_pairs)


def humans_alone(target: float, today: tuple[float, float], prices: Prices) -> tuple[float, float, float]:
    """Human labels, pairs and US dollars where n_eff = n_l ≥ target, without an annotator."""
    n_labelled = max(float(np.ceil(target)), today[0])
    n = max(n_labelled, today[1])
    return n_labelled, n, prices.human * (n_labelled - today[0]) + prices.bare * (n - today[1])


def cheapest(kappa: Floats, target: float, today: tuple[float, float], prices: Prices) -> Mix:
    """The cheapest way to n_eff ≥ target for each κ, shape (k,), to within the price of one annotated pair.

    n_l labels need n = target·κ·n_l/(n_l − target·(1 − κ)) pairs, so that the cost is convex in n_l and least at
    n_l = target·(1 − κ) + target·√(κ(1 − κ)·c/p), c and p the prices of a pair and of a label. Bounds: today's labels
    stay, and more labels than today's pairs call for are of no use. The whole numbers beside it are compared.

    Args:
        today: human labels > 0 and pairs that are there already.
        prices: human > 0 and annotated > 0.
    """
    assert prices.human > 0 < prices.annotated
    without, by_help = target * (1 - kappa), target * kappa
    with np.errstate(invalid="ignore", divide="ignore"):
        with_these = np.where(today[1] > by_help, without * today[1] / (today[1] - by_help), np.inf)
    best = without + np.sqrt(without * by_help * prices.annotated / prices.human)
    best = np.maximum(np.minimum(best, np.minimum(with_these, target)), today[0])
    labels = np.stack([np.floor(best), np.floor(best) + 1])
    pairs = pairs_needed(kappa, target, labels, today[1])
    costs = price_of(labels, pairs, today, prices)
    rows, columns = np.argmin(costs, axis=0), np.arange(len(kappa))
    found = [values[rows, columns] for values in (labels, pairs, costs)]
    alone = humans_alone(target, today, prices)
    # Where all is reached today, nothing is needed of either.
    is_alone = (alone[2] <= found[2]) & (alone[2] > 0)
    n_labelled, n, cost = (np.where(is_alone, a, b) for a, b in zip(alone, found, strict=True))
    return Mix(n_labelled, n, cost, is_alone)
