"""The page of `dedpo data stats`: one file, no script, no request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from dedpo import html_pages
from dedpo.charts import bars
from dedpo.contract.records.data import Overview

TEMPLATE: Final = Path(__file__).parent / "overview.html.j2"


class Sample(NamedTuple):
    """A pair to look at.

    Attributes:
        images: both as data URLs; '' for one that cannot be decoded.
        preference: the mean of its ratings, P(image 1 preferred); None: unrated.
    """

    prompt: str
    images: tuple[str, str]
    preference: float | None
    ratings: int


def render(found: Overview, samples: Sequence[Sample], place: str) -> str:
    """The page; every text in it that came from data is escaped.

    Args:
        found: what stats.json holds.
        place: where the import lies.
    """
    return html_pages.render(TEMPLATE, _charts(found), {"amount": amount}, s=found, samples=samples, place=place)


def _charts(found: Overview) -> dict[str, str]:
    """SVG by name; absent where there is nothing to draw."""
    drawn = {}
    if found["words"]:
        words = {word: 100 * share for word, share in found["words"].items()}
        drawn["words"] = bars(words, "% of pairs", f"Commonest words: {_listed(words)}", lying=True)
    if len(found["groups_by_pairs"]) > 1:
        groups = binned(found["groups_by_pairs"])
        drawn["groups"] = bars(groups, "pairs of a group", f"Groups by number of pairs: {_listed(groups)}", lying=False)
    if found["images"]["distinct_sizes"] > 1:
        sizes = found["images"]["sizes"]
        drawn["sizes"] = bars(sizes, "images", f"Commonest sizes: {_listed(sizes)}", lying=True)
    if found["ratings"]:
        given = found["preferences"]
        drawn["preferences"] = bars(
            given, "P(image 1 preferred)", f"Ratings by preference: {_listed(given)}", lying=False
        )
    return drawn


def binned(counts: Mapping[int, int], most: int = 24) -> dict[str, float]:
    """Counts by a whole number, neighbours put together until at most `most` bars are left."""
    low, high = min(counts), max(counts)
    width = -(-(high - low + 1) // most)
    bins: dict[str, float] = {}
    for begin in range(low, high + 1, width):
        name = str(begin) if width == 1 else f"{begin}–{begin + width - 1}"
        bins[name] = sum(counts.get(value, 0) for value in range(begin, begin + width))
    return bins


def _listed(values: Mapping[str, float]) -> str:
    return "; ".join(f"{name} {value:.3g}" for name, value in values.items())


def amount(value: float | None) -> str:
    """A number with commas and, if it is not whole, one decimal; '–' for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
