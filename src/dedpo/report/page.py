"""The HTML page: one file, no script, no request; opens from disk, on a phone and on paper."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from dedpo.report.answer import bounds, number
from dedpo.report.charts import Curve, Row, curves, dots
from dedpo.report.content import ADHERENCE, Content
from dedpo.report.methods import title
from dedpo.report.summary import Estimate
from dedpo.report.training import CURVES, MEASURES

TEMPLATE: Final = "report.html.j2"
PROMPT_SHOWN: Final = 240  # characters


def render(content: Content) -> str:
    """The page; every text in it that came from data is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": number,
        "bounds": bounds,
        "percent": percent,
        "brief": brief,
        "duration": duration,
        "tint": tint,
        "called": title,
        "asides": lambda text: Markup(re.sub(r"\([^()]*\)", r"<span>\g<0></span>", str(escape(text)))),  # noqa: S704
        "pretty": lambda value: json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str),
    }
    # The style sheet ships with the package and the charts escape their own texts.
    css = Markup((here / "report.css").read_text(encoding="utf-8"))  # noqa: S704
    charts = {name: Markup(svg) for name, svg in _charts(content).items()}  # noqa: S704
    # Of other metrics nobody said that more is better.
    best = {m: [content.best(m)] if m in (content.metric, ADHERENCE) else [] for m in content.metrics}
    drawn = {line.method for lines in content.curves.values() for line in lines}
    return environment.get_template(TEMPLATE).render(
        c=content,
        css=css,
        charts=charts,
        best=best,
        best_of=[metric for metric in content.metrics if best[metric]],
        measures=MEASURES,
        curve_titles=CURVES,
        curve_methods=[m for m in content.methods if m in drawn],
    )


def _charts(content: Content) -> dict[str, str]:
    """SVG by name: 'means', 'differences' and one for each curve; absent where there is nothing to draw."""
    metric, primary = content.metric, title(content.primary)
    means = [
        Row(m.title, m.colour, content.means[m.name][metric], m.name == content.primary)
        for m in content.methods
        if metric in content.means[m.name]
    ]
    gaps = [
        Row(m.title, m.colour, found, is_primary=False)
        for m in content.methods
        if (found := content.differences.get(m.name, {}).get(metric))
    ]
    charts = {"means": dots(means, metric, f"{metric} by method: {_listed(means)}")}
    if gaps:
        label = f"{metric}: {primary} minus the other"
        charts["differences"] = dots(gaps, label, f"{primary} minus each method: {_listed(gaps)}", zero=True)
    for key, lines in content.curves.items():
        drawn = [
            Curve(li.method.title, li.method.colour, li.steps, li.values, li.method.name == content.primary)
            for li in lines
        ]
        last = "; ".join(f"{line.title} ends at {number(line.values[-1])}" for line in drawn)
        charts[key] = curves(drawn, f"{CURVES[key]} over training steps: {last}")
    return charts


def _listed(rows: list[Row]) -> str:
    return "; ".join(f"{r.title} {number(r.estimate.mean)} ({bounds(r.estimate)})" for r in rows)


def percent(value: float | None, decimals: int = 0) -> str:
    """A share as '62 %', unbreakable; '–' for None or NaN."""
    if value is None or value != value:
        return "–"
    return f"{100 * value:.{decimals}f}\u00a0%"


def brief(text: str, limit: int = PROMPT_SHOWN) -> str:
    """`text`, cut at `limit` characters with a note of its whole length."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def duration(seconds: float) -> str:
    """'0.4 s', '12 s', '3 min 20 s' or '2 h 5 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def tint(rate: Estimate) -> dict[str, Any]:
    """How a win rate's cell looks: which side won, how strongly (0 to 1), and whether ½ lies outside its interval."""
    return {
        "side": "win" if rate.mean >= 0.5 else "loss",
        "strength": round(min(1.0, 2 * abs(rate.mean - 0.5)), 3),
        "sure": rate.low > 0.5 or rate.high < 0.5,
    }
