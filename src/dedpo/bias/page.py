"""bias.html: one file, no script, no request; opens from disk, on a phone and on paper."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

from dedpo import charts
from dedpo.bias import answer
from dedpo.vision.covariates import COMPARATIVES

Facts = dict[str, Any]
TEMPLATE: Final = "bias.html.j2"
CHARTED: Final = 12  # words in the chart
TABLED: Final = 40  # words in the table; bias.json has all


def render(facts: Facts) -> str:
    """The page; every text in it that came from data is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": answer.percent,
        "points": answer.points,
        "bounds": answer.bounds,
        "number": answer.number,
        "chance": answer.chance,
        "leaning": answer.leaning,
        "asides": lambda text: Markup(re.sub(r"\([^()]*\)", r"<span>\g<0></span>", str(escape(text)))),  # noqa: S704
        "wordlist": _wordlist,
    }
    # The style sheet ships with the package and the charts escape their own texts.
    css = Markup((here / "bias.css").read_text(encoding="utf-8"))  # noqa: S704
    drawn = {name: [Markup(svg) for svg in many] for name, many in _charts(facts).items()}  # noqa: S704
    return environment.get_template(TEMPLATE).render(
        f=facts, css=css, charts=drawn, scopes=_scopes(facts), verdict=answer.verdict(facts), tabled=TABLED
    )


def _scopes(facts: Facts) -> list[list[Facts]]:
    """The properties' rows: of all prompts, then of those with the guiltiest word."""
    names = dict.fromkeys(row["where"] for row in facts["properties"])
    return [[row for row in facts["properties"] if row["where"] == name] for name in names]


def _charts(facts: Facts) -> dict[str, list[str]]:
    """SVGs by name: 'picture', 'words', 'calibration'; empty where there is nothing to draw."""
    found: dict[str, list[str]] = {"picture": [], "words": [], "calibration": []}
    if picture := facts["picture"]:
        more, less = COMPARATIVES[picture["property"]]
        span = max(0.1, 1.15 * max(abs(b["x"]) for panel in picture["panels"] for b in panel["bins"]))
        found["picture"] = [_panel(panel, f"← image 1 is {less} · {more} →", span) for panel in picture["panels"]]
    if facts["words"]:
        found["words"] = [_word_chart(facts)]
    if facts["calibration"]:
        found["calibration"] = [_reliability(facts["calibration"]["bins"])]
    return found


def _panel(panel: Facts, label: str, span: float) -> str:
    spoken = "; ".join(
        f"at {b['x']:+.1f} people {answer.percent(b['human']['value'])}, "
        f"annotator {answer.percent(b['annotator']['value'])}"
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
    spoken = "; ".join(f"said {answer.percent(b['said'])}, people {answer.percent(b['value'])}" for b in bins)
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
        rows.append(charts.Row(_wordlist(w["words"], 1), colour, 1 - w["disagreement"], low, high, emphasis=guilty))
    lines = {facts["agreement"]["value"]: charts.INK}
    if facts["ceiling"]:
        lines[facts["ceiling"]["value"]] = charts.PEOPLE
    spoken = "; ".join(f"{r.title} {answer.percent(r.value)}" for r in rows)
    return charts.dots(rows, "agreement with people", f"agreement by word: {spoken}", lines=lines, percent=True)


def _wordlist(words: list[str], limit: int = 4) -> str:
    """Words that occur in the same prompts, the first few of them."""
    more = len(words) - limit
    return ", ".join(words[:limit]) + (f" +{more}" if more > 0 else "")
