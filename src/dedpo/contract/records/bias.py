"""bias.json: where the annotator differs from people."""

from __future__ import annotations

from typing_extensions import TypedDict

from dedpo.contract.records.intervals import Bounded, Counted


class Agreement(Counted):
    """How often annotator and people choose alike; `decided`: where neither ties."""

    n_prompts: int
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None
    wilson: Bounded
    clustered: Bounded
    decided: Counted


# How well the annotator's preferences tell people's choices apart, by falling threshold.
Roc = TypedDict("Roc", {
    "false_positive": list[float], "true_positive": list[float], "threshold": list[float], "area": float,
})  # fmt: skip


class Ceiling(Counted):
    """How often two people choose alike."""

    fleiss_kappa: float | None
    one_human: float | None
    n_rater_pairs: int


class Position(Counted):
    """The change of P(image 1) between the two orders."""

    consistency: Bounded


class Bin(Counted):
    """What people chose where the annotator said about `said`."""

    said: float


# By what the annotator said.
Calibration = TypedDict("Calibration", {"error": float | None, "bins": list[Bin]})

# A prompt word; `low` and `high` bound `lift`, disagreement with the word minus that without.
Word = TypedDict("Word", {
    "word": str, "words": list[str], "n_prompts": int, "n_pairs": int, "disagreement": float,
    "disagreement_without": float, "lift": float, "low": float | None, "high": float | None, "p": float, "q": float,
    "flagged": bool,
})  # fmt: skip

# Of an image property in people's and the annotator's choices; `where`: on prompts with that word.
Weight = TypedDict("Weight", {
    "property": str, "where": str | None, "n": int, "human": float, "annotator": float, "annotator_low": float,
    "annotator_high": float, "difference": float, "low": float, "high": float, "p": float,
})  # fmt: skip


class Property(Weight):
    """A weight among all that were tested."""

    q: float
    flagged: bool


# Pairs whose difference in the property is about `x`: how often each side chooses image 1.
Point = TypedDict("Point", {"x": float, "n": int, "human": Bounded, "annotator": Bounded})

# One half of the picture.
Panel = TypedDict("Panel", {"title": str, "n": int, "bins": list[Point]})

# The property that differs most.
Picture = TypedDict("Picture", {"property": str, "word": str | None, "panels": list[Panel]})

# The numbers; what is None has its reason in `could_not_compute`.
Analysis = TypedDict("Analysis", {
    "annotator": str, "notes": list[str], "agreement": Agreement | None, "choices": list[list[int]] | None,
    "roc": Roc | None, "ceiling": Ceiling | None, "position_bias": Position | None, "calibration": Calibration | None,
    "words": list[Word], "properties": list[Property], "picture": Picture | None, "could_not_compute": dict[str, str],
})  # fmt: skip


class Bias(Analysis):
    """bias.json; `reversed` says that one side may be the other way round."""

    headline: str
    reversed: str | None
    warnings: list[str]
    settings: dict[str, object]
