"""Reward over drift: arms that took steps of different size, compared at equal distance from the reference.

After the same number of steps one arm may have moved twice as far as another, and how far to move is no merit of its
labels: it is one number, and a held-out prompt set chooses it. So each arm's snapshots are scored on the same prompts,
and arms are held against each other twice more: each at its own best step, by one rule for all, and all at one drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dedpo.report.methods import REFERENCE, at_step
from dedpo.report.summary import Cells, Estimate, Floats, difference, estimate

# (arm, training seed) → steps taken → ‖θ−θ_ref‖/‖θ_ref‖ then.
Drifts = Mapping[tuple[str, int], Mapping[int, float]]


class Point(NamedTuple):
    """An arm after so many steps.

    Attributes:
        drift: shape (training seeds,); NaN where it was not measured.
        cells: of the metric, (training seeds, prompts, sampling seeds).
    """

    steps: int
    drift: Floats
    cells: Floats


class Place(NamedTuple):
    """An arm after so many steps as it is drawn: mean drift, and the metric there."""

    steps: int
    drift: float
    estimate: Estimate


# An arm's way, by ascending steps; the last point is the policy.
Way = list[Point]


@dataclass(frozen=True)
class Frontier:
    """Arms compared fairly.

    Attributes:
        curves: arm → where it was, from the reference on.
        best: arm → the step at which its mean on the validation prompts is highest; empty without such prompts.
        drift: the largest that every arm reaches at every training seed; None: one of them was not measured.
        at_best, at_drift: arm → primary minus that arm on the test prompts; empty where it cannot be told.
    """

    curves: dict[str, list[Place]]
    best: dict[str, int]
    drift: float | None
    at_best: dict[str, Estimate]
    at_drift: dict[str, Estimate]


def frontier(
    primary: str, cells: Cells, validation: Cells, drifts: Drifts, seeds: list[int], steps: Mapping[str, int]
) -> Frontier | None:
    """Compare `primary` with every other arm of which snapshots were scored; None if it has none itself.

    Args:
        cells, validation: of the metric on test and on validation prompts; snapshots are methods '<arm>@<steps>'.
        seeds: training seeds, the first axis of the cells.
        steps: arm → how many its policy has taken.
    """
    ways = {arm: way for arm in steps if len(way := _way(arm, cells, drifts, seeds, steps[arm])) > 1}
    if primary not in ways or REFERENCE not in cells:
        return None
    start = cells[REFERENCE]
    best = {arm: chosen for arm in ways if (chosen := _best_step(arm, validation, steps[arm]))}
    own = {arm: next(p.cells for p in ways[arm] if p.steps == chosen) for arm, chosen in best.items()}
    drift = _reach(ways.values())
    level = {} if drift is None else {arm: at_drift(way, start, drift) for arm, way in ways.items()}
    return Frontier(
        {arm: [Place(0, 0.0, estimate(start)), *map(_place, way)] for arm, way in ways.items()},
        best,
        drift,
        _against(primary, own),
        _against(primary, level),
    )


def at_drift(way: Way, start: Floats, drift: float) -> Floats:
    """The metric where an arm first comes to a drift: linear between the points beside it, training seed by seed.

    Args:
        start: the reference's cells, (1, prompts, sampling seeds), at drift 0.
        drift: above 0.

    Returns:
        (training seeds, prompts, sampling seeds), NaN for a seed that does not come so far: nothing is extrapolated.
    """
    found = np.full(way[0].cells.shape, np.nan)
    for seed in range(len(found)):
        places = np.array([0.0, *(point.drift[seed] for point in way)])
        values = np.stack([start[0], *(point.cells[seed] for point in way)])
        if reached := next((i for i, place in enumerate(places) if place >= drift), None):
            share = (drift - places[reached - 1]) / (places[reached] - places[reached - 1])
            found[seed] = (1 - share) * values[reached - 1] + share * values[reached]
    return found


def _way(arm: str, cells: Cells, drifts: Drifts, seeds: list[int], last: int) -> Way:
    known = {step: cells[name] for name in cells if (step := at_step(name, arm, last))}
    known = _of_all_seeds(known)
    return [
        Point(step, np.array([drifts.get((arm, seed), {}).get(step, np.nan) for seed in seeds]), known[step])
        for step in sorted(known)
    ]


def _best_step(arm: str, validation: Cells, last: int) -> int | None:
    """The step with the highest mean over training seeds, prompts and sampling seeds; of equal ones the earliest."""
    known = {step: found for name, found in validation.items() if (step := at_step(name, arm, last))}
    means = {step: float(np.nanmean(found)) for step, found in _of_all_seeds(known).items()}
    return max(sorted(means), key=lambda step: means[step]) if means else None


def _of_all_seeds(known: Mapping[int, Floats]) -> dict[int, Floats]:
    """The steps of which every training seed has been scored: means over other seeds compare seeds, and not steps."""
    there = {step: np.isfinite(found).any(axis=(1, 2)) for step, found in known.items()}
    most = max((found.sum() for found in there.values()), default=0)
    return {step: known[step] for step in known if there[step].sum() == most}


def _reach(ways: Iterable[Way]) -> float | None:
    furthest = [np.max([point.drift for point in way], axis=0).min() for way in ways]
    return float(min(furthest)) if np.isfinite(furthest).all() and min(furthest) > 0 else None


def _against(primary: str, cells: Cells) -> dict[str, Estimate]:
    if primary not in cells:
        return {}
    return {arm: difference(cells[primary], found) for arm, found in cells.items() if arm != primary}


def _place(point: Point) -> Place:
    return Place(point.steps, float(np.mean(point.drift)), estimate(point.cells))
