"""The annotator's bias, as bias.json has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from dedpo.contract.records import bias as record
from dedpo.contract.records.report import BiasNumbers
from dedpo.errors import excerpt
from dedpo.report.labels import counted, share
from dedpo.report.reading import finite
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


def bias(facts: record.Bias | None) -> Bias | None:
    """What the page shows of bias.json; None without one."""
    if facts is None:
        return None
    agreement, position, picture = facts["agreement"], facts["position_bias"], facts["picture"]
    return Bias(
        headline=excerpt(facts["headline"], 600),
        agreement=counted(agreement),
        kappa=agreement["kappa"] if agreement else None,
        ceiling=counted(facts["ceiling"]),
        consistency=share(position["consistency"]) if position else None,
        property=excerpt(picture["property"], 40) if picture else None,
        panels=[_panel(panel) for panel in picture["panels"]] if picture else [],
        words=list(_words(facts["words"]))[:WORDS_DRAWN],
    )


def plain(found: Bias | None) -> BiasNumbers:
    """For metrics.json."""
    if found is None or found.agreement is None:
        return {}
    a = found.agreement
    bounds = finite(a.low), finite(a.high)
    return {"agreement": {"value": a.mean, "low": bounds[0], "high": bounds[1], "kappa": found.kappa, "n": a.n}}


def _panel(found: record.Panel) -> Panel:
    sides = ((b["x"], share(b["human"]), share(b["annotator"])) for b in found["bins"])
    points = [Point(x, human, annotator) for x, human, annotator in sides if human and annotator]
    return Panel(excerpt(found["title"], 80), found["n"], points)


def _words(found: Sequence[record.Word]) -> Iterator[tuple[str, Estimate]]:
    """Agreement with its interval: the one of the difference from prompts without the word, moved there."""
    for w in found:
        if w["low"] is not None and w["high"] is not None:
            rest = 1 - w["disagreement_without"]
            bounds = max(0.0, rest - w["high"]), min(1.0, rest - w["low"])
            yield excerpt(w["word"], 40), Estimate(1 - w["disagreement"], *bounds, w["n_prompts"], "prompts")
