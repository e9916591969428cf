"""The annotator's bias, read from bias.json, whose pieces may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from dedpo.errors import excerpt
from dedpo.report.labels import written
from dedpo.report.reading import Json, finite
from dedpo.report.summary import Estimate

WORDS_DRAWN: Final = 8


class Point(NamedTuple):
    """Pairs with about the same difference `x` in a property, and how often each side chooses image 1."""

    x: float
    human: Estimate
    annotator: Estimate


class Panel(NamedTuple):
    """One half of the picture; `n` pairs."""

    title: str
    n: int
    points: list[Point]


class Bias(NamedTuple):
    """What the page shows of it.

    Attributes:
        headline: the sentence that names words and property.
        agreement: with people, over `agreement.n` pairs.
        property: of images, on the axis of `panels`; None if no property was found to differ.
        words: agreement on prompts with a word, the most surely guilty first: drawn where there are no panels.
    """

    headline: str
    agreement: Estimate | None
    kappa: float | None
    ceiling: Estimate | None
    consistency: Estimate | None
    property: str | None
    panels: list[Panel]
    words: list[tuple[str, Estimate]]


def bias(facts: Json) -> Bias | None:
    """What bias.json says; None if it says nothing that can be shown."""
    headline = facts.get("headline")
    if not isinstance(headline, str) or not headline:
        return None
    agreement, position, picture = (_object(facts.get(k)) for k in ("agreement", "position_bias", "picture"))
    panels = [panel for found in _objects(picture.get("panels")) if (panel := _panel(found))]
    return Bias(
        headline=excerpt(headline, 600),
        agreement=written(agreement),
        kappa=finite(agreement.get("kappa")),
        ceiling=written(facts.get("ceiling")),
        consistency=written(position.get("consistency")),
        property=excerpt(str(picture["property"]), 40) if panels and picture.get("property") else None,
        panels=panels if picture.get("property") else [],
        words=list(_words(facts))[:WORDS_DRAWN],
    )


def plain(found: Bias | None) -> dict[str, Any]:
    """For metrics.json: {'agreement': {value, low, high, kappa, n}}, or nothing."""
    if found is None or found.agreement is None:
        return {}
    a = found.agreement
    numbers = {"value": a.mean, "low": finite(a.low), "high": finite(a.high), "kappa": found.kappa, "n": a.n}
    return {"agreement": numbers}


def _panel(found: Json) -> Panel | None:
    points = []
    for b in _objects(found.get("bins")):
        x, human, annotator = finite(b.get("x")), written(b.get("human")), written(b.get("annotator"))
        if x is not None and human and annotator:
            points.append(Point(x, human, annotator))
    return (
        Panel(excerpt(str(found.get("title") or "all prompts"), 80), int(finite(found.get("n")) or 0), points)
        if points
        else None
    )


def _words(facts: Json) -> Iterator[tuple[str, Estimate]]:
    """Agreement with its interval: the one of the difference from prompts without the word, moved there."""
    for w in _objects(facts.get("words")):
        differ, rest = finite(w.get("disagreement")), finite(w.get("disagreement_without"))
        low, high = finite(w.get("low")), finite(w.get("high"))
        if differ is not None and rest is not None and low is not None and high is not None:
            bounds = max(0.0, 1 - rest - high), min(1.0, 1 - rest - low)
            yield (
                excerpt(str(w.get("word")), 40),
                Estimate(1 - differ, *bounds, int(finite(w.get("n_prompts")) or 0), "prompts"),
            )


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Json]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
