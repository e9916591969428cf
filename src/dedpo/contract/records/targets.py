"""targets.json: what must be known of an arm before it is trained."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from dedpo.contract.records.intervals import Counted

# A 95 % interval alone.
Bounds = TypedDict("Bounds", {"low": float | None, "high": float | None})

# The probe: its cross-entropy in nats, and how it was fitted.
ProbeFit = TypedDict("ProbeFit", {"loss": float, "ridge": float, "n_features": int})

# λ, and effective human labels where the arm knows them: in the regime, at the reference, at the probe.
Worth = TypedDict("Worth", {
    "power": float, "n_eff": float | None, "n_eff_interval": Bounds, "n_eff_reference": float | None,
    "n_eff_probe": float | None,
})  # fmt: skip

# All but the words; `ess` is how many evenly drawn labels the labelled pairs are worth.
ArmFacts = TypedDict("ArmFacts", {
    "power": float, "n_eff": float | None, "n_eff_interval": Bounds, "n_eff_reference": float | None,
    "n_eff_probe": float | None, "arm": str, "objective": str, "annotator": str, "annotators": dict[str, float],
    "calibration": str, "n_labelled": int, "n": int, "set_aside": int, "ess": float,
    "regime": Literal["probe", "reference"], "power_reference": float, "power_probe": float | None,
    "flip_rate": float | None, "accuracy": Counted, "probe": ProbeFit | None,
})  # fmt: skip


class Targets(ArmFacts):
    """targets.json."""

    explanation: str
    warnings: list[str]
