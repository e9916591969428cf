"""What people were asked, what they answered, and what joined ratings count."""

from __future__ import annotations

from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict

# summary.json of a round; the propensities where they mean something.
Selection = TypedDict("Selection", {
    "design": str, "selected": int, "candidates": int, "uniform_share": float, "lowest_propensity": NotRequired[float],
    "highest_propensity": NotRequired[float],
})  # fmt: skip


class Selected(Selection):
    """What a selection returns; `project` is the folder for Label Studio."""

    round: str
    drawn: str
    project: Path


# How many of a round's selected pairs are answered, and by whom.
Answers = TypedDict("Answers", {
    "design": str, "selected": int, "answered": int, "missing": int, "raters": dict[str, int],
})  # fmt: skip

# What splits count of answered.json: how pairs were drawn ('again': second opinions, not counted), and pair → raters.
Note = TypedDict("Note", {"design": str, "pairs": dict[str, list[str]]})


class Answered(Answers, Note):
    """answered.json; `exports`: SHA-256 → name."""

    exports: dict[str, str]


# summary.json of joined ratings.
Joined = TypedDict("Joined", {
    "ratings": int, "imported": int, "merged": int, "left_out": int, "pairs": int, "raters": int,
})  # fmt: skip

# How far people agree, on `pairs` pairs; Fleiss' κ of raters, Cohen's with the imported ratings.
Alike = TypedDict("Alike", {
    "agreement": float | None, "low": float | None, "high": float | None, "pairs": int,
    "fleiss_kappa": NotRequired[float | None], "cohen_kappa": NotRequired[float | None],
})  # fmt: skip

# What a merge returns; `set_aside_in` is a file, `agreement` is that of 'raters' and with the 'import'.
Merged = TypedDict("Merged", {
    "annotations": int, "new_ratings": int, "known": int, "duplicates": int, "set_aside": dict[str, int],
    "rounds": dict[str, Answers], "warnings": list[str], "set_aside_in": NotRequired[Path],
    "agreement": NotRequired[dict[str, Alike | None]],
})  # fmt: skip
