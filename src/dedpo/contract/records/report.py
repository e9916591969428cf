"""metrics.json of the report."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

from dedpo.contract.records.intervals import Counted, Mean

Table = dict[str, dict[str, Mean]]

# Means over training seeds.
LabelMeans = TypedDict("LabelMeans", {
    "n_labelled": float | None, "n": float | None, "power": float | None, "n_eff": float | None,
    "accuracy": float | None,
})  # fmt: skip

# The primary arm's against a rival; `low` and `high` bound `win_rate`, where a tie counts half.
RivalShares = TypedDict("RivalShares", {
    "win": float | None, "tie": float | None, "loss": float | None, "win_rate": float | None, "low": float | None,
    "high": float | None, "n": int,
})  # fmt: skip


class Agreed(Counted):
    """The annotator's agreement with people."""

    kappa: float | None


# Nothing where there is no bias report.
BiasNumbers = TypedDict("BiasNumbers", {"agreement": NotRequired[Agreed]})

# Arms each at their own best step and all at one drift: what the primary arm has more than each.
Fair = TypedDict("Fair", {
    "drift": float | None, "best_step": dict[str, int], "at_best": dict[str, Mean], "at_drift": dict[str, Mean],
})  # fmt: skip

# method → metric → mean; frontier: None without snapshots; rival → criterion → shares of verdicts.
Report = TypedDict("Report", {
    "seeds": list[int], "primary": str, "metric": str, "interval": str, "verdict": str, "methods": Table,
    "differences": Table, "win_rates": Table, "policies": Table, "labels": LabelMeans,
    "frontier": NotRequired[Fair | None],
    "judge": dict[str, dict[str, RivalShares]], "bias": BiasNumbers,
})  # fmt: skip
