"""From verdicts to shares of wins, ties and losses with 95 % intervals: pure functions of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from dedpo.contract.criteria import CRITERIA
from dedpo.contract.records.evaluation import Judged, Match, Shares
from dedpo.contract.records.intervals import Bounded
from dedpo.judge.comparisons import winner
from dedpo.judge.templates import FIRST
from dedpo.stats.intervals import Interval, wilson

Row = dict[str, Any]


def shares(rows: Sequence[Row], models: Sequence[tuple[str, str]]) -> list[Match]:
    """One entry a pair of models, in their order, with Wilson's intervals.

    For win_rate they are conservative: half a win varies less than a coin. One picture a prompt, so verdicts are
    independent given the models.

    Args:
        rows: of the verdicts table; rows without a winner are left out.
    """
    return [
        {
            "model_0": model_0,
            "model_1": model_1,
            "criteria": {
                criterion: _criterion(
                    r
                    for r in rows
                    if (r["model_0"], r["model_1"], r["criterion"]) == (model_0, model_1, criterion) and r["winner"]
                )
                for criterion in CRITERIA
            },
        }
        for model_0, model_1 in dict.fromkeys(models)
    ]


def _criterion(rows: Iterable[Row]) -> Shares:
    found = list(rows)
    n = len(found)
    counts = Counter(r["winner"] for r in found)
    decided = n - counts["tie"]
    first = sum(r["winner"] == winner(FIRST, r["order"]) for r in found)
    return {
        "n": n,
        "win": _interval(wilson(counts["1"], n)),
        "tie": _interval(wilson(counts["tie"], n)),
        "loss": _interval(wilson(counts["0"], n)),
        "win_rate": _interval(wilson(counts["1"] + counts["tie"] / 2, n)),
        "shown_first": _interval(wilson(first, decided)),
    }


def _interval(interval: Interval) -> Bounded:
    # NaN is not JSON.
    value, low, high = (None if number != number else number for number in interval)
    return {"value": value, "low": low, "high": high}


def describe(summary: Judged) -> str:
    """The summary for a terminal: a line for each pair and criterion, then what it took."""
    lines = []
    for pair in summary["pairs"]:
        lines.append(f"{pair['model_1']} against {pair['model_0']}:")
        for criterion, found in pair["criteria"].items():
            lines.append(f"  {CRITERIA[criterion]:<18} {_line(found)}")
    failed = summary["comparisons"] - summary["answered"]
    kept = summary["carried_over"]
    this_run = f", of them ${summary['dollars_this_run']:.4f} in this run ({kept} verdicts kept)" if kept else ""
    lines.append(
        f"judge {summary['judge']}: {summary['answered']} of {summary['comparisons']} comparisons answered"
        f"{f', {failed} without a verdict' if failed else ''}, {summary['requests']} requests, "
        f"{summary['input_tokens']} + {summary['output_tokens']} tokens, ${summary['dollars']:.4f}{this_run}"
    )
    return "\n".join(lines)


def _line(found: Shares) -> str:
    if not found["n"]:
        return "no verdicts"
    rate = found["win_rate"]
    return (
        f"wins {found['win']['value']:.1%}, ties {found['tie']['value']:.1%}, losses {found['loss']['value']:.1%}; "
        f"win rate {rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}] of {found['n']}"
    )
