"""The charts of every page, as inline SVG: texts stay texts, and the same numbers give the same bytes.

Ink and rules are written as CSS variables, so that a chart follows its page into dark mode.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

# Stand-ins, colours that nothing else has: `_inline` puts the page's CSS variable in the place of each.
INK, RULE, MUTED, PAPER, PEOPLE, MACHINE, WORSE, BETTER = (f"#01020{i}" for i in range(8))
_VARIABLES: Final = {
    INK: "ink", RULE: "rule", MUTED: "muted", PAPER: "paper", PEOPLE: "people", MACHINE: "machine", WORSE: "worse",
    BETTER: "better",
}  # fmt: skip
_WIDTH: Final = 4.6  # inches of 72 units: what fits a phone without shrinking the letters much
# SVG's metadata would hold the time and the version.
_NOTHING: Final = {"Date": None, "Creator": None, "Format": None, "Type": None}
_DASHES: Final = (0, (2, 3))


class Dot(NamedTuple):
    """One line of a dot plot; low and high may be NaN, and a row with `emphasis` is heavier and its title bold."""

    title: str
    colour: str
    value: float
    low: float
    high: float
    emphasis: bool = False
    hollow: bool = False


class TrainingCurve(NamedTuple):
    """One line over training steps: steps and values of equal length."""

    title: str
    colour: str
    steps: Sequence[float]
    values: Sequence[float]
    emphasis: bool


class Way(NamedTuple):
    """One method's way along an axis, with intervals; columns of equal length. `best`: the index of its best place."""

    title: str
    colour: str
    places: Sequence[float]
    values: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    best: int | None
    emphasis: bool


class Side(NamedTuple):
    """Shares of one side, people or annotator, at each place of the axis; columns of equal length.

    Attributes:
        counts: pairs at each place, if the dots are to show them and no line is to join them.
    """

    colour: str
    places: Sequence[float]
    values: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    counts: Sequence[float] | None = None


def dots(
    rows: Sequence[Dot],
    label: str,
    description: str,
    *,
    lines: Mapping[float, str] | None = None,
    percent: bool = False,
) -> str:
    """A dot with its interval for each row, from top to bottom.

    Args:
        label: of the horizontal axis.
        description: what a listener hears instead of seeing the chart.
        lines: place → colour of vertical lines; the first is drawn through, the others are dashed.
        percent: values are shares.
    """
    with _figure(0.33 * len(rows) + 0.75) as (drawn, axes):
        for i, (place, colour) in enumerate((lines or {}).items()):
            axes.axvline(place, color=colour, linewidth=1.2 if i else 1, linestyle=(0, (5, 4)) if i else "-")
        for place, row in enumerate(rows):
            width = 3.2 if row.emphasis else 2.0
            if math.isfinite(row.low) and math.isfinite(row.high):
                axes.plot(
                    [row.low, row.high], [place, place], color=row.colour, linewidth=width, solid_capstyle="round"
                )
            axes.plot(
                [row.value],
                [place],
                "o",
                color=row.colour,
                markerfacecolor=PAPER if row.hollow else row.colour,
                markersize=8 if row.emphasis else 6.5,
                markeredgewidth=1.8,
            )
        axes.set_yticks(range(len(rows)), [_short(row.title) for row in rows], color=INK)
        for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
            tick.set_fontweight("bold" if row.emphasis else "normal")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x")
        axes.margins(x=0.06)
        axes.set_xlabel(_short(label, 60))
        if percent:
            axes.xaxis.set_major_formatter(_percent)
        return _inline(drawn, description)


def curves(lines: Sequence[TrainingCurve], description: str) -> str:
    """Lines over training steps; those with emphasis are drawn last and heavier."""
    with _figure(2.7) as (drawn, axes):
        for line in sorted(lines, key=lambda c: c.emphasis):
            axes.plot(
                line.steps,
                line.values,
                color=line.colour,
                linewidth=2.4 if line.emphasis else 1.4,
                marker="o" if len(line.steps) <= 12 else None,
                markersize=4,
            )
        axes.grid(axis="y")
        axes.margins(x=0.02)
        axes.set_xlabel("training step")
        return _inline(drawn, description)


def ways(drawn: Sequence[Way], along: str, label: str, line: float | None, description: str) -> str:
    """A line with intervals for each method, and a ring at its best place.

    Args:
        along, label: of the horizontal and the vertical axis.
        line: where a vertical line is drawn.
    """
    with _figure(3.1) as (made, axes):
        if line is not None:
            axes.axvline(line, color=MUTED, linewidth=0.9, linestyle=_DASHES)
        for way in sorted(drawn, key=lambda w: w.emphasis):
            axes.vlines(way.places, way.lows, way.highs, color=way.colour, linewidth=1.2, alpha=0.45)
            width = 2.4 if way.emphasis else 1.5
            axes.plot(way.places, way.values, color=way.colour, linewidth=width, marker="o", markersize=3.5)
            if way.best is not None:
                ring = {"color": way.colour, "markerfacecolor": PAPER, "markersize": 8, "markeredgewidth": 1.8}
                axes.plot([way.places[way.best]], [way.values[way.best]], "o", **ring)
        axes.grid(axis="y")
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(along)
        axes.set_ylabel(_short(label, 40))
        return _inline(made, description)


def shares(sides: Sequence[Side], label: str, ends: tuple[float, float], description: str) -> str:
    """How often each side chooses image 1, with intervals, along an axis from one of `ends` to the other.

    A broken line shows indifference; where dots show counts, perfect calibration.
    """
    with _figure(2.9) as (drawn, axes):
        is_diagonal = any(side.counts is not None for side in sides)
        axes.plot(ends, ends if is_diagonal else (0.5, 0.5), color=MUTED, linewidth=0.9, linestyle=_DASHES)
        for side in sides:
            axes.vlines(side.places, side.lows, side.highs, color=side.colour, linewidth=1.4, alpha=0.55)
            if side.counts is None:
                axes.plot(side.places, side.values, color=side.colour, linewidth=2.2, marker="o", markersize=5.5)
            else:
                sizes = [(3.5 + 6 * math.sqrt(n / max(side.counts))) ** 2 for n in side.counts]
                axes.scatter(side.places, side.values, s=sizes, color=side.colour, clip_on=False, zorder=3)
        axes.set_ylim(0, 1)
        axes.set_xlim(ends)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.yaxis.set_major_formatter(_percent)
        if is_diagonal:
            axes.xaxis.set_major_formatter(_percent)
        axes.grid(axis="y")
        axes.set_xlabel(label)
        return _inline(drawn, description)


def bars(values: Mapping[str, float], label: str, description: str, *, lying: bool) -> str:
    """A bar for each name, one below the other or side by side; `label` is the horizontal axis'."""
    places, names = range(len(values)), [_short(name, 24) for name in values]
    with _figure(0.24 * len(values) + 0.75 if lying else 2.3) as (drawn, axes):
        if lying:
            axes.barh(places, list(values.values()), color=PEOPLE, height=0.66)
            axes.set_yticks(places, names, color=INK)
            axes.set_ylim(len(values) - 0.4, -0.6)
        else:
            axes.bar(places, list(values.values()), color=PEOPLE, width=0.8)
            step = -(-len(values) // 12)
            axes.set_xticks(places[::step], names[::step])
        axes.grid(axis="x" if lying else "y")
        axes.set_xlabel(label)
        return _inline(drawn, description)


def style(ink: str, muted: str, rule: str) -> dict[str, Any]:
    """Matplotlib settings with these colours for texts, for labels, and for axes and grid."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "dedpo",
        # A metric may be named '$x$'.
        "text.parse_math": False,
        "axes.unicode_minus": True,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9.5,
        "axes.edgecolor": rule,
        "axes.labelcolor": muted,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.axisbelow": True,
        "xtick.color": muted,
        "ytick.color": muted,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "grid.color": rule,
        "grid.linewidth": 0.7,
        "text.color": ink,
    }


@contextmanager
def _figure(height: float) -> Iterator[tuple[Any, Any]]:
    """A matplotlib figure of so many inches, without a window or any shared state, and its axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = style(INK, MUTED, RULE)
    with mpl.rc_context(settings):
        made = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield made, made.add_subplot()


def _inline(drawn: Any, description: str) -> str:
    """A figure as an <svg> element fit for the inside of an HTML page."""
    buffer = io.StringIO()
    drawn.savefig(buffer, format="svg", transparent=True, metadata=_NOTHING)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # In a page, namespaces are noise, the style sheet would reach every element, and groups' ids would repeat.
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    label = html.escape(description, quote=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _percent(value: float, _: int) -> str:
    return f"{100 * value:g} %"


def _short(text: str, longest: int = 28) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
