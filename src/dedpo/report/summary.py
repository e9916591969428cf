"""From scores to means, paired differences and win rates, each with a 95 % interval.

A method's cells are an array (training seeds, prompts, sampling seeds), NaN where there is no score. Two sources of
chance matter and they are never mixed: with several training seeds the interval is Student's t over seeds (the
prompts are taken as given); with one it is a bootstrap over prompts, blind to what another training would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedpo.report.methods import REFERENCE, is_snapshot, parse_model
from dedpo.rng import generator
from dedpo.stats.intervals import student

Floats = NDArray[np.float64]
# method → (training seeds, prompts, sampling seeds); the reference, which has no training seed, has one row.
Cells = dict[str, Floats]

RESAMPLES: Final = 2000


class Estimate(NamedTuple):
    """A mean with its 95 % interval (NaN where none can be given).

    Attributes:
        n: training seeds or prompts, whichever `over` says.
    """

    mean: float
    low: float
    high: float
    n: int
    over: Literal["seeds", "prompts"]


class Grid(NamedTuple):
    """Every score, by metric.

    Attributes:
        seeds: training seeds, ascending: the first axis of every cell array.
        prompt_ids: the second axis.
        sampling_seeds: the third axis.
        metrics: metric → method → cells.
    """

    seeds: list[int]
    prompt_ids: list[str]
    sampling_seeds: list[int]
    metrics: dict[str, Cells]

    def without_snapshots(self) -> Grid:
        """The reference and the policies alone."""
        kept = {
            metric: {m: c for m, c in cells.items() if not is_snapshot(m)} for metric, cells in self.metrics.items()
        }
        return self._replace(metrics=kept)


def grid(
    models: Sequence[str], prompt_ids: Sequence[str], seeds: Sequence[int], metrics: Sequence[str], values: Floats
) -> Grid:
    """Arrange the rows of a scores table; the five columns have one length.

    Raises:
        UserError: a model's name is none that `parse_model` reads.
    """
    model_names, model = np.unique(np.asarray(models), return_inverse=True)
    prompt_names, prompt = np.unique(np.asarray(prompt_ids), return_inverse=True)
    seed_names, seed = np.unique(np.asarray(seeds), return_inverse=True)
    metric_names, metric = np.unique(np.asarray(metrics), return_inverse=True)
    cube = np.full((len(metric_names), len(model_names), len(prompt_names), len(seed_names)), np.nan)
    cube[metric, model, prompt, seed] = values

    parsed = [parse_model(str(name)) for name in model_names]
    training_seeds = sorted({s for _, s in parsed if s is not None})
    arranged = {str(name): _by_method(cube[i], parsed, training_seeds) for i, name in enumerate(metric_names)}
    return Grid(training_seeds, [str(p) for p in prompt_names], [int(s) for s in seed_names], arranged)


def _by_method(scores: Floats, parsed: list[tuple[str, int | None]], training_seeds: list[int]) -> Cells:
    """Scores (models, prompts, sampling seeds) → method → (training seeds, prompts, sampling seeds)."""
    cells: Cells = {}
    for (method, seed), rows in zip(parsed, scores, strict=True):
        if seed is None:
            cells[method] = rows[None]
        else:
            empty = np.full((len(training_seeds), *rows.shape), np.nan)
            cells.setdefault(method, empty)[training_seeds.index(seed)] = rows
    return {method: rows for method, rows in cells.items() if np.isfinite(rows).any()}


def estimate(cells: Floats) -> Estimate:
    """Mean over prompts × sampling seeds (then over training seeds), with its interval.

    Args:
        cells: (training seeds, prompts, sampling seeds); seeds without any score are left out.
    """
    per_prompt = _mean(cells, axis=2)
    trained = np.isfinite(per_prompt).any(axis=1)
    if trained.sum() >= 2:
        per_seed = _mean(cells[trained].reshape(int(trained.sum()), -1), axis=1)
        interval = student(per_seed)
        return Estimate(*interval, len(per_seed), "seeds")
    prompts = per_prompt[trained].ravel()
    return _over_prompts(prompts[np.isfinite(prompts)])


def difference(first: Floats, second: Floats) -> Estimate:
    """first − second, paired by training seed, prompt and sampling seed; a cell that either lacks counts for neither.

    The reference's single row pairs with every training seed.
    """
    return estimate(first - second)


def win_rate(first: Floats, second: Floats) -> Estimate:
    """Share of the cells that both have in which `first` scores higher, ties counting half; interval within [0, 1]."""
    wins = np.where(first > second, 1.0, np.where(first == second, 0.5, 0.0))
    found = estimate(np.where(np.isfinite(first - second), wins, np.nan))
    return found._replace(low=float(np.clip(found.low, 0, 1)), high=float(np.clip(found.high, 0, 1)))


def win_rates(cells: Cells) -> dict[str, dict[str, Estimate]]:
    """Every method against every other; what i wins against j, j loses, bounds included."""
    table: dict[str, dict[str, Estimate]] = {method: {} for method in cells}
    names = list(cells)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            rate = win_rate(cells[first], cells[second])
            table[first][second] = rate
            table[second][first] = rate._replace(mean=1 - rate.mean, low=1 - rate.high, high=1 - rate.low)
    return table


def differences(primary: str, metrics: dict[str, Cells]) -> dict[str, dict[str, Estimate]]:
    """method → metric → `primary` minus that method, for every method and metric that both have."""
    found: dict[str, dict[str, Estimate]] = {}
    for metric, cells in metrics.items():
        for method in cells:
            if primary in cells and method != primary:
                found.setdefault(method, {})[metric] = difference(cells[primary], cells[method])
    return found


def interval_kind(estimates: dict[str, Estimate]) -> str:
    """'over seeds' if every trained method's interval is; else 'over prompts only'."""
    trained = [e for method, e in estimates.items() if method != REFERENCE]
    return "over seeds" if trained and all(e.over == "seeds" for e in trained) else "over prompts only"


def _over_prompts(values: Floats) -> Estimate:
    """Percentile bootstrap over prompts, shape (n,); the same resamples for every estimate over as many prompts."""
    n = len(values)
    if n < 2:
        return Estimate(float(values[0]) if n else np.nan, np.nan, np.nan, n, "prompts")
    rng = generator("report", "bootstrap", n)
    # In blocks: a million indices at once are 8 MB, thousands of prompts × 2,000 would be much more.
    block = max(1, 1_000_000 // n)
    means = np.concatenate(
        [
            values[rng.integers(0, n, (min(block, RESAMPLES - start), n))].mean(axis=1)
            for start in range(0, RESAMPLES, block)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high), n, "prompts")


def _mean(values: Floats, axis: int) -> Floats:
    """Mean of the finite values along an axis; NaN where there is none."""
    finite = np.isfinite(values)
    count = finite.sum(axis=axis)
    total = np.where(finite, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
