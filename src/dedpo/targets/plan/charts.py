"""The plan in one picture of three panels: more human labels, a better annotator, and the cheapest way to the target.

Blue and solid is late in training, orange and dashed the start: colour and line both tell, so that either will do.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from dedpo.charts import style
from dedpo.contract.records.plan import Band, PlanFacts, RegimePlan
from dedpo.targets.plan.words import TITLES

_INK: Final = "#1c1e21"
_MUTED: Final = "#666b73"
_RULE: Final = "#dfe0dc"
_STYLE: Final[Any] = style(_INK, _MUTED, _RULE) | {
    "axes.titlecolor": _INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 20,  # room for a note between title and panel
}
_SIZE: Final = (13.0, 4.6)  # inches
_DPI: Final = 144
# Beyond this many times the dearer of cheapest mix and human labels alone, a cost is out of the picture.
_TOP: Final = 1.6


class _LineStyle(NamedTuple):
    colour: str
    dashes: Any


_STYLES: Final = {"probe": _LineStyle("#2f7fd1", "-"), "reference": _LineStyle("#e0651b", (0, (5, 2)))}


def draw(facts: PlanFacts) -> dict[str, bytes]:
    """The picture of plan.json as SVG and PNG, by the file's ending; the same facts give the same SVG."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure = compose(facts)
        return {ending: _saved(figure, ending) for ending in ("svg", "png")}


def compose(facts: PlanFacts) -> Any:
    """The matplotlib figure, without a window or any shared state."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.12, rect=(0, 0.075, 1, 0.925))  # the legend's strip below is left out
        figure = Figure(figsize=_SIZE, layout=layout, facecolor="white")
        panels = figure.subplots(1, 3)
        for paint, axes in zip((_labels, _accuracy, _cost), panels, strict=True):
            paint(axes, facts)
            axes.grid(axis="y")
        _legend(figure, facts)
        return figure


def _regimes(facts: PlanFacts) -> Iterator[tuple[str, RegimePlan, _LineStyle]]:
    for name, look in _STYLES.items():
        if name in facts["regimes"]:
            yield name, facts["regimes"][name], look


def _labels(axes: Any, facts: PlanFacts) -> None:
    axes.set_title("More human labels")
    for _, case, look in _regimes(facts):
        curve = case["curves"]["labels"]
        _band(axes, curve["n_labelled"], curve, look)
        axes.plot(facts["ess"], case["n_eff"]["value"], "o", color=look.colour, markersize=7, zorder=4)
    least, most = curve["n_labelled"][0], curve["n_labelled"][-1]
    axes.plot([least, most], [least, most], color=_MUTED, linewidth=1.2, linestyle=(0, (1, 2)))
    _thousands(axes.xaxis, axes.yaxis)
    axes.set_ylim(bottom=0)
    _target(axes, facts["target"], 1.0)
    axes.set_xlabel(f"human labels ({facts['n']:,} pairs are annotated)")
    axes.set_ylabel("effective human labels")


def _accuracy(axes: Any, facts: PlanFacts) -> None:
    axes.set_title("A better annotator")
    axes.set_xlabel("annotator's agreement with people, on today's pairs")
    axes.set_ylabel("effective human labels")
    if facts["accuracy"]["value"] is None:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "accuracy unknown: no labelled pair\nwithout a tie", ha="center", transform=axes.transAxes)
        return
    for _, case, look in _regimes(facts):
        curve = case["curves"]["accuracy"]
        assert curve is not None, "the accuracy is known"
        _band(axes, curve["accuracy"], curve, look)
        axes.plot(curve["accuracy"][0], curve["n_eff"][0], "o", color=look.colour, markersize=7, zorder=4)
    _thousands(axes.yaxis)
    axes.set_ylim(0, 1.05 * min(facts["n"], 2 * facts["target"]))
    _target(axes, facts["target"], 0.0)
    room = max(1 - facts["accuracy"]["value"], 0.05)
    axes.set_xlim(1 - 1.05 * room, 1 + 0.05 * room)
    axes.xaxis.get_major_locator().set_params(nbins=6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")


def _cost(axes: Any, facts: PlanFacts) -> None:
    axes.set_title(f"The way to {facts['target']:,.0f} effective labels")
    alone = facts["humans_alone"]["cost"]
    shown = [alone]
    for _, case, look in _regimes(facts):
        curve, mix = case["curves"]["cost"], case["mix"]
        axes.plot(curve["n_labelled"], curve["cost"], color=look.colour, linestyle=look.dashes, linewidth=2)
        low, high, more = mix["cost"]["low"], mix["cost"]["high"], mix["more_labels"]["value"]
        assert more is not None, "there always is a cheapest mix"
        place = facts["ess"] + more
        if low is not None and high is not None:
            axes.vlines(place, low, high, color=look.colour, linewidth=1.4, alpha=0.7)
            shown.append(high)
        axes.plot(place, mix["cost"]["value"], "D", color=look.colour, markersize=8, zorder=4, clip_on=False)
    axes.axhline(alone, color=_MUTED, linewidth=1.2, linestyle=(0, (1, 2)))
    axes.set_ylim(0, _TOP * max(shown))
    room = max(0.05 * (facts["target"] - axes.dataLim.xmin), 0.01 * facts["target"])
    axes.set_xlim(axes.dataLim.xmin - room, facts["target"] + room)
    _thousands(axes.xaxis)
    axes.yaxis.set_major_formatter(lambda value, _: f"${value:,.0f}" if max(shown) >= 5 else f"${value:,.2f}")
    axes.set_xlabel("human labels in all; annotated pairs make up the rest")
    axes.set_ylabel("US dollars from today")


def _band(axes: Any, places: Sequence[float], curve: Band, look: _LineStyle) -> None:
    if None not in (*curve["low"], *curve["high"]):
        axes.fill_between(places, curve["low"], curve["high"], color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(places, curve["n_eff"], color=look.colour, linestyle=look.dashes, linewidth=2)


def _target(axes: Any, target: float, side: float) -> None:
    """A line at the target with its name at one side, or where it lies if that is above the panel."""
    where = {"ha": "right" if side else "left", "xytext": (0, 3), "textcoords": "offset points"}
    if target <= axes.get_ylim()[1]:
        axes.axhline(target, color=_INK, linewidth=0.9)
        axes.annotate("target", (side, target), xycoords=axes.get_yaxis_transform(), **where)
    else:
        axes.annotate(f"target {target:,.0f}: above ↑", (1, 1), xycoords="axes fraction", **where | {"ha": "right"})


def _thousands(*sides: Any) -> None:
    for side in sides:
        side.set_major_formatter(lambda value, _: f"{value:,.0f}")
        side.get_major_locator().set_params(nbins=5, integer=True)


def _legend(figure: Any, facts: PlanFacts) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dashes, linewidth=2, label=TITLES[name])
        for name, _, look in _regimes(facts)
    ]
    handles += [
        Line2D([], [], color=_MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label="human labels alone"),
        Line2D([], [], color=_MUTED, marker="o", linestyle="", markersize=7, label="today"),
        Line2D([], [], color=_MUTED, marker="D", linestyle="", markersize=7, label="cheapest mix (95 % interval)"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False)


def _saved(figure: Any, ending: str) -> bytes:
    buffer = io.BytesIO()
    unstamped = {"Date": None, "Creator": None} if ending == "svg" else {"Software": None}
    figure.savefig(buffer, format=ending, dpi=_DPI, metadata=unstamped)
    return buffer.getvalue()
