"""bias.html: one file, no script, no request; opens from disk, on a phone and on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dedpo import charts, html_pages
from dedpo.bias import answer
from dedpo.contract.records.bias import Bias, Bin, Panel, Property
from dedpo.contract.records.intervals import Bounded
from dedpo.html_pages import percent
from dedpo.vision.covariates import COMPARATIVES

TEMPLATE: Final = Path(__file__).parent / "bias.html.j2"
CHARTED: Final = 12  # words in the chart
TABLED: Final = 40  # words in the table; bias.json has all


def render(facts: Bias) -> str:
    """The page; every text in it that came from data is escaped."""
    filters = {
        "points": answer.points,
        "bounds": answer.bounds,
        "number": answer.number,
        "chance": answer.chance,
        "leaning": answer.leaning,
        "wordlist": _wordlist,
    }
    verdict = answer.verdict(facts)
    return html_pages.render(
        TEMPLATE, _charts(facts), filters, f=facts, scopes=_scopes(facts), verdict=verdict, tabled=TABLED
    )


def _scopes(facts: Bias) -> list[list[Property]]:
    """The properties' rows: of all prompts, then of those with the guiltiest word."""
    names = dict.fromkeys(row["where"] for row in facts["properties"])
    return [[row for row in facts["properties"] if row["where"] == name] for name in names]


def _charts(facts: Bias) -> dict[str, str]:
    """SVG by name: 'picture 0' and so on for each panel, 'words', 'calibration'; absent where nothing is to draw."""
    found = {}
    if picture := facts["picture"]:
        more, less = COMPARATIVES[picture["property"]]
        span = max(0.1, 1.15 * max(abs(b["x"]) for panel in picture["panels"] for b in panel["bins"]))
        label = f"← image 1 is {less} · {more} →"
        found = {f"picture {i}": _panel(panel, label, span) for i, panel in enumerate(picture["panels"])}
    if facts["words"]:
        found["words"] = _word_chart(facts)
    if facts["calibration"]:
        found["calibration"] = _reliability(facts["calibration"]["bins"])
    return found


def _panel(panel: Panel, label: str, span: float) -> str:
    spoken = "; ".join(
        f"at {b['x']:+.1f} people {percent(b['human']['value'])}, annotator {percent(b['annotator']['value'])}"
        for b in panel["bins"]
    )
    places = [b["x"] for b in panel["bins"]]
    sides = [
        charts.Side(colour, places, *_columns(shares))
        for colour, shares in (
            (charts.PEOPLE, [b["human"] for b in panel["bins"]]),
            (charts.MACHINE, [b["annotator"] for b in panel["bins"]]),
        )
    ]
    return charts.shares(sides, label, (-span, span), f"{panel['title']}: image 1 is chosen, {spoken}")


def _reliability(bins: list[Bin]) -> str:
    """What people chose against what the annotator said."""
    spoken = "; ".join(f"said {percent(b['said'])}, people {percent(b['value'])}" for b in bins)
    places, sizes = [b["said"] for b in bins], [b["n"] for b in bins]
    side = charts.Side(charts.MACHINE, places, *_columns(bins), sizes)
    return charts.shares([side], "the annotator’s P(image 1)", (0, 1), f"calibration: {spoken}")


def _columns(shares: Sequence[Bounded]) -> tuple[list[float], list[float], list[float]]:
    """Values, lower and upper ends; NaN for what is not known."""
    known = [[math.nan if end is None else end for end in (s["value"], s["low"], s["high"])] for s in shares]
    values, lows, highs = (list(column) for column in zip(*known, strict=True))
    return values, lows, highs


def _word_chart(facts: Bias) -> str:
    """Agreement of the words most surely guilty, or most surely innocent, in the order of agreement."""
    rows = []
    for w in sorted(facts["words"][:CHARTED], key=lambda w: w["disagreement"], reverse=True):
        guilty = w["flagged"] and w["lift"] > 0
        colour = charts.WORSE if guilty else charts.BETTER if w["flagged"] else charts.MUTED
        shift = 1 - w["disagreement_without"]
        low = math.nan if w["high"] is None else max(0.0, shift - w["high"])
        high = math.nan if w["low"] is None else min(1.0, shift - w["low"])
        rows.append(charts.Dot(_wordlist(w["words"], 1), colour, 1 - w["disagreement"], low, high, emphasis=guilty))
    known = (facts["agreement"], charts.INK), (facts["ceiling"], charts.PEOPLE)
    lines = {found["value"]: colour for found, colour in known if found and found["value"] is not None}
    spoken = "; ".join(f"{r.title} {percent(r.value)}" for r in rows)
    return charts.dots(rows, "agreement with people", f"agreement by word: {spoken}", lines=lines, percent=True)


def _wordlist(words: list[str], limit: int = 4) -> str:
    """Words that occur in the same prompts, the first few of them."""
    more = len(words) - limit
    return ", ".join(words[:limit]) + (f" +{more}" if more > 0 else "")
