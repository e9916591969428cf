"""The same numbers as an Evidently report, and as one more run in an Evidently workspace, so that trends show.

The only module that knows Evidently. Its widgets come from `evidently.legacy`, which may move. Evidently writes its
data into the page's script, so no prompt gets in here, and of words only letters, digits and inner hyphens do.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

# Before the import: Evidently looks at it then.
os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np
import pandas as pd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from evidently import Report
    from evidently.core.metric_types import SingleValueCalculation, SingleValueMetric
    from evidently.legacy.renderers.html_widgets import CounterData, WidgetSize, counter
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import counter_panel, line_plot_panel
    from evidently.ui.workspace import Workspace

from dedpo import disk, redact
from dedpo.bias import workspace_files
from dedpo.bias.comparison import Comparison
from dedpo.bias.picture import has_word
from dedpo.contract.records.bias import Bias
from dedpo.errors import excerpt
from dedpo.outputs.manifest import write_text
from dedpo.stats.agreement import choices, confusion, kappa
from dedpo.stats.arrays import Floats

PROJECT: Final = "dedpo annotator bias"
_EMPTY: Final = "<!doctype html><title>dedpo bias</title><p>No pair has both a human's and the annotator's preference."
# Of the page and of its widgets, as Evidently writes them.
_NAMES: Final = re.compile(
    r'(?:(?<=var metric_)|(?<="id": "))(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})'
)
FOLLOWED: Final = 5  # flagged words with a chart over runs


AGREEMENT: Final = "agreement with people"
KAPPA: Final = "Cohen's κ"
PEOPLE: Final = "people with each other (on these pairs)"
CONSISTENCY: Final = "same choice in both orders"
POSITION: Final = "position bias (negative: to the first)"


def _kappa(pairs: pd.DataFrame) -> float:
    human, annotator = (pairs[side].to_numpy(dtype=np.float64) for side in ("human", "annotator"))
    return float(kappa(confusion(human, annotator, np.zeros(len(pairs), dtype=np.int64))[0]))


_READ: Final[dict[str, Callable[[pd.DataFrame], float]]] = {
    AGREEMENT: lambda pairs: float((pairs["human"] == pairs["annotator"]).mean()),
    KAPPA: _kappa,
    PEOPLE: lambda pairs: float(pairs["raters_alike"].sum() / pairs["rater_pairs"].sum()),
    CONSISTENCY: lambda pairs: float(pairs["same_in_both_orders"].mean()),
    POSITION: lambda pairs: float(pairs["order_change"].mean()),
}


class BiasNumber(SingleValueMetric):  # type: ignore[misc]
    """One number of `_READ`, of all pairs or, if there is one, of those whose prompts have the word."""

    name: str
    word: str = ""


class _BiasNumber(SingleValueCalculation[BiasNumber]):  # type: ignore[misc]
    """The number with its counter, read from the table of pairs."""

    def display_name(self) -> str:
        return str(self.metric.name)

    def calculate(self, context: Any, current_data: Any, reference_data: Any) -> Any:  # noqa: ARG002 (its contract)
        pairs, word = current_data.as_dataframe(), self.metric.word
        found = _READ[AGREEMENT](pairs[pairs[f"word: {word}"]]) if word else _READ[self.metric.name](pairs)
        result = self.result(found)
        shown = CounterData(label=self.display_name(), value=f"{result.value:.3f}")
        result.widget = [counter(counters=[shown], size=WidgetSize.HALF)]
        return result


def _of_word(word: str) -> str:
    return f"agreement where the prompt says “{word}”"


class DashboardRun(NamedTuple):
    """A run as Evidently has it, and the words that its dashboard follows."""

    snapshot: Any
    words: list[str]


def write(compared: Comparison, facts: Bias, page: Path) -> DashboardRun | None:
    """Write the page; where no pair has both preferences it says so, and there is no run."""
    words = [w["word"] for w in facts["words"] if w["flagged"] and w["lift"] > 0]
    pairs = _table(compared, words)
    if pairs.empty:
        write_text(page, _EMPTY)
        return None
    names = [AGREEMENT]
    names += [KAPPA] if facts["agreement"] and facts["agreement"]["kappa"] is not None else []
    names += [PEOPLE] if pairs["rater_pairs"].sum() else []
    names += [CONSISTENCY, POSITION] if pairs["order_change"].notna().any() else []
    metrics = [BiasNumber(name=name) for name in names] + [BiasNumber(name=_of_word(w), word=w) for w in words]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snapshot = Report(metrics).run(pairs, None)
        snapshot.save_html(str(page))
        # Three megabytes of it are a program, which blotting out by form breaks; nothing that is ours is a free text.
        disk.write_text(page, redact.known(_steady(page.read_text(encoding="utf-8"))))
    return DashboardRun(snapshot, words)


def _steady(html: str) -> str:
    """The page with its parts numbered: Evidently draws their names anew each time, and the gate depends on it."""
    for i, name in enumerate(dict.fromkeys(_NAMES.findall(html))):
        html = html.replace(name, f"{i:0{len(name)}x}")
    return html


def _table(compared: Comparison, words: list[str]) -> pd.DataFrame:
    """A row a compared pair, without any text: choices (0, ½, 1), pairs of raters, orders, and words."""
    kept = compared.is_compared
    raters = compared.votes.sum(axis=1)
    known = ~np.isnan(compared.p_order_01) & ~np.isnan(compared.p_order_10)
    first, second = (_choice(np.nan_to_num(p, nan=0.5)) for p in (compared.p_order_01, compared.p_order_10))
    columns: dict[str, Any] = {
        "human": _choice(compared.human[kept]),
        "annotator": _choice(compared.annotator[kept]),
        "raters_alike": (compared.votes * (compared.votes - 1) / 2).sum(axis=1)[kept],
        "rater_pairs": (raters * (raters - 1) / 2)[kept],
        "same_in_both_orders": np.where(known, first == second, np.nan)[kept],
        "order_change": (compared.p_order_01 - compared.p_order_10)[kept],
    }
    columns |= {f"word: {w}": has_word(compared, w)[kept] for w in words}
    return pd.DataFrame(columns)


def _choice(preferences: Floats) -> Floats:
    return choices(preferences) / 2


def add(run: DashboardRun, workspace: Path) -> list[str]:
    """Add a run to the workspace, which is made with its panels if it is new.

    A file there that a killed run left torn is put aside, and a workspace that takes no run costs none of the results.

    Returns:
        what has gone wrong, in words.
    """
    warned = []
    try:
        with workspace_files.whole(workspace) as torn:
            warned = [f"{path}: this was torn and could not be read; it is left out" for path in torn]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _add(Workspace.create(str(workspace)), run)
    # Evidently reads every file of the workspace, each in a way of its own, and says so little of what fails.
    except Exception as error:
        told = excerpt(f"{type(error).__name__}: {error}", 200)
        warned.append(f"{workspace}: this run is not in the workspace ({told}); name another with bias.workspace")
    return warned


def _add(space: Workspace, run: DashboardRun) -> None:
    # A folder without metadata.json is None among them.
    found = [p for p in space.list_projects() if p is not None and p.name == PROJECT]
    project = (
        found[0] if found else space.create_project(PROJECT, "Where the annotator differs from people, run by run")
    )
    shown = {panel.title for panel in project.dashboard.model().panels}
    for panel in _panels(run.words):
        if panel.title not in shown:
            project.dashboard.add_panel(panel)
    space.add_run(project.id, run.snapshot)


def _panels(words: list[str]) -> list[Any]:
    def followed(name: str, legend: str) -> PanelMetric:
        return PanelMetric(metric="BiasNumber", legend=legend, metric_labels={"name": name})

    agrees, chance = followed(AGREEMENT, "annotator with people"), followed(KAPPA, "κ")
    people = followed(PEOPLE, "people with each other")
    orders = [followed(CONSISTENCY, "same choice in both orders"), followed(POSITION, "lean to the second image")]
    fixed = [
        counter_panel("Agreement, latest run", [agrees], size="half"),
        counter_panel("Cohen's κ, latest run", [chance], size="half"),
        line_plot_panel("Agreement with people", [agrees, people]),
        line_plot_panel("Order of the two images", orders, size="half"),
        line_plot_panel("Cohen's κ", [chance], size="half"),
    ]
    followed_words = [
        line_plot_panel(_of_word(w).capitalize(), [followed(_of_word(w), w)], size="half") for w in words[:FOLLOWED]
    ]
    return fixed + followed_words
