"""plan.json: what the next human label and the next annotated pair are worth."""

from __future__ import annotations

from typing_extensions import TypedDict

from dedpo.contract.records.intervals import Bounded, Counted

# What n_eff gains from so many more, what they cost in US dollars, and what one more effective label does.
Next = TypedDict("Next", {"more_labels": int, "more_pairs": int, "cost": float, "gain": Bounded, "cost_each": Bounded})

# The cheapest mix for the target, in US dollars.
Mix = TypedDict("Mix", {"humans_only": bool, "more_labels": Bounded, "more_pairs": Bounded, "cost": Bounded})

# The target without one more human label, and the most that pairs alone can reach.
Alone = TypedDict("Alone", {"more_pairs": float | None, "cost": float | None, "limit": float | None})

# n_eff along a curve.
Band = TypedDict("Band", {"n_eff": list[float], "low": list[float | None], "high": list[float | None]})


class ByLabels(Band):
    """Against human labels."""

    n_labelled: list[float]


class ByAccuracy(Band):
    """Against the annotator's accuracy."""

    accuracy: list[float]


# Pairs and US dollars for the target, against human labels.
ByCost = TypedDict("ByCost", {"n_labelled": list[float], "n": list[float], "cost": list[float]})

# Of the picture's three panels; no accuracy where none is known.
Curves = TypedDict("Curves", {"labels": ByLabels, "accuracy": ByAccuracy | None, "cost": ByCost})

# At the reference, or at the probe's residuals.
RegimePlan = TypedDict("RegimePlan", {
    "power": float, "help": Bounded, "n_eff": Bounded, "next_labels": Next, "next_pairs": Next, "mix": Mix,
    "annotated_alone": Alone, "curves": Curves,
})  # fmt: skip

# In US dollars: a human label, an annotated pair, and the GPU time of a pair.
Prices = TypedDict("Prices", {"human": float, "annotated": float, "bare": float})

# The target without the annotator.
HumansAlone = TypedDict("HumansAlone", {"more_labels": float, "more_pairs": float, "cost": float})

# All but the words.
PlanFacts = TypedDict("PlanFacts", {
    "annotators": dict[str, float], "accuracy": Counted, "n_labelled": int, "ess": float, "n": int, "regime": str,
    "no_probe": str | None, "target": float, "multiple": float | None, "prices": Prices, "humans_alone": HumansAlone,
    "regimes": dict[str, RegimePlan],
})  # fmt: skip


class Plan(PlanFacts):
    """plan.json."""

    advice: str
    warnings: list[str]
