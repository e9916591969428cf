"""Which prompt words go with disagreement: a permutation test over prompts, and Benjamini–Hochberg over words.

Pairs of one prompt share its difficulty and its every word, so a test over pairs takes a handful of hard prompts for
dozens of guilty words. Here a prompt's pairs move together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dedpo.stats.arrays import Floats, Ints
from dedpo.stats.intervals import Z95

_WORD: Final = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_LONGEST: Final = 40  # characters: more is no word
_CHUNK: Final = 2**22  # permuted values at a time: 32 MB
# Ties between an observed difference and a permuted one that is the same sum in another order.
_SLACK: Final = 1e-12


@dataclass(frozen=True)
class Lift:
    """One word, or several that occur in exactly the same prompts.

    Attributes:
        words: the words, in alphabetical order.
        n_prompts, n_pairs: prompts with it and their pairs.
        rate, rate_without: share of pairs that disagree, in prompts with it and in the others.
        low, high: 95 % interval of rate − rate_without, prompts being the units.
        p: of the two-sided permutation test; never 0.
        q: p after Benjamini–Hochberg.
    """

    words: tuple[str, ...]
    n_prompts: int
    n_pairs: int
    rate: float
    rate_without: float
    low: float
    high: float
    p: float
    q: float

    @property
    def lift(self) -> float:
        """How much more often pairs of these prompts disagree, in [−1, 1]."""
        return self.rate - self.rate_without


def words_of(prompt: str) -> set[str]:
    """The words of a prompt, case-folded; letters and digits of any script, inner apostrophes and hyphens kept."""
    return {w for w in _WORD.findall(prompt.casefold()) if len(w) <= _LONGEST}


def word_lift(
    prompts: Sequence[str],
    disagreements: Floats,
    groups: Ints,
    *,
    min_support: int,
    permutations: int,
    alpha: float,
    rng: np.random.Generator,
) -> list[Lift]:
    """Test each word that `min_support` prompts or more have and as many lack; the guiltiest first.

    Args:
        prompts: every prompt once, shape (n_prompts,).
        disagreements: 1 where annotator and human differ, else 0; shape (n,).
        groups: the place in `prompts` of each pair's prompt; shape (n,).
        permutations: of the prompts' disagreements over the prompts; more are made where there are so many words that
            a single guilty one could not reach `alpha` otherwise.
    """
    from scipy.stats import false_discovery_control  # scipy takes 0.3 s to import, and only reports need it

    names, rows = _incidence(prompts, min_support)
    if not names:
        return []
    n = np.bincount(groups, minlength=len(prompts)).astype(np.float64)
    d = np.bincount(groups, weights=disagreements, minlength=len(prompts)).astype(np.float64)
    incidence = _sparse(rows, len(prompts))
    support = np.array([len(r) for r in rows])
    pairs, differing = incidence @ n, incidence @ d
    rate, rate_without = differing / pairs, (d.sum() - differing) / (n.sum() - pairs)
    draws = max(permutations, math.ceil(len(names) / alpha))
    p = _p_values(incidence, d, n, rate - rate_without, draws, rng)
    q = false_discovery_control(p)
    half = Z95 * np.sqrt(_variances(incidence, d, n, rate, rate_without))
    order = np.lexsort((-np.abs(rate - rate_without), p))
    return [
        Lift(
            words=names[i],
            n_prompts=int(support[i]),
            n_pairs=int(pairs[i]),
            rate=float(rate[i]),
            rate_without=float(rate_without[i]),
            low=float(rate[i] - rate_without[i] - half[i]),
            high=float(rate[i] - rate_without[i] + half[i]),
            p=float(p[i]),
            q=float(q[i]),
        )
        for i in order
    ]


def _incidence(prompts: Sequence[str], min_support: int) -> tuple[list[tuple[str, ...]], list[Ints]]:
    """Words in the same prompts together, and the numbers of those prompts."""
    where: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompts):
        for word in words_of(prompt):
            where.setdefault(word, []).append(number)
    twins: dict[tuple[int, ...], list[str]] = {}
    for word, numbers in sorted(where.items()):
        if min_support <= len(numbers) <= len(prompts) - min_support:
            twins.setdefault(tuple(numbers), []).append(word)
    return [tuple(w) for w in twins.values()], [np.array(numbers, dtype=np.int64) for numbers in twins]


def _sparse(rows: list[Ints], n_prompts: int) -> Any:
    """A (words × prompts) matrix of zeros and ones."""
    from scipy.sparse import csr_array  # scipy takes 0.3 s to import, and only reports need it

    starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    columns = np.concatenate(rows)
    return csr_array((np.ones(len(columns)), columns, starts), shape=(len(rows), n_prompts))


def _p_values(incidence: Any, d: Floats, n: Floats, observed: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """(1 + differences as large among the permuted) / (1 + draws) (Phipson & Smyth 2010), shape (n_words,)."""
    as_large = np.zeros(len(observed))
    step = max(1, _CHUNK // len(d))
    for begin in range(0, draws, step):
        shuffled = rng.permuted(np.tile(np.arange(len(d)), (min(step, draws - begin), 1)), axis=1).T
        differing, pairs = incidence @ d[shuffled], incidence @ n[shuffled]
        found = differing / pairs - (d.sum() - differing) / (n.sum() - pairs)
        as_large += (np.abs(found) >= np.abs(observed)[:, None] - _SLACK).sum(axis=1)
    return np.asarray((1 + as_large) / (1 + draws))


def _variances(incidence: Any, d: Floats, n: Floats, rate: Floats, rate_without: Floats) -> Floats:
    """Of rate − rate_without, both ratios of sums over prompts; shape (n_words,)."""
    products = np.stack([d * d, d * n, n * n, n, np.ones(len(n))], axis=1)
    inside = incidence @ products
    outside = products.sum(axis=0) - inside
    return _ratio_variance(inside, rate) + _ratio_variance(outside, rate_without)


def _ratio_variance(sums: Floats, ratio: Floats) -> Floats:
    dd, dn, nn, n, prompts = sums.T
    squares = np.maximum(dd - 2 * ratio * dn + ratio**2 * nn, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(prompts > 1, squares / n**2 * prompts / (prompts - 1), np.nan))
