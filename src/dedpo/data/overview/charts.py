"""Bars as inline SVG, which follow the page's colours into dark mode; the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dedpo.chart_style import figure, inline, short, style

# Stand-ins that `inline` replaces by the page's variables.
_INK: Final = "#010203"
_RULE: Final = "#010204"
_MUTED: Final = "#010205"
_BAR: Final = "#010206"
_VARIABLES: Final = {_INK: "var(--ink)", _RULE: "var(--rule)", _MUTED: "var(--muted)", _BAR: "var(--bar)"}
_STYLE: Final[Any] = style(_INK, _MUTED, _RULE)
_WIDTH: Final = 4.6  # inches of 72 units
_LONGEST: Final = 24  # characters of a label


def lying(values: Mapping[str, float], label: str, description: str) -> str:
    """One bar a line, from top to bottom.

    Args:
        label: of the horizontal axis.
        description: what a listener hears instead of seeing the chart.
    """
    with figure(_STYLE, _WIDTH, 0.24 * len(values) + 0.75) as (drawn, axes):
        axes.barh(range(len(values)), list(values.values()), color=_BAR, height=0.66)
        axes.set_yticks(range(len(values)), [short(name, _LONGEST) for name in values], color=_INK)
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.grid(axis="x")
        axes.tick_params(length=0)
        axes.set_xlabel(label)
        return inline(drawn, description, _VARIABLES)


def standing(values: Mapping[str, float], label: str, description: str) -> str:
    """One bar beside the other; `label` is the horizontal axis'."""
    with figure(_STYLE, _WIDTH, 2.3) as (drawn, axes):
        axes.bar(range(len(values)), list(values.values()), color=_BAR, width=0.8)
        step = -(-len(values) // 12)
        axes.set_xticks(range(0, len(values), step), [short(name, _LONGEST) for name in values][::step])
        axes.grid(axis="y")
        axes.tick_params(length=0)
        axes.set_xlabel(label)
        return inline(drawn, description, _VARIABLES)
