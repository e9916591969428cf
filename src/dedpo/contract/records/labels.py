"""What labelling counted, and what asking took."""

from __future__ import annotations

from typing_extensions import TypedDict

# One annotator's labels; `requests` are of earlier runs, too; `position_bias` < 0: a lean to the first, None: it was
# not asked in both orders.
AnnotatorLabels = TypedDict("AnnotatorLabels", {
    "annotator": str, "template": str, "answered": int, "requests": int, "failures": dict[str, int],
    "mean_preference": float | None, "position_bias": float | None, "mean_on_answer_mass": float | None,
})  # fmt: skip

# summary.json of the labels; `answered`: pairs that have a label of one annotator at least; `requests`: of all.
Labels = TypedDict("Labels", {
    "pairs": int, "answered": int, "requests": int, "annotators": list[AnnotatorLabels],
})  # fmt: skip

# Of one run: how much was asked now, and kept from earlier runs.
Effort = TypedDict("Effort", {"asked": int, "carried_over": int})


class Labelled(Labels, Effort):
    """What labelling returns."""
