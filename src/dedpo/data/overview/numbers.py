"""What an import holds, in numbers: pure functions on columns."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from dedpo.contract.records.data import ImageNumbers, PairNumbers, RatingNumbers, Spread
from dedpo.stats.agreement import CHOICES, ceiling, choices, count_votes
from dedpo.stats.arrays import Floats, Ints, numbered
from dedpo.stats.intervals import wilson
from dedpo.stats.lift import words_of

WORDS: Final = 20
RATERS: Final = 20
SIZES: Final = 10
_BOOTSTRAP: Final = 1000
_CHOSEN: Final = ("image_0", "tie", "image_1")  # as `stats.agreement.choices` numbers them


class Pairs(NamedTuple):
    """Columns of the pairs table, of equal length."""

    ids: Sequence[str]
    prompts: Sequence[str]
    groups: Sequence[str]
    sources: Sequence[str]


class Ratings(NamedTuple):
    """Columns of the ratings table, of equal length; every pair_id is one of the pairs'."""

    pair_ids: Sequence[str]
    raters: Sequence[str]
    preferences: Sequence[float]
    orders: Sequence[str | None]


class ImageFile(NamedTuple):
    """One image file: pixels, bytes, and its media type; 0 × 0 if it has none."""

    width: int
    height: int
    size: int
    kind: str


def of_pairs(pairs: Pairs) -> PairNumbers:
    """Counts, how many pairs a group has, the prompts' lengths and their commonest words."""
    of_group = Counter(pairs.groups)
    distinct = Counter(pairs.prompts)
    words: Counter[str] = Counter()
    for prompt, times in distinct.items():
        words.update(dict.fromkeys(words_of(prompt), times))
    return {
        "pairs": len(pairs.ids),
        "prompts": len(distinct),
        "groups": len(of_group),
        "sources": dict(Counter(pairs.sources).most_common()),
        "pairs_of_a_group": spread(list(of_group.values())),
        "groups_by_pairs": dict(sorted(Counter(of_group.values()).items())),
        "prompts_of_a_group": spread(list(_distinct_prompts(pairs).values())),
        "words_of_a_prompt": spread([len(prompt.split()) for prompt in distinct]),
        # Of equal ones the alphabetically first, so that the page does not depend on the order of a set.
        "words": {
            word: count / len(pairs.ids)
            for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:WORDS]
        },
    }


def _distinct_prompts(pairs: Pairs) -> dict[str, int]:
    prompts = defaultdict(set)
    for group, prompt in zip(pairs.groups, pairs.prompts, strict=True):
        prompts[group].add(prompt)
    return {group: len(found) for group, found in prompts.items()}


def spread(values: Sequence[float]) -> Spread:
    """Least, median, mean and largest; empty for no values."""
    if not len(values):
        return {}
    known = np.array(values, dtype=np.float64)
    found = {"least": known.min(), "median": np.median(known), "mean": known.mean(), "largest": known.max()}
    return {name: float(value) for name, value in found.items()}


def of_ratings(pairs: Pairs, ratings: Ratings) -> RatingNumbers:
    """Choices, ties, ratings a pair, agreement of raters, and each of the busiest raters; empty without ratings."""
    if not ratings.pair_ids:
        return {"ratings": 0, "rated_pairs": 0, "raters": 0}
    chosen = choices(np.array(ratings.preferences, dtype=np.float64))
    pair_ids, rows = numbered(ratings.pair_ids)
    votes = count_votes(rows, np.array(ratings.preferences, dtype=np.float64), len(pair_ids))
    return {
        "ratings": len(chosen),
        "rated_pairs": len(pair_ids),
        "raters": len(set(ratings.raters)),
        "choices": _counts(chosen),
        "preferences": _tenths(ratings.preferences),
        "pairs_by_ratings": dict(sorted(Counter(votes.sum(axis=1).astype(int).tolist()).items())),
        "agreement": _agreement(votes, _groups(pairs, pair_ids)),
        "order": _order(chosen, ratings.orders),
        "busiest": _busiest(ratings.raters, chosen, rows, votes),
    }


def _tenths(preferences: Sequence[float]) -> dict[str, int]:
    """Ratings by preference, to the nearest tenth."""
    nearest = np.floor(10 * np.array(preferences, dtype=np.float64) + 0.5).astype(np.int64)
    return {f"{i / 10:g}": int(count) for i, count in enumerate(np.bincount(nearest, minlength=11))}


def _counts(chosen: Ints) -> dict[str, int]:
    counts = np.bincount(chosen, minlength=CHOICES)
    return {name: int(count) for name, count in zip(_CHOSEN, counts, strict=True)}


def _groups(pairs: Pairs, rated: Sequence[str]) -> Ints:
    """The number of each rated pair's group."""
    group_of = dict(zip(pairs.ids, pairs.groups, strict=True))
    return numbered(group_of[pair_id] for pair_id in rated)[1]


def _agreement(votes: Floats, groups: Ints) -> dict[str, float | None]:
    """How often two raters of a pair choose alike, with a bootstrap over groups, and Fleiss' κ."""
    if not (votes.sum(axis=1) >= 2).any():
        return {}
    nobody = np.full(len(votes), np.nan)
    found = ceiling(votes, nobody, groups, bootstrap=_BOOTSTRAP, rng=np.random.default_rng(0))
    return {
        "share": _known(found.share.value),
        "low": _known(found.share.low),
        "high": _known(found.share.high),
        "fleiss_kappa": _known(found.fleiss),
        "pairs": found.n_pairs,
        "rater_pairs": found.n_rater_pairs,
    }


def _order(chosen: Ints, orders: Sequence[str | None]) -> dict[str, float]:
    """How often the image shown first is chosen, where the order is known and there is no tie."""
    shown = np.array([{"01": 0, "10": 2}.get(order or "", -1) for order in orders])
    decided = (shown >= 0) & (chosen != 1)
    n = int(decided.sum())
    if not n:
        return {}
    found = wilson(float((chosen[decided] == shown[decided]).sum()), n)
    return {"first_chosen": found.value, "low": found.low, "high": found.high, "ratings": n}


def _busiest(raters: Sequence[str], chosen: Ints, rows: Ints, votes: Floats) -> list[dict[str, object]]:
    """Each rater's choices, and how often another rater of the same pair chose alike."""
    names, who = np.unique(np.array(raters, dtype=object).astype(str), return_inverse=True)
    alike = votes[rows, chosen] - 1
    others = votes[rows].sum(axis=1) - 1
    counts = np.bincount(who, minlength=len(names))
    found: list[dict[str, object]] = []
    for i in np.lexsort((names, -counts))[:RATERS]:
        mine = who == i
        rater_pairs = int(others[mine].sum())
        found.append(
            {"rater": str(names[i]), "ratings": int(counts[i]), **_counts(chosen[mine]), "rater_pairs": rater_pairs,
             "alike": float(alike[mine].sum() / rater_pairs) if rater_pairs else None}
        )  # fmt: skip
    return found


def of_images(looks: Sequence[ImageFile]) -> ImageNumbers:
    """Sizes in pixels and bytes, and formats, of the images that were looked at."""
    sizes = Counter(f"{look.width}×{look.height}" for look in looks)
    return {
        "images": len(looks),
        "widths": spread([look.width for look in looks]),
        "heights": spread([look.height for look in looks]),
        "bytes": spread([look.size for look in looks]),
        "formats": dict(Counter(look.kind for look in looks).most_common()),
        "sizes": dict(sizes.most_common(SIZES)),
        "distinct_sizes": len(sizes),
    }


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
