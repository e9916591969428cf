"""bias.html: one file, no script, no request; opens from disk, on a phone and on paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from dedpo.bias import answer, charts
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
    if facts["picture"]:
        panels = facts["picture"]["panels"]
        more, less = COMPARATIVES[facts["picture"]["property"]]
        names = (f"image 1 is {less}", more)
        span = 1.15 * max(abs(b["x"]) for p in panels for b in p["bins"])
        found["picture"] = [charts.panel(p, names, max(span, 0.1)) for p in panels]
    if facts["words"]:
        found["words"] = [_word_chart(facts)]
    if facts["calibration"]:
        found["calibration"] = [charts.reliability(facts["calibration"]["bins"])]
    return found


def _word_chart(facts: Facts) -> str:
    """Agreement of the words most surely guilty, or most surely innocent, in the order of agreement."""
    chosen = sorted(facts["words"][:CHARTED], key=lambda w: w["disagreement"], reverse=True)
    rows = []
    for w in chosen:
        kind = ("guilty" if w["lift"] > 0 else "better") if w["flagged"] else "plain"
        shift = 1 - w["disagreement_without"]
        low = None if w["high"] is None else max(0.0, shift - w["high"])
        high = None if w["low"] is None else min(1.0, shift - w["low"])
        rows.append(charts.Row(_wordlist(w["words"], 1), 1 - w["disagreement"], low, high, kind))
    lines = [(facts["agreement"]["value"], "mean")]
    if facts["ceiling"]:
        lines.append((facts["ceiling"]["value"], "people"))
    spoken = "; ".join(f"{r.title} {answer.percent(r.value)}" for r in rows)
    return charts.dots(rows, lines, f"agreement by word: {spoken}")


def _wordlist(words: list[str], limit: int = 4) -> str:
    """Words that occur in the same prompts, the first few of them."""
    more = len(words) - limit
    return ", ".join(words[:limit]) + (f" +{more}" if more > 0 else "")
