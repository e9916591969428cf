"""A world where the truth is known: logistic preferences over five features, and every arm fitted exactly.

    python experiments/linear_world.py                a table
    python experiments/linear_world.py --json         {"cells": [{"annotator", "accuracy", ..., "mse_tuned", ...}]}

Of 5,000 pairs the first 100 or 1,250 are human-labelled. People choose image 1 with probability σ(x·θ* + ω·u): x is
what a policy can learn from, u what it cannot see. A cell is

- signal: ‖θ*‖ = 0.3 (weak) or 2 (strong);
- specified: ω = 0 (the policy can represent people's taste) or ω = 2 (it cannot; its best θ is then the minimiser of
  the expected loss, by quadrature);
- annotator: 'function', a fixed function of the pair: it chooses by a taste rotated away from people's, so that it
  errs on the same pairs again and again, as a model does; or 'flips', which repeats the human's answer and errs at
  random;
- accuracy: for 'flips' the share of human labels it repeats; for 'function' the share of pairs where it makes the
  choice that most people would make. Human labels are noisy, so that no function of the pair can repeat 95 % of them
  at weak signal; 'agreement' says what it does repeat.

Errors are over the replicates in which every arm has a minimum; 'failed' counts the others, arm by arm.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedpo.rng import generator
from dedpo.stats.intervals import Z95
from dedpo.stats.logistic import Fit, fit, hessian, sigmoid
from dedpo.stats.power import best_power, effective_labels, moments
from dedpo.stats.probe import cross_fitted
from dedpo.targets.arms import table
from dedpo.terminal import progress

Floats = NDArray[np.float64]

PAIRS, FEATURES = 5000, 5
ACCURACIES = (0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95)
LABELLED = (100, 1250)
SIGNALS = {"weak": 0.3, "strong": 2.0}
UNSEEN = 2.0  # ω of a misspecified policy
ARMS = ("dpo_human", "dpo_synthetic", "dedpo", "dedpo_tuned", "dedpo_tuned_reference")
NAMES = dict(zip(ARMS, ("human_only", "synthetic", "dedpo", "tuned", "tuned_reference"), strict=True))


@dataclass(frozen=True)
class Cell:
    """One world and one annotator."""

    annotator: str
    accuracy: float
    n_labelled: int
    signal: str
    specified: bool

    @property
    def unseen(self) -> float:
        return 0.0 if self.specified else UNSEEN


class Draw(NamedTuple):
    """5,000 pairs; the first `n_labelled` are labelled."""

    features: Floats
    human: Floats
    annotator: Floats
    is_labelled: NDArray[np.bool_]


def grid() -> list[Cell]:
    """Every cell, in the order of the table."""
    return [
        Cell(annotator, accuracy, n_labelled, signal, specified)
        for specified, signal, n_labelled, annotator, accuracy in product(
            (True, False), SIGNALS, LABELLED, ("function", "flips"), ACCURACIES
        )
    ]


def best_theta(cell: Cell) -> Floats:
    """The minimiser of a policy's expected loss over all pairs: θ* itself, or θ* shrunk by what it cannot see.

    People's taste and a policy's are along the first feature; there E[(σ(c·t) − E[z|t])·t] = 0 is solved by bisection.
    """
    signal = SIGNALS[cell.signal]
    theta = np.zeros(FEATURES)
    if cell.specified:
        theta[0] = signal
        return theta
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    weights = weights / weights.sum()
    people = sigmoid(signal * nodes[:, None] + cell.unseen * nodes[None, :]) @ weights
    low, high = 0.0, signal
    for _ in range(60):
        theta[0] = (low + high) / 2
        if weights @ ((sigmoid(theta[0] * nodes) - people) * nodes) < 0:
            low = theta[0]
        else:
            high = theta[0]
    return theta


def draw(cell: Cell, rng: np.random.Generator) -> Draw:
    """Pairs, people's choices and the annotator's."""
    x, u = rng.normal(size=(PAIRS, FEATURES)), rng.normal(size=PAIRS)
    taste = SIGNALS[cell.signal] * x[:, 0] + cell.unseen * u
    human = (rng.random(PAIRS) < sigmoid(taste)).astype(float)
    if cell.annotator == "flips":
        annotator = np.where(rng.random(PAIRS) < cell.accuracy, human, 1 - human)
    else:
        # Two normal scores at an angle of π(1 − accuracy) have the same sign with probability `accuracy`.
        angle = np.pi * (1 - cell.accuracy)
        own = np.cos(angle) * taste / np.hypot(SIGNALS[cell.signal], cell.unseen) + np.sin(angle) * x[:, 1]
        annotator = (own > 0).astype(float)
    return Draw(x, human, annotator, np.arange(PAIRS) < cell.n_labelled)


def powers(d: Draw, rng: np.random.Generator) -> tuple[float, float, float]:
    """λ̂ at the probe's residuals and at the reference, and n_eff as the planner predicts it at the probe's."""
    x, human, annotator = d.features[d.is_labelled], d.human[d.is_labelled], d.annotator[d.is_labelled]
    probe = cross_fitted(x, human, np.arange(len(x)), rng)
    residual = moments(human, annotator, probe.predicted, probe.weights)
    power = best_power(residual)
    return power, best_power(moments(human, annotator)), effective_labels(residual, len(x), PAIRS, power)


def minimum(d: Draw, arm: str, power: float) -> Fit:
    """The θ that the arm's table trains to."""
    a, b = coefficients(d, arm, power)
    rows = (a != 0) | (b != 0)
    # Zero rows add nothing to either mean; the factor keeps the mean one over all pairs.
    share = rows.mean()
    return fit(d.features[rows], a[rows] * share, b[rows] * share)


def coefficients(d: Draw, arm: str, power: float) -> tuple[Floats, Floats]:
    """(a, b) of every pair, from the table that training reads."""
    name = "dedpo_tuned" if arm.startswith("dedpo_tuned") else arm
    return table(name, d.human, d.annotator, d.is_labelled, power)


def spread(d: Draw, theta: Floats, power: float) -> Floats:
    """Standard errors of a rectified estimate, shape (5,): H⁻¹VH⁻¹ with V of the all-pairs form (PPI++, section 4)."""
    p = sigmoid(d.features @ theta)
    own = d.is_labelled
    f = own.mean()
    u = ((p - d.human)[:, None] * d.features)[own]
    v = ((p - d.annotator)[:, None] * d.features)[own]
    joint = np.cov(np.hstack([u, v]), rowvar=False)
    k = FEATURES
    uu, vv, uv = joint[:k, :k], joint[k:, k:], joint[:k, k:]
    variance = (uu + (1 - f) * (power**2 * vv - power * (uv + uv.T))) / own.sum()
    bread = np.linalg.inv(hessian(d.features, np.ones(PAIRS), p))
    return np.sqrt(np.maximum(np.diag(bread @ variance @ bread), 0.0))


def replicate(cell: Cell, number: int, truth: Floats) -> dict[str, Any]:
    """One draw of the world, every arm fitted: θ (NaN where there is no minimum), coverage, λ̂ and predicted n_eff."""
    rng = generator("linear world", cell, number)
    d = draw(cell, rng)
    power, power_reference, n_eff = powers(d, rng)
    used = dict(zip(ARMS, (0.0, 1.0, 1.0, power, power_reference), strict=True))
    thetas, covered = {}, {}
    for arm, lam in used.items():
        found = minimum(d, arm, lam)
        thetas[arm] = found.theta if found.converged else np.full(FEATURES, np.nan)
        if arm != "dpo_synthetic":
            covered[arm] = np.mean(np.abs(found.theta - truth) <= Z95 * spread(d, found.theta, lam))
    agreement = np.mean(d.human == d.annotator)
    return {
        "thetas": thetas, "covered": covered, "power": power, "power_reference": power_reference, "n_eff": n_eff,
        "agreement": agreement,
    }  # fmt: skip


def measure(cell: Cell, replicates: int) -> dict[str, Any]:
    """One cell's errors over `replicates` draws."""
    truth = best_theta(cell)
    found = [replicate(cell, i, truth) for i in range(replicates)]
    thetas = np.array([[r["thetas"][arm] for arm in ARMS] for r in found])  # (replicates, arms, features)
    failed = np.isnan(thetas).any(axis=2)
    whole = ~failed.any(axis=1)
    errors = thetas[whole] - truth
    squared = (errors**2).sum(axis=2)
    mse = dict(zip(ARMS, squared.mean(axis=0), strict=True))
    mean_of = {k: float(np.mean([r[k] for r in found])) for k in ("power", "power_reference", "n_eff", "agreement")}
    best = min(("dpo_human", "dedpo"), key=lambda arm: mse[arm])
    low, high = _ratio_interval(squared[:, ARMS.index("dedpo_tuned")], squared[:, ARMS.index(best)])
    return {
        "annotator": cell.annotator,
        "accuracy": cell.accuracy,
        "n_labelled": cell.n_labelled,
        "signal": cell.signal,
        "specified": cell.specified,
        **{f"mse_{NAMES[arm]}": float(mse[arm]) for arm in ARMS},
        "n_eff_predicted": mean_of["n_eff"],
        "n_eff_simulated": cell.n_labelled * float(mse["dpo_human"] / mse["dedpo_tuned"]),
        "ratio": float(mse["dedpo_tuned"] / mse[best]),
        "ratio_low": low,
        "ratio_high": high,
        "agreement": mean_of["agreement"],
        "power": mean_of["power"],
        "power_reference": mean_of["power_reference"],
        "replicates": replicates,
        "failed": {NAMES[arm]: int(n) for arm, n in zip(ARMS, failed.sum(axis=0), strict=True) if n},
        "bias": {NAMES[arm]: float(np.linalg.norm(e)) for arm, e in zip(ARMS, errors.mean(axis=0), strict=True)},
        "variance": {NAMES[arm]: float(v) for arm, v in zip(ARMS, errors.var(axis=0).sum(axis=1), strict=True)},
        "coverage": {
            NAMES[arm]: float(np.mean([r["covered"][arm] for r, ok in zip(found, whole, strict=True) if ok]))
            for arm in ARMS
            if arm != "dpo_synthetic"
        },
    }


def _ratio_interval(top: Floats, bottom: Floats) -> tuple[float, float]:
    """95 % interval of mean(top)/mean(bottom) over paired draws, by the delta method."""
    ratio = top.mean() / bottom.mean()
    half = Z95 * np.std(top - ratio * bottom, ddof=1) / np.sqrt(len(top)) / bottom.mean()
    return float(ratio - half), float(ratio + half)


def run(cells: list[Cell], replicates: int, processes: int) -> Iterator[dict[str, Any]]:
    """Measure cells side by side, yielding them in order."""
    with ProcessPoolExecutor(processes) as pool, progress("cells", len(cells)) as advance:
        for found in pool.map(measure, cells, [replicates] * len(cells)):
            advance(f"{found['annotator']} {found['accuracy']:.0%}")
            yield found


def summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether the goal holds: how far tuned λ is from the better of human labels alone and λ = 1."""
    ratios = np.array([c["ratio"] for c in cells])
    weak = [c["n_eff_predicted"] / c["n_eff_simulated"] for c in cells if c["signal"] == "weak"]
    strayed = np.abs(np.array(weak) - 1)
    return {
        "worst_ratio": float(ratios.max()),
        "share_within_2_percent": float((ratios <= 1.02).mean()),
        "worst_n_eff_error_at_weak_signal": float(strayed.max()) if weak else None,
        "failed_lambda_1": int(sum(c["failed"].get("dedpo", 0) for c in cells)),
    }


def text(cells: list[dict[str, Any]]) -> str:
    """One line a cell; squared errors relative to human labels alone."""
    head = (
        f"{'specified':9} {'signal':6} {'n_l':>5} {'annotator':9} {'acc':>4} {'agree':>5} {'λ̂':>5} {'synth':>8} "
        f"{'λ=1':>6} {'tuned':>6} {'at ref':>6} {'ratio':>6} {'n_eff':>6} {'found':>6} failed"
    )
    lines = [head]
    for c in cells:
        relative = [c[f"mse_{name}"] / c["mse_human_only"] for name in ("synthetic", "dedpo", "tuned")]
        at_reference = c["mse_tuned_reference"] / c["mse_human_only"]
        lines.append(
            f"{c['specified']!s:9} {c['signal']:6} {c['n_labelled']:5} {c['annotator']:9} {c['accuracy']:4.2f} "
            f"{c['agreement']:5.2f} {c['power']:5.2f} {relative[0]:8.2f} {relative[1]:6.2f} {relative[2]:6.3f} "
            f"{at_reference:6.3f} {c['ratio']:6.3f} {c['n_eff_predicted']:6.0f} {c['n_eff_simulated']:6.0f} "
            f"{c['failed'] or ''}"
        )
    return "\n".join([*lines, "", *(f"{k}: {v}" for k, v in summary(cells).items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--replicates", type=int, default=400, help="draws of every cell (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    begun = time.perf_counter()
    cells = list(run(grid(), asked.replicates, asked.processes))
    if asked.json:
        print(json.dumps({"cells": cells, "summary": summary(cells)}, indent=1))
    else:
        print(text(cells))
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
