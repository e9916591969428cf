"""From a pilot and prices: what the next human label and the next annotated pair are worth, as facts.

Everything is said twice: at the reference, where training begins, and at the probe's residuals, near its end, where
only what the annotator knows beyond the human labels counts. The probe, the annotators' shares and a recalibration are
taken as the pilot found them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dedpo.contract.records.plan import PlanFacts
from dedpo.contract.sections import PlanConfig
from dedpo.errors import UserError
from dedpo.rng import generator
from dedpo.stats import planning
from dedpo.stats.planning import Prices
from dedpo.targets.estimates import Estimates, Regime, residual_products
from dedpo.targets.plan import regimes
from dedpo.targets.plan.regimes import Case
from dedpo.targets.reading import TrainingPairs

Floats = NDArray[np.float64]

REGIMES: Final[tuple[Regime, ...]] = ("probe", "reference")
# Below these a pilot's second moments are hardly more than a guess.
FEW_LABELS: Final = 20
# plan.target up to here is a multiple of today's n_eff.
LARGEST_MULTIPLE: Final = 10


def plan(opinions: TrainingPairs, found: Estimates, config: PlanConfig, regime: Regime) -> PlanFacts:
    """The content of plan.json but for its words; None is what cannot be known, and ∞.

    Args:
        found: what the pilot's opinions say (targets/estimates.py).
        regime: which the target and the recommendation rest on; the reference where there is no probe.

    Raises:
        UserError: no labelled pair has an answer, all human labels are ties, annotated pairs cost nothing, or the
            target is reached today.
    """
    prices = _prices(config)
    _check(found)
    decisive = found.regime(regime)
    today = (float(max(1, round(found.ess))), float(found.n))
    now = regimes.today(found.at(decisive), *today)
    target = _target(config.target, now.value)
    cases = {
        name: Case(
            moments=found.at(name),
            drawn=_drawn(opinions, found, name, config),
            today=today,
            target=target,
            prices=prices,
            accuracy=found.accuracy.interval.value,
        )
        for name in REGIMES
        if name == "reference" or found.residual is not None
    }
    n_labelled, n, cost = planning.humans_alone(target, today, prices)
    accuracy = found.accuracy
    return {
        "annotators": found.shares,
        "accuracy": {**regimes.interval(accuracy.interval), "n": accuracy.n},
        "n_labelled": found.n_labelled,
        "ess": round(found.ess, 1),
        "n": found.n,
        "regime": decisive,
        "no_probe": found.no_probe,
        "target": target,
        "multiple": config.target if config.target <= LARGEST_MULTIPLE else None,
        "prices": {"human": prices.human, "annotated": prices.annotated, "bare": prices.bare},
        "humans_alone": {"more_labels": n_labelled - today[0], "more_pairs": n - today[1], "cost": cost},
        "regimes": {name: regimes.facts(case) for name, case in cases.items()},
    }


def _check(found: Estimates) -> None:
    if not found.n_labelled:
        raise UserError(
            f"no training pair of the {found.n} with an annotator's answer has a human label: a plan needs a pilot; "
            "label 200 pairs and run 'dedpo data split' again"
        )
    if found.reference.human == 0:
        raise UserError(
            f"all {found.n_labelled} human labels are ties, which say nothing of any annotator; label pairs that differ"
        )


def _prices(config: PlanConfig) -> Prices:
    bare = config.price_gpu_hour * config.gpu_hours_per_1000_pairs / 1000
    prices = Prices(human=config.price_human, annotated=config.price_annotator + bare, bare=bare)
    if prices.annotated == 0:
        raise UserError(
            "plan.price_annotator, plan.price_gpu_hour: an annotated pair costs $0, so that the cheapest mix has "
            "endlessly many; give one of them a price"
        )
    return prices


def _target(target: float, now: float) -> float:
    """n_eff to reach, a whole number."""
    is_multiple = target <= LARGEST_MULTIPLE
    # A hair less than the product: its last bit must not ask for one more.
    wanted = float(np.ceil(target * now * (1 - 1e-12) if is_multiple else target))
    if wanted <= now or (is_multiple and target <= 1):
        raise UserError(
            f"plan.target {target:g}: {wanted:,.0f} effective human labels are already reached, today's are "
            f"{now:,.0f}; set a count above that, or a multiple above 1 (up to {LARGEST_MULTIPLE})"
        )
    return wanted


def _drawn(opinions: TrainingPairs, found: Estimates, regime: Regime, config: PlanConfig) -> Floats:
    """Moments of resampled prompts, shape (draws, 3)."""
    values, groups = residual_products(opinions, found.preference, found.probe if regime == "probe" else None)
    return planning.drawn_moments(values, groups, config.bootstrap, generator("plan", config.seed, regime))
