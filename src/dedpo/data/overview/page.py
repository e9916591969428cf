"""The page of `dedpo data stats`: one file, no script, no request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from dedpo.charts import bars

TEMPLATE: Final = "overview.html.j2"
PROMPT_SHOWN: Final = 160  # characters


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


def render(found: Mapping[str, Any], samples: Sequence[Sample], place: str) -> str:
    """The page; every text in it that came from data is escaped.

    Args:
        found: what stats.json holds.
        place: where the import lies.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "amount": amount, "brief": brief}
    css = Markup((here / "overview.css").read_text(encoding="utf-8"))  # noqa: S704 (it ships with the package)
    drawn = {name: Markup(svg) for name, svg in _charts(found).items()}  # noqa: S704 (charts escape their own texts)
    return environment.get_template(TEMPLATE).render(s=found, samples=samples, place=place, css=css, charts=drawn)


def _charts(found: Mapping[str, Any]) -> dict[str, str]:
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


def percent(value: float | None) -> str:
    """A share as '62 %', unbreakable; '–' for None."""
    return "–" if value is None else f"{100 * value:.0f}\u00a0%"


def amount(value: float | None) -> str:
    """A number with commas and, if it is not whole, one decimal; '–' for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def brief(text: str) -> str:
    """`text`, cut with a note of its whole length."""
    return text if len(text) <= PROMPT_SHOWN else f"{text[:PROMPT_SHOWN]}… ({len(text):,} characters)"
