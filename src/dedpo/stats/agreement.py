"""How often an annotator and people choose alike, and how much alike people are among themselves.

A preference p = P(image 1 is better) in [0, 1] is one of three choices: image 0 (p < ½), a tie (p = ½), image 1
(p > ½). Two choices agree if they are the same one, so a tie agrees with a tie and with nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from dedpo.stats.arrays import Floats, Ints
from dedpo.stats.bootstrap import percentiles, resampled
from dedpo.stats.intervals import Interval, wilson

CHOICES: Final = 3
# A mean of several ratings, such as (0.2 + 0.8) / 2, may miss ½ in the last bit.
_TIE: Final = 1e-9


def choices(preferences: Floats) -> Ints:
    """0, 1 (a tie) or 2 for each preference in [0, 1], shape (n,)."""
    return np.asarray(1 + np.sign(np.where(np.abs(preferences - 0.5) < _TIE, 0.0, preferences - 0.5)), dtype=np.int64)


def count_votes(rows: Ints, preferences: Floats, n: int) -> Floats:
    """How many raters made each choice of each of n pairs, shape (n, 3).

    Args:
        rows: the pair of each vote, shape (m,).
        preferences: the votes, NaN for none, shape (m,).
    """
    known = ~np.isnan(preferences)
    cells = CHOICES * rows[known] + choices(preferences[known])
    return np.bincount(cells, minlength=CHOICES * n).reshape(n, CHOICES).astype(np.float64)


def confusion(human: Floats, annotator: Floats, groups: Ints) -> Floats:
    """Counts of (human choice, annotator choice) within each group, shape (max(groups) + 1, 3, 3).

    Args:
        human, annotator: preferences in [0, 1] without NaN, shape (n,).
        groups: the prompt's number, from 0, of each pair, shape (n,).
    """
    cell = CHOICES * choices(human) + choices(annotator)
    n_groups = int(groups.max()) + 1 if len(groups) else 0
    counts = np.bincount(groups * CHOICES**2 + cell, minlength=n_groups * CHOICES**2)
    return counts.reshape(n_groups, CHOICES, CHOICES).astype(np.float64)


def share(tables: Floats) -> Floats:
    """Agreement of confusion tables (..., 3, 3); NaN for an empty one."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.trace(tables, axis1=-2, axis2=-1) / tables.sum(axis=(-2, -1)))


def kappa(tables: Floats) -> Floats:
    """Cohen's κ = (p_o − p_e) / (1 − p_e) of confusion tables (..., 3, 3) (Cohen 1960).

    NaN where chance alone would always agree (both made one and the same choice throughout) or the table is empty.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p = tables / tables.sum(axis=(-2, -1), keepdims=True)
        expected = (p.sum(axis=-1) * p.sum(axis=-2)).sum(axis=-1)
        chance = np.where(expected > 1 - _TIE, np.nan, expected)
        return np.asarray((np.trace(p, axis1=-2, axis2=-1) - chance) / (1 - chance))


@dataclass(frozen=True)
class Agreement:
    """One annotator against people.

    Attributes:
        wilson: the agreement with the interval that takes pairs as independent.
        clustered: the same with a bootstrap over prompts; no bounds for a single prompt.
        kappa: Cohen's κ with a bootstrap over prompts.
        decided: the agreement where neither side ties, Wilson's interval.
        n, n_decided, n_prompts: counts.
    """

    wilson: Interval
    clustered: Interval
    kappa: Interval
    decided: Interval
    n: int
    n_decided: int
    n_prompts: int

    @property
    def outer(self) -> Interval:
        """The value with the wider bound of the two on either side.

        A bootstrap collapses where all pairs agree, Wilson's interval is too short where a prompt's pairs are alike.
        """
        if not np.isfinite(self.clustered.low):
            return self.wilson
        low, high = min(self.wilson.low, self.clustered.low), max(self.wilson.high, self.clustered.high)
        return Interval(self.wilson.value, low, high)


def agreement(human: Floats, annotator: Floats, groups: Ints, *, bootstrap: int, rng: np.random.Generator) -> Agreement:
    """Compare preferences in [0, 1] without NaN, shape (n,); `groups` numbers the prompts from 0 without gaps.

    Every value is NaN for n = 0.
    """
    tables = confusion(human, annotator, groups)
    total = tables.sum(axis=0) if len(tables) else np.zeros((CHOICES, CHOICES))
    drawn = np.concatenate([np.empty((0, CHOICES, CHOICES)), *resampled(tables, bootstrap, rng)])
    corners = total[::2, ::2]
    n, n_decided = int(total.sum()), int(corners.sum())
    return Agreement(
        wilson=wilson(float(np.trace(total)), n),
        clustered=percentiles(float(share(total)), share(drawn)),
        kappa=percentiles(float(kappa(total)), kappa(drawn)),
        decided=wilson(float(np.trace(corners)), n_decided),
        n=n,
        n_decided=n_decided,
        n_prompts=len(tables),
    )


# Preferences that are the other way round agree 1 − a. Whoever is worth asking agrees on 0.6 and more of what both
# decide, and chance on 0.5; below 0.4 neither explains it.
REVERSED: Final = 0.4


def is_reversed(same: float, decided: int, among: int = 1) -> bool:
    """Whether two sides agree so rarely that one of them may be the other way round: the interval's end is below 0.4.

    Args:
        same: on how many they make the same choice, of the `decided` ones on which neither ties.
        among: how many are looked at; above ten the interval widens as by Bonferroni, for one of a crowd is always
            unlucky.
    """
    z = NormalDist().inv_cdf(1 - 0.025 / max(1, among / 10))
    return decided > 0 and wilson(same, decided, z).high < REVERSED


def against_others(rows: Ints, raters: Ints, preferences: Floats) -> tuple[Ints, Ints]:
    """How often each rater sides with the majority of a pair's other raters, and of how many such pairs.

    Pairs on which the rater or the others tie do not count.

    Args:
        rows: the pair of each rating, shape (m,).
        raters: its rater's number, from 0, shape (m,).
        preferences: in [0, 1], NaN for none, shape (m,).

    Returns:
        same, decided: shape (raters.max() + 1,) each.
    """
    known = ~np.isnan(preferences)
    sides = np.zeros(len(preferences))
    sides[known] = choices(preferences[known]) - 1
    n = int(raters.max()) + 1 if len(raters) else 0
    others = np.bincount(rows, weights=sides)[rows] - sides if len(rows) else sides
    alike = np.sign(others) * sides
    same = np.bincount(raters, weights=alike > 0, minlength=n)
    decided = np.bincount(raters, weights=alike != 0, minlength=n)
    return same.astype(np.int64), decided.astype(np.int64)


@dataclass(frozen=True)
class Ceiling:
    """How much alike people are.

    Attributes:
        share: agreement of two of a pair's raters, over all pairs of raters; bootstrap over prompts.
        fleiss: Fleiss' κ, NaN where everyone always made the same choice.
        one_human: agreement of the annotator with one rater, the number to hold against `share`.
        n_pairs: pairs with two or more raters.
        n_rater_pairs: pairs of raters on them.
    """

    share: Interval
    fleiss: float
    one_human: float
    n_pairs: int
    n_rater_pairs: int


def ceiling(votes: Floats, annotator: Floats, groups: Ints, *, bootstrap: int, rng: np.random.Generator) -> Ceiling:
    """The agreement that an annotator as good as one more person would reach (Fleiss 1971).

    Args:
        votes: how many raters made each choice, shape (n, 3).
        annotator: preferences, NaN where it gave none, shape (n,).
        groups: the prompt's number of each pair, shape (n,).
    """
    raters = votes.sum(axis=1)
    rater_pairs = raters * (raters - 1) / 2
    alike = (votes * (votes - 1) / 2).sum(axis=1)
    by_group = np.stack([_summed(alike, groups), _summed(rater_pairs, groups)], axis=1)
    drawn = np.concatenate([np.empty((0, 2)), *resampled(by_group, bootstrap, rng)])
    several = raters >= 2
    both = several & ~np.isnan(annotator)
    same = votes[both, choices(annotator[both])]
    value = _ratio(alike.sum(), rater_pairs.sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        return Ceiling(
            share=percentiles(value, drawn[:, 0] / drawn[:, 1]),
            fleiss=_fleiss(value, votes[several]),
            one_human=_ratio(same.sum(), raters[both].sum()),
            n_pairs=int(several.sum()),
            n_rater_pairs=int(rater_pairs.sum()),
        )


def _fleiss(observed: float, votes: Floats) -> float:
    total = votes.sum()
    expected = float(((votes.sum(axis=0) / total) ** 2).sum()) if total else 1.0
    return float("nan") if expected > 1 - _TIE else (observed - expected) / (1 - expected)


def _summed(values: Floats, groups: Ints) -> Floats:
    return np.bincount(groups, weights=values).astype(np.float64)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
