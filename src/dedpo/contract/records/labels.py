"""What labelling counted, and what asking took."""

from __future__ import annotations

from typing_extensions import TypedDict

# summary.json of the labels; `requests` are of earlier runs, too; `position_bias` < 0: a lean to the first.
Labels = TypedDict("Labels", {
    "pairs": int, "answered": int, "requests": int, "failures": dict[str, int], "mean_preference": float | None,
    "position_bias": float | None, "mean_on_answer_mass": float | None,
})  # fmt: skip

# Of one run: how much was asked now, and kept from earlier runs.
Effort = TypedDict("Effort", {"asked": int, "carried_over": int})


class Labelled(Labels, Effort):
    """What labelling returns."""
