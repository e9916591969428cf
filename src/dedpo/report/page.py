"""The HTML page: one file, no script, no request; opens from disk, on a phone and on paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from dedpo import html_pages
from dedpo.charts import MACHINE, MUTED, PEOPLE, Dot, Side, TrainingCurve, Way, curves, dots, shares, ways
from dedpo.html_pages import percent
from dedpo.report import costs, judged
from dedpo.report.answer import bounds, number
from dedpo.report.bias import Panel
from dedpo.report.content import ADHERENCE, Content
from dedpo.report.methods import title
from dedpo.report.summary import Estimate
from dedpo.report.training import CURVES, MEASURES

TEMPLATE: Final = Path(__file__).parent / "report.html.j2"


def render(content: Content) -> str:
    """The page; every text in it that came from data is escaped."""
    filters = {
        "number": number,
        "bounds": bounds,
        "duration": duration,
        "amount": amount,
        "money": money,
        "tint": tint,
        "called": title,
        "criterion": judged.criterion_title,
        "pretty": lambda value: json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str),
    }
    # Of other metrics nobody said that more is better.
    best = {m: [content.best(m)] if m in (content.metric, ADHERENCE) else [] for m in content.metrics}
    drawn = {line.method for lines in content.curves.values() for line in lines}
    return html_pages.render(
        TEMPLATE,
        _charts(content),
        filters,
        c=content,
        best=best,
        best_of=[metric for metric in content.metrics if best[metric]],
        measures=MEASURES,
        curve_titles=CURVES,
        total=costs.total(content.costs),
        verdict_sentence=judge_sentence(content),
        curve_methods=[m for m in content.methods if m in drawn],
    )


def _charts(content: Content) -> dict[str, str]:
    """SVG by name: 'means', 'differences' and one for each curve; absent where there is nothing to draw."""
    metric, primary = content.metric, title(content.primary)
    means = [
        _row(m.title, m.colour, content.means[m.name][metric], emphasis=m.name == content.primary)
        for m in content.methods
        if metric in content.means[m.name]
    ]
    gaps = [
        _row(m.title, m.colour, found)
        for m in content.methods
        if (found := content.differences.get(m.name, {}).get(metric))
    ]
    charts = {"means": dots(means, metric, f"{metric} by method: {_listed(means)}")}
    if gaps:
        label = f"{metric}: {primary} minus the other"
        charts["differences"] = dots(gaps, label, f"{primary} minus each method: {_listed(gaps)}", lines={0: MUTED})
    for key, lines in content.curves.items():
        drawn = [
            TrainingCurve(li.method.title, li.method.colour, li.steps, li.values, li.method.name == content.primary)
            for li in lines
        ]
        last = "; ".join(f"{line.title} ends at {number(line.values[-1])}" for line in drawn)
        charts[key] = curves(drawn, f"{CURVES[key]} over training steps: {last}")
    return charts | _frontier_chart(content) | _bias_charts(content)


def _frontier_chart(content: Content) -> dict[str, str]:
    found = content.frontier
    if found is None:
        return {}
    drawn = [
        Way(
            m.title,
            m.colour,
            [place.drift for place in curve],
            [place.estimate.mean for place in curve],
            [place.estimate.low for place in curve],
            [place.estimate.high for place in curve],
            next((i for i, place in enumerate(curve) if place.steps == found.best.get(m.name)), None),
            m.name == content.primary,
        )
        for m in content.methods
        if (curve := found.curves.get(m.name))
    ]
    spoken = "; ".join(f"{way.title} {number(way.values[-1])} at {way.places[-1]:.4f}" for way in drawn)
    axis = "drift ‖θ−θ_ref‖ / ‖θ_ref‖"
    return {"frontier": ways(drawn, axis, content.metric, found.drift, f"{content.metric} over drift: {spoken}")}


def _bias_charts(content: Content) -> dict[str, str]:
    """'bias 0' and so on for each half of the picture; without one, 'words'."""
    found = content.bias
    if found is None:
        return {}
    if found.property is None:
        rows = [_row(word, MACHINE, share) for word, share in found.words]
        if not rows:
            return {}
        return {"words": dots(rows, "agreement with people", f"Agreement on prompts with a word: {_listed(rows)}")}
    span = max(0.1, 1.15 * max(abs(p.x) for panel in found.panels for p in panel.points))
    return {f"bias {i}": _panel(panel, found.property, span) for i, panel in enumerate(found.panels)}


def _panel(panel: Panel, name: str, span: float) -> str:
    spoken = "; ".join(
        f"at {number(p.x, signed=True)} people {percent(p.human.mean)}, annotator {percent(p.annotator.mean)}"
        for p in panel.points
    )
    places = [p.x for p in panel.points]
    sides = [
        Side(colour, places, [e.mean for e in shares], [e.low for e in shares], [e.high for e in shares])
        for colour, shares in (
            (PEOPLE, [p.human for p in panel.points]),
            (MACHINE, [p.annotator for p in panel.points]),
        )
    ]
    label = f"← less · {name} of image 1 · more →"
    return shares(sides, label, (-span, span), f"{panel.title}: how often image 1 is chosen by {name}: {spoken}")


def judge_sentence(content: Content) -> str:
    """Whether judge and metric agree; empty without a judge."""
    if content.judged is None:
        return ""
    return judged.sentence(content.judged, content.primary, content.metric, content.wins[content.primary])


def _row(text: str, colour: str, found: Estimate, *, emphasis: bool = False) -> Dot:
    return Dot(text, colour, found.mean, found.low, found.high, emphasis, hollow=found.over == "prompts")


def _listed(rows: list[Dot]) -> str:
    return "; ".join(f"{r.title} {number(r.value)} ({bounds(r)})" for r in rows)


def duration(seconds: float | None) -> str:
    """'0.4 s', '12 s', '3 min 20 s' or '2 h 5 min'."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def amount(value: float | None) -> str:
    """A count with commas; '–' for None."""
    return "–" if value is None else f"{value:,.0f}"


def money(dollars: float | None) -> str:
    """'$0.08', with four decimals below a cent; '–' for None."""
    if dollars is None:
        return "–"
    return f"${dollars:.4f}" if 0 < dollars < 0.01 else f"${dollars:,.2f}"


def tint(rate: Estimate) -> dict[str, Any]:
    """How a win rate's cell looks: which side won, how strongly (0 to 1), and whether ½ lies outside its interval."""
    return {
        "side": "win" if rate.mean >= 0.5 else "loss",
        "strength": round(min(1.0, 2 * abs(rate.mean - 0.5)), 3),
        "sure": rate.low > 0.5 or rate.high < 0.5,
    }
