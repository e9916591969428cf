"""Charts as inline SVG, drawn by hand: shares on axes from 0 to 1, in the page's own colours."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from dedpo.bias.answer import percent

Facts = dict[str, Any]
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 14.0, 14.0, 40.0
_PANEL: Final = (340.0, 250.0)
_ROW: Final = 24.0
_LABEL: Final = 96.0  # width of the row labels


class Row(NamedTuple):
    """One line of a dot plot: shares in [0, 1]; `kind` is a CSS class."""

    title: str
    value: float
    low: float | None
    high: float | None
    kind: str


def panel(facts: Facts, names: tuple[str, str], span: float) -> str:
    """Two lines, people and annotator: how often image 1 is chosen against the difference in a property.

    Args:
        names: of (less, more) of the property, below the axis.
        span: the axis goes from −span to span, in standard deviations.
    """
    frame = _Frame(-span, span)
    parts = list(frame.grid([-2, -1, 0, 1, 2], "{:+g}"))
    for who in ("human", "annotator"):
        points = [(b["x"], b[who]) for b in facts["bins"]]
        line = " ".join(f"{frame.x(x):.1f},{frame.y(s['value']):.1f}" for x, s in points)
        parts.append(f'<polyline class="line {who}" points="{line}"/>')
        for x, s in points:
            spot = f"{frame.x(x):.1f}"
            parts.append(_bar(spot, frame.y(s["low"]), spot, frame.y(s["high"]), who))
            parts.append(f'<circle class="dot {who}" cx="{spot}" cy="{frame.y(s["value"]):.1f}" r="4.5"/>')
    parts.append(_text(_LEFT, _PANEL[1] - 4, f"← {names[0]}", "muted"))
    parts.append(_text(_PANEL[0] - _RIGHT, _PANEL[1] - 4, f"{names[1]} →", "muted end"))
    spoken = "; ".join(
        f"at {b['x']:+.1f} people {percent(b['human']['value'])}, annotator {percent(b['annotator']['value'])}"
        for b in facts["bins"]
    )
    return _svg(*_PANEL, parts, f"{facts['title']}: image 1 is chosen, {spoken}")


def reliability(bins: Sequence[Facts]) -> str:
    """What people chose against what the annotator said, with the diagonal of perfect calibration."""
    frame = _Frame(0, 1)
    parts = list(frame.grid([0, 0.25, 0.5, 0.75, 1], "{:.0%}"))
    parts.append(_bar(frame.x(0), frame.y(0), frame.x(1), frame.y(1), "ideal"))
    most = max(b["n"] for b in bins)
    for b in bins:
        spot = f"{frame.x(b['said']):.1f}"
        radius = 3 + 5 * (b["n"] / most) ** 0.5
        parts.append(_bar(spot, frame.y(b["low"]), spot, frame.y(b["high"]), "annotator"))
        parts.append(f'<circle class="dot annotator" cx="{spot}" cy="{frame.y(b["value"]):.1f}" r="{radius:.1f}"/>')
    parts.append(_text((_LEFT + _PANEL[0] - _RIGHT) / 2, _PANEL[1] - 4, "the annotator’s P(image 1)", "muted middle"))
    spoken = "; ".join(f"said {percent(b['said'])}, people {percent(b['value'])}" for b in bins)
    return _svg(*_PANEL, parts, f"calibration: {spoken}")


def dots(rows: Sequence[Row], lines: Sequence[tuple[float, str]], description: str) -> str:
    """A dot with its interval for each row, on a common axis of shares.

    Args:
        lines: (share, CSS class) of vertical reference lines.
    """
    width, height = 420.0, _ROW * len(rows) + 34
    lowest = min([r.value if r.low is None else r.low for r in rows] + [v for v, _ in lines])
    begin = min(0.9, max(0.0, (int(10 * lowest) - 0.5) / 10)) if lowest > 0.1 else 0.0

    def place(value: float) -> float:
        return _LABEL + (width - _LABEL - 24) * (min(1.0, max(begin, value)) - begin) / (1 - begin)

    parts = []
    for tenth in range(11):
        if tenth / 10 >= begin and (tenth % 2 == 0 or begin > 0.45):
            spot = place(tenth / 10)
            parts.append(_bar(spot, 4, spot, height - 26, "grid"))
            parts.append(_text(spot, height - 10, f"{10 * tenth} %", "muted middle"))
    parts += [_bar(place(v), 0, place(v), height - 26, kind) for v, kind in lines]
    for i, row in enumerate(rows):
        y = _ROW * (i + 0.5) + 4
        parts.append(_text(_LABEL - 12, y + 4, _short(row.title), f"end {row.kind}-label"))
        if row.low is not None and row.high is not None:
            parts.append(_bar(place(row.low), y, place(row.high), y, row.kind))
        parts.append(f'<circle class="dot {row.kind}" cx="{place(row.value):.1f}" cy="{y:.1f}" r="5"/>')
    return _svg(width, height, parts, description)


class _Frame:
    """A panel with shares on the vertical axis."""

    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.end = begin, end

    def x(self, value: float) -> float:
        share = (min(self.end, max(self.begin, value)) - self.begin) / (self.end - self.begin)
        return _LEFT + (_PANEL[0] - _LEFT - _RIGHT) * share

    def y(self, value: float) -> float:
        return _TOP + (_PANEL[1] - _TOP - _BOTTOM) * (1 - value)

    def grid(self, ticks: Sequence[float], form: str) -> Iterator[str]:
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            y = self.y(share)
            yield _bar(_LEFT, y, _PANEL[0] - _RIGHT, y, "half" if share == 0.5 else "grid")
            yield _text(_LEFT - 8, y + 4, f"{share:.0%}", "muted end")
        for tick in ticks:
            if self.begin <= tick <= self.end:
                label = form.format(tick).replace("-", "−").replace("+0", "0")
                yield _text(self.x(tick), _PANEL[1] - _BOTTOM + 18, label, "muted middle")


def _bar(x0: float | str, y0: float, x1: float | str, y1: float, kind: str) -> str:
    ends = [v if isinstance(v, str) else f"{v:.1f}" for v in (x0, x1)]
    return f'<line class="bar {kind}" x1="{ends[0]}" y1="{y0:.1f}" x2="{ends[1]}" y2="{y1:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], description: str) -> str:
    label = html.escape(description, quote=True)
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 {width:g} {height:g}">{"".join(parts)}</svg>'


def _short(text: str, limit: int = 14) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
