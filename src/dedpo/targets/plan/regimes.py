"""One regime of a plan as facts: what the next labels gain, the cheapest mix, and the curves of the picture."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedpo.contract.records.intervals import Bounded
from dedpo.contract.records.plan import Alone, Band, ByAccuracy, ByCost, ByLabels, Mix, Next, RegimePlan
from dedpo.stats import planning
from dedpo.stats.bootstrap import percentiles
from dedpo.stats.intervals import Interval
from dedpo.stats.planning import Prices
from dedpo.stats.power import Moments, best_power, effective_labels_interval

Floats = NDArray[np.float64]

NEXT_LABELS: Final = 100
NEXT_PAIRS: Final = 1000
_POINTS: Final = 61


class Case(NamedTuple):
    """What one regime's facts are made of.

    Attributes:
        moments: of the pilot.
        drawn: of its resampled prompts, u², v² and u·v, shape (draws, 3).
        today: human labels, as many as they are worth if evenly drawn, and pairs.
        target: n_eff to reach, whole.
        accuracy: the annotator's, NaN if unknown.
    """

    moments: Moments
    drawn: Floats
    today: tuple[float, float]
    target: float
    prices: Prices
    accuracy: float

    @property
    def triplet(self) -> Floats:
        """u², v² and u·v, shape (3,)."""
        return np.array([self.moments.human, self.moments.annotator, self.moments.cross])

    @property
    def kappa(self) -> float:
        """The annotator's help."""
        return float(planning.help_of(self.triplet))

    @property
    def kappas(self) -> Floats:
        """The same of resampled prompts, shape (draws,)."""
        return planning.help_of(self.drawn)


def today(m: Moments, n_labelled: float, n: float) -> Interval:
    """n_eff of so many labels and pairs at λ̂, as `dedpo targets` says it."""
    return effective_labels_interval(m, n_labelled, int(n), best_power(m))


def facts(case: Case) -> RegimePlan:
    """A regime's part of plan.json."""
    return {
        "power": best_power(case.moments),
        "help": _with_bounds(case.kappa, case.kappas),
        "n_eff": interval(today(case.moments, *case.today)),
        "next_labels": _next(case, labels=NEXT_LABELS),
        "next_pairs": _next(case, pairs=NEXT_PAIRS),
        "mix": _mix(case),
        "annotated_alone": _annotated_alone(case),
        "curves": {"labels": _by_labels(case), "accuracy": _by_accuracy(case), "cost": _by_cost(case)},
    }


def _next(case: Case, *, labels: int = 0, pairs: int = 0) -> Next:
    """What n_eff gains, what that costs, and US dollars for one more effective label."""
    n_labelled, n = case.today
    value, drawn = (
        planning.gain(k, n_labelled, n, labels=labels, pairs=pairs) for k in (np.asarray(case.kappa), case.kappas)
    )
    gained = percentiles(float(value), drawn)
    new_pairs = max(n + pairs, n_labelled + labels) - n
    cost = case.prices.human * labels + case.prices.annotated * new_pairs
    # The more is gained, the less each costs; nothing gained costs ∞ each.
    each = Interval(*(cost / v if v > 0 else np.inf for v in (gained.value, gained.high, gained.low)))
    return {
        "more_labels": labels,
        "more_pairs": int(new_pairs),
        "cost": cost,
        "gain": interval(gained),
        "cost_each": interval(each),
    }


def _mix(case: Case) -> Mix:
    """The cheapest mix; its interval is that of the cheapest mixes of resampled prompts."""
    value, drawn = (
        planning.cheapest(k, case.target, case.today, case.prices) for k in (np.array([case.kappa]), case.kappas)
    )
    n_labelled, n = case.today
    return {
        "humans_only": bool(value.humans_only[0]),
        "more_labels": _with_bounds(value.n_labelled[0] - n_labelled, drawn.n_labelled - n_labelled),
        "more_pairs": _with_bounds(value.n[0] - n, drawn.n - n),
        "cost": _with_bounds(value.cost[0], drawn.cost),
    }


def _annotated_alone(case: Case) -> Alone:
    """The target without one more human label: pairs and US dollars, None out of reach, and the most they can reach."""
    n_labelled, n = case.today
    more = float(planning.pairs_needed(case.kappa, case.target, n_labelled, n)) - n
    limit = n_labelled / (1 - case.kappa) if case.kappa < 1 else np.inf
    return {"more_pairs": _finite(more), "cost": _finite(case.prices.annotated * more), "limit": _finite(limit)}


def _by_labels(case: Case) -> ByLabels:
    """n_eff against human labels on today's pairs; beyond those, where most are labelled already, on new ones."""
    n_labelled, n = case.today
    most = min(n, 2 * case.target) if n >= 2 * n_labelled else max(n, case.target)
    labels = np.unique(np.round(np.linspace(n_labelled, most, _POINTS)))
    pairs = np.maximum(labels, n)
    value, drawn = (planning.worth(k, labels, pairs) for k in (case.kappa, case.kappas[:, None]))
    return {"n_labelled": labels.tolist(), **_band(value, drawn)}


def _by_accuracy(case: Case) -> ByAccuracy | None:
    """n_eff against the accuracy of an annotator that ever more often gives the human's answer."""
    if not np.isfinite(case.accuracy):
        return None
    share = np.linspace(0, 1, _POINTS)
    better = (planning.help_of(planning.improved(m, share)) for m in (case.triplet, case.drawn[:, None]))
    value, drawn = (planning.worth(k, *case.today) for k in better)
    return {"accuracy": ((1 - share) * case.accuracy + share).tolist(), **_band(value, drawn)}


def _by_cost(case: Case) -> ByCost:
    """Pairs and US dollars for the target against the number of human labels, where any number of pairs will do."""
    least = max(case.today[0], case.target * (1 - case.kappa) + 1)
    labels = np.unique(np.ceil(np.linspace(least, max(case.target, least), 4 * _POINTS)))
    pairs = planning.pairs_needed(case.kappa, case.target, labels, case.today[1])
    costs = planning.price_of(labels, pairs, case.today, case.prices)
    known = np.isfinite(costs)
    return {"n_labelled": labels[known].tolist(), "n": pairs[known].tolist(), "cost": costs[known].tolist()}


def _band(values: Floats, drawn: Floats) -> Band:
    bounds = [percentiles(float(v), column) for v, column in zip(values, drawn.T, strict=True)]
    return {
        "n_eff": values.tolist(),
        "low": [_finite(b.low) for b in bounds],
        "high": [_finite(b.high) for b in bounds],
    }


def _with_bounds(value: float, drawn: Floats) -> Bounded:
    return interval(percentiles(float(value), drawn))


def interval(found: Interval) -> Bounded:
    """As JSON has it: None for what is not finite."""
    return {"value": _finite(found.value), "low": _finite(found.low), "high": _finite(found.high)}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
