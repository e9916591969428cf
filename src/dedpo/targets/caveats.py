"""The warnings of an arm: each says what is wrong, by a number, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from dedpo.contract.records.targets import ArmFacts
from dedpo.contract.sections import TargetsConfig
from dedpo.targets import arms
from dedpo.targets.arms import Table
from dedpo.targets.estimates import Estimates
from dedpo.targets.facts import LARGEST_FLIP_RATE
from dedpo.targets.reading import TrainingPairs

# At λ = 1 with hard labels the gradient is noisier than human labels alone would give, below this accuracy.
USEFUL_ACCURACY: Final = 0.75
FEW_LABELS: Final = 100
# Below it the annotator's part in the gradient cannot be told from nothing.
LITTLE_POWER: Final = 0.05
# Of rdpo: an error in y is magnified fivefold and more.
LARGE_FLIP_RATE: Final = 0.4
_SLACK: Final = 1e-9


def warnings(
    facts: ArmFacts, kept: TrainingPairs, estimates: Estimates, coefficients: Table, config: TargetsConfig
) -> list[str]:
    """Those that hold for one arm, from its `facts`, its pairs and its table."""
    arm, found = facts["arm"], list(_overlap(facts))
    if arm in arms.NEEDS_ANNOTATOR:
        found += _constant(kept)
    if arm in arms.DEBIASED:
        found += [*_few(facts), *_accuracy(facts), *_no_gain(facts), *_probe(facts, estimates, config)]
    if arm in arms.ROBUST:
        found += _flip_rate(facts)
    if facts["objective"] == "preference":
        found += _range(arm, coefficients)
    return found


def _overlap(facts: ArmFacts) -> Iterator[str]:
    needs_rates = facts["arm"] in arms.DEBIASED | arms.LABELLED_ONLY | {"dpo_synthetic_split"}
    if needs_rates and facts["ess"] < facts["n_labelled"] / 2:
        yield (
            f"the {facts['n_labelled']} labelled pairs count like {facts['ess']:.0f}: few of small propensity carry "
            "most of the weight 1/π; label more of their kind, or split again with a more even draw"
        )


def _constant(kept: TrainingPairs) -> Iterator[str]:
    for name, answers in zip(kept.annotators, kept.annotations.T, strict=True):
        known = answers[~np.isnan(answers)]
        if len(known) > 1 and np.ptp(known) < _SLACK:
            yield (
                f"annotator {name} answers {known[0]:.2f} on all {len(known)} pairs, which says nothing of any; "
                "look at its answers, and take another template or annotator"
            )


def _few(facts: ArmFacts) -> Iterator[str]:
    if facts["n_labelled"] < FEW_LABELS:
        yield (
            f"only {facts['n_labelled']} human labels: λ and the accuracy are rough guesses; label {FEW_LABELS} or more"
        )


def _accuracy(facts: ArmFacts) -> Iterator[str]:
    """The 75 % rule, which is about λ = 1."""
    accuracy = facts["accuracy"]
    if facts["arm"] != "dedpo":
        return
    if accuracy["value"] is None:
        yield "on no labelled pair do human and annotator both choose: the accuracy is unknown; use dedpo_tuned"
    elif accuracy["low"] is not None and accuracy["low"] <= USEFUL_ACCURACY:
        yield (
            f"the annotator's accuracy, {accuracy['value']:.0%} ({accuracy['low']:.0%} to {accuracy['high']:.0%}), is "
            f"not clearly above {USEFUL_ACCURACY:.0%}: at λ = 1 it may add more noise than it removes; use dedpo_tuned"
        )


def _no_gain(facts: ArmFacts) -> Iterator[str]:
    # Both are rounded to a tenth.
    if facts["n_eff"] is not None and facts["n_eff"] < facts["ess"] - 0.1:
        place = "at the reference" if facts["regime"] == "reference" else "at the probe's residuals"
        remedy = "use dedpo_tuned" if facts["arm"] == "dedpo" else "let targets.power be null"
        yield (
            f"at λ = {facts['power']:.2f} the labels are worth {facts['n_eff']:,.0f} human labels {place}, fewer than "
            f"the {facts['ess']:,.0f} there are: the annotator adds more noise than it removes; {remedy}"
        )


def _probe(facts: ArmFacts, estimates: Estimates, config: TargetsConfig) -> Iterator[str]:
    if config.regime == "probe" and estimates.no_probe:
        yield (
            "λ̂ and n_eff are those at the reference, right for the first steps of training and too hopeful for the "
            f"last: {estimates.no_probe}"
        )
    power = facts["power_probe"]
    if facts["arm"] in arms.TUNED and power is not None and power < LITTLE_POWER:
        yield (
            f"λ̂ = {power:.2f} at the probe's residuals: the annotator adds next to nothing beyond what the human "
            "labels teach; label more pairs or ask another annotator"
        )


def _flip_rate(facts: ArmFacts) -> Iterator[str]:
    rate = facts["flip_rate"]
    if facts["arm"] == "rdpo" and rate is not None and rate >= LARGE_FLIP_RATE:
        capped = f" (capped at {LARGEST_FLIP_RATE})" if rate == LARGEST_FLIP_RATE else ""
        yield (
            f"flip rate {rate:.2f}{capped}: rdpo divides by 1 − 2ε = {1 - 2 * rate:.2f}, and magnifies every wrong "
            "choice as much; use cdpo, or ask another annotator"
        )


def _range(arm: str, coefficients: Table) -> Iterator[str]:
    has_mass = coefficients.a > 0
    targets = coefficients.b[has_mass] / coefficients.a[has_mass]
    if targets.min() < -_SLACK or targets.max() > 1 + _SLACK:
        remedy = "set train.guard" + (" or train dedpo_ipo" if arm in arms.DEBIASED else "")
        yield (
            f"targets b/a run from {targets.min():.2f} to {targets.max():.2f}: outside [0, 1] the loss has no lower "
            f"bound, and a long training may diverge; {remedy}"
        )
