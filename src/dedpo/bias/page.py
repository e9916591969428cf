"""bias.html: one file, no script, no request; opens from disk, on a phone and on paper."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

from dedpo import charts, html_pages
from dedpo.bias import answer
from dedpo.html_pages import percent
from dedpo.vision.covariates import COMPARATIVES

Facts = dict[str, Any]
TEMPLATE: Final = Path(__file__).parent / "bias.html.j2"
CHARTED: Final = 12  # words in the chart
TABLED: Final = 40  # words in the table; bias.json has all


def render(facts: Facts) -> str:
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


def _scopes(facts: Facts) -> list[list[Facts]]:
    """The properties' rows: of all prompts, then of those with the guiltiest word."""
    names = dict.fromkeys(row["where"] for row in facts["properties"])
    return [[row for row in facts["properties"] if row["where"] == name] for name in names]


def _charts(facts: Facts) -> dict[str, str]:
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


def _panel(panel: Facts, label: str, span: float) -> str:
    spoken = "; ".join(
        f"at {b['x']:+.1f} people {percent(b['human']['value'])}, annotator {percent(b['annotator']['value'])}"
        for b in panel["bins"]
    )
    places = [b["x"] for b in panel["bins"]]
    sides = [
        charts.Side(colour, places, *([b[who][name] for b in panel["bins"]] for name in ("value", "low", "high")))
        for who, colour in (("human", charts.PEOPLE), ("annotator", charts.MACHINE))
    ]
    return charts.shares(sides, label, (-span, span), f"{panel['title']}: image 1 is chosen, {spoken}")


def _reliability(bins: list[Facts]) -> str:
    """What people chose against what the annotator said."""
    columns = ([b[name] for b in bins] for name in ("said", "value", "low", "high", "n"))
    spoken = "; ".join(f"said {percent(b['said'])}, people {percent(b['value'])}" for b in bins)
    side = charts.Side(charts.MACHINE, *columns)
    return charts.shares([side], "the annotator’s P(image 1)", (0, 1), f"calibration: {spoken}")


def _word_chart(facts: Facts) -> str:
    """Agreement of the words most surely guilty, or most surely innocent, in the order of agreement."""
    rows = []
    for w in sorted(facts["words"][:CHARTED], key=lambda w: w["disagreement"], reverse=True):
        guilty = w["flagged"] and w["lift"] > 0
        colour = charts.WORSE if guilty else charts.BETTER if w["flagged"] else charts.MUTED
        shift = 1 - w["disagreement_without"]
        low = math.nan if w["high"] is None else max(0.0, shift - w["high"])
        high = math.nan if w["low"] is None else min(1.0, shift - w["low"])
        rows.append(charts.Dot(_wordlist(w["words"], 1), colour, 1 - w["disagreement"], low, high, emphasis=guilty))
    lines = {facts["agreement"]["value"]: charts.INK}
    if facts["ceiling"]:
        lines[facts["ceiling"]["value"]] = charts.PEOPLE
    spoken = "; ".join(f"{r.title} {percent(r.value)}" for r in rows)
    return charts.dots(rows, "agreement with people", f"agreement by word: {spoken}", lines=lines, percent=True)


def _wordlist(words: list[str], limit: int = 4) -> str:
    """Words that occur in the same prompts, the first few of them."""
    more = len(words) - limit
    return ", ".join(words[:limit]) + (f" +{more}" if more > 0 else "")
