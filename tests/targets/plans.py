"""Pilots and their plans, for the tests of the planner, its words and its picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dedpo.contract.sections import PlanConfig, TargetsConfig
from dedpo.targets.estimates import Regime, estimate
from dedpo.targets.plan import planner
from dedpo.targets.reading import TrainingPairs
from tests.targets.cases import agreeing, opinions

# A label costs $1, a pair $0.25 to draw and train on and $0.50 with the annotator's answer.
SIMPLE: dict[str, Any] = {
    "price_human": 1,
    "price_annotator": 0.25,
    "price_gpu_hour": 1,
    "gpu_hours_per_1000_pairs": 250,
}


def plan(found: TrainingPairs, regime: Regime = "probe", **settings: Any) -> dict[str, Any]:
    return planner.plan(
        found, estimate(found, TargetsConfig()), PlanConfig(**SIMPLE | {"bootstrap": 200} | settings), regime
    )


def hard(right: int, wrong: int, n: int) -> TrainingPairs:
    return opinions(*agreeing(right, wrong), n=n)


def learnable(n_labelled: int = 300, n: int = 1500) -> TrainingPairs:
    """An annotator that says little beyond the features, so that it helps at the reference and hardly later."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    human = (rng.random(n) < 1 / (1 + np.exp(-3 * x[:, 0]))) * 1.0
    annotator = (x[:, 0] + 0.4 * rng.normal(size=n) > 0) * 1.0
    return opinions(human[:n_labelled].tolist(), annotator.tolist(), n=n, features=x)


# Accuracy 0.8 at the reference: κ = 0.36, so that 100 of 500 are worth 100/(1 − 0.8·0.36) = 140.4.
PILOT = hard(80, 20, 500)


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "both": lambda: plan(learnable()),
    "useless": lambda: plan(hard(50, 50, 5000), target=3),
    "perfect": lambda: plan(hard(100, 0, 5000)),
    "tiny": lambda: plan(hard(9, 3, 500), target=5000),
    "labelled": lambda: plan(hard(80, 20, 100), target=3),
    "large": lambda: plan(hard(160, 40, 20_000), target=2_000_000),
    "no choice": lambda: plan(opinions([0.0, 1.0] * 20, [0.5] * 40, n=400)),
}
