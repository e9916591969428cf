"""What must be known of an arm before it is trained: the content of its targets.json, but for the words."""

from __future__ import annotations

from typing import Final

import numpy as np

from dedpo.contract.records.targets import ArmFacts, Bounds, Worth
from dedpo.contract.sections import TargetsConfig
from dedpo.errors import UserError
from dedpo.stats.overlap import kish
from dedpo.stats.power import best_power, effective_labels, effective_labels_interval
from dedpo.targets import arms
from dedpo.targets.estimates import Estimates
from dedpo.targets.reading import TrainingPairs

# rdpo divides by 1 − 2ε; an estimate above this would magnify its own error more than tenfold.
LARGEST_FLIP_RATE: Final = 0.45
_OBJECTIVES: Final = {"dedpo_ipo": "ipo", **{arm: arm for arm in ("sft", *arms.SELF_TRAINING)}}


def facts(arm: str, kept: TrainingPairs, estimates: Estimates, config: TargetsConfig, set_aside: int) -> ArmFacts:
    """Everything in targets.json but its explanation and warnings; None is what cannot be known.

    Args:
        kept: the pairs that the arm trains on, at least one of them labelled.
        estimates: of all training pairs.
        set_aside: how many the arm cannot use.

    Raises:
        UserError: the arm needs a flip rate and none is set or can be estimated.
    """
    accuracy, probe = estimates.accuracy, estimates.probe
    ess = kish(1 / kept.propensity[kept.is_labelled])
    return {
        "arm": arm,
        "objective": _OBJECTIVES.get(arm, "preference"),
        "annotator": " + ".join(kept.annotators),
        "annotators": estimates.shares,
        "calibration": estimates.calibration,
        "n_labelled": int(kept.is_labelled.sum()),
        "n": len(kept.human),
        "set_aside": set_aside,
        "ess": round(ess, 1),
        "regime": estimates.regime(config.regime),
        "power_reference": estimates.power_reference,
        "power_probe": estimates.power_probe,
        **_worth(arm, len(kept.human), ess, estimates, config),
        "flip_rate": _flip_rate(arm, estimates, config),
        "accuracy": {
            "value": _finite(accuracy.interval.value),
            "low": _finite(accuracy.interval.low),
            "high": _finite(accuracy.interval.high),
            "n": accuracy.n,
        },
        "probe": None
        if probe is None
        else {"loss": probe.loss, "ridge": probe.ridge, "n_features": estimates.n_features},
    }


def _worth(arm: str, n: int, ess: float, estimates: Estimates, config: TargetsConfig) -> Worth:
    """λ, and effective human labels in the regime and in both."""
    # None for the imputing arms: their error is bias, which no number of labels measures.
    known = {"dpo_all_human": n}.get(arm, ess if arm in arms.LABELLED_ONLY else None)
    if arm not in arms.DEBIASED:
        labels = None if known is None else round(float(known), 1)
        nothing: Bounds = {"low": None, "high": None}
        return Worth(power=0.0, n_eff=labels, n_eff_reference=labels, n_eff_probe=labels, n_eff_interval=nothing)
    power = _power(arm, estimates, config)
    m = estimates.at(config.regime)
    interval = effective_labels_interval(m, ess, n, power)
    residual = estimates.residual
    return {
        "power": power,
        "n_eff": _rounded(interval.value),
        "n_eff_interval": {"low": _rounded(interval.low), "high": _rounded(interval.high)},
        "n_eff_reference": _rounded(effective_labels(estimates.reference, ess, n, power)),
        "n_eff_probe": None if residual is None else _rounded(effective_labels(residual, ess, n, power)),
    }


def _power(arm: str, estimates: Estimates, config: TargetsConfig) -> float:
    if arm not in arms.TUNED:
        return 1.0
    return best_power(estimates.at(config.regime)) if config.power is None else config.power


def _flip_rate(arm: str, estimates: Estimates, config: TargetsConfig) -> float | None:
    """ε as configured, or 1 − accuracy; None for the arms without."""
    if arm not in arms.ROBUST:
        return None
    if config.flip_rate is not None:
        return config.flip_rate
    if not estimates.accuracy.n:
        raise UserError(
            f"arm {arm}: on no labelled pair do human and annotator both choose, so that its flip rate is unknown; "
            "set targets.flip_rate or drop the arm"
        )
    return min(1 - estimates.accuracy.interval.value, LARGEST_FLIP_RATE)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _rounded(value: float) -> float | None:
    return round(float(value), 1) if np.isfinite(value) else None
