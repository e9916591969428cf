"""What the judge said of the primary arm, and whether the metric says the same: pure functions of verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from dedpo.contract.criteria import CRITERIA
from dedpo.errors import UserError
from dedpo.report.methods import REFERENCE, parse_model, shown, title
from dedpo.report.summary import Cells, Estimate, Grid, estimate
from dedpo.stats.intervals import wilson

_TIE: Final = "tie"


class Shares(NamedTuple):
    """The primary arm's shares by Wilson's interval; `rate` counts a tie half and has the number of verdicts as n."""

    win: Estimate
    tie: Estimate
    loss: Estimate
    rate: Estimate


class Judged(NamedTuple):
    """All verdicts on the primary arm.

    Attributes:
        rivals: rival → criterion → shares.
        criterion: the one that is held against the metric.
        agreement: share of comparisons in which the judge prefers the picture with the higher metric, among those in
            which both name a winner; bootstrap over prompts. None if there is no such comparison.
        decided: their number.
        failed: comparisons without a verdict.
        runs: training seeds of the primary arm that were judged.
    """

    judge: str
    rivals: dict[str, dict[str, Shares]]
    criterion: str
    agreement: Estimate | None
    decided: int
    failed: int
    runs: list[int]


class Bout(NamedTuple):
    """One verdict, seen from the primary arm: `outcome` is 1 for a win, 0 for a loss, ½ for a tie."""

    rival: str
    rival_seed: int | None
    run: int
    prompt_id: str
    seed: int
    criterion: str
    outcome: float | None


def judged(primary: str, metric: str, rows: Sequence[Mapping[str, Any]], grid: Grid) -> Judged | None:
    """Gather the rows of a verdicts table that compare `primary` with another method; None if none does."""
    bouts = [bout for row in rows if (bout := _bout(primary, row))]
    if not bouts:
        return None
    present = {b.criterion for b in bouts}
    criteria = [c for c in CRITERIA if c in present] + sorted(present - set(CRITERIA))
    agreement, decided = _agreement([b for b in bouts if b.criterion == criteria[0]], primary, metric, grid)
    return Judged(
        judge=", ".join(sorted({str(row["judge"]) for row in rows})),
        rivals={
            m.name: {c: _shares([b for b in bouts if (b.rival, b.criterion) == (m.name, c)]) for c in criteria}
            for m in shown({b.rival for b in bouts})
        },
        criterion=criteria[0],
        agreement=agreement,
        decided=decided,
        failed=sum(b.outcome is None for b in bouts if b.criterion == criteria[0]),
        runs=sorted({b.run for b in bouts}),
    )


def criterion_title(name: str) -> str:
    """A criterion's name as shown."""
    return CRITERIA.get(name, name)


def sentence(found: Judged, primary: str, metric: str, wins: Mapping[str, Estimate]) -> str:
    """Say whether judge and metric agree, picture by picture and rival by rival.

    Args:
        wins: rival → the primary arm's win rate on the metric.
    """
    sides = [(_side(wins[r]), _side(s[found.criterion].rate), title(r)) for r, s in found.rivals.items() if r in wins]
    return f"{_pictures(found, metric)}{_rivals(sides, primary)}"


def _pictures(found: Judged, metric: str) -> str:
    share = found.agreement
    if share is None:
        return "Judge and metric cannot be held side by side: in no comparison do both name a winner."
    if share.low > 0.5:
        lead = "Judge and metric agree"
    elif share.high < 0.5:
        lead = "Judge and metric contradict each other"
    else:
        lead = "It is not shown that judge and metric agree"
    interval = f" ({_percent(share.low)} to {_percent(share.high)})" if np.isfinite(share.low) else ""
    return (
        f"{lead}: of {found.decided:,} comparisons in which both name a winner, the judge prefers the picture with the "
        f"higher {metric} in {_percent(share.mean)}{interval}."
    )


_SEES: Final = {"ahead": "sees it ahead", "behind": "sees it behind", "unsure": "cannot tell"}


def _side(rate: Estimate) -> str:
    if rate.low > 0.5:
        return "ahead"
    return "behind" if rate.high < 0.5 else "unsure"


def _rivals(found: Sequence[tuple[str, str, str]], primary: str) -> str:
    """One clause for each pair of opinions, in the order in which rivals are shown."""
    clauses = []
    for metric, judge in dict.fromkeys((m, j) for m, j, _ in found):
        names = [name for m, j, name in found if (m, j) == (metric, judge)]
        listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        if metric != judge:
            clauses.append(f"against {listed} the metric {_SEES[metric]}, the judge {_SEES[judge]}")
        elif metric == "unsure":
            clauses.append(f"neither tells it from {listed}")
        else:
            clauses.append(f"both see it {metric}{' of' if metric == 'ahead' else ''} {listed}")
    return f" {title(primary)}: {'; '.join(clauses)}." if clauses else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _bout(primary: str, row: Mapping[str, Any]) -> Bout | None:
    """A row as the primary arm sees it; None if it is of other methods, or of models with names of their own."""
    try:
        models = [parse_model(row["model_0"]), parse_model(row["model_1"])]
    except UserError:
        return None
    mine = [i for i in (0, 1) if models[i][0] == primary]
    if len(mine) != 1:
        return None
    (i,) = mine
    (_, run), (rival, rival_seed) = models[i], models[1 - i]
    assert run is not None
    winner = row["winner"]
    outcome = None if winner is None else 0.5 if winner == _TIE else float(winner == str(i))
    return Bout(rival, rival_seed, run, row["prompt_id"], row["seed"], row["criterion"], outcome)


def _shares(bouts: Sequence[Bout]) -> Shares:
    counts = Counter(b.outcome for b in bouts if b.outcome is not None)
    n = counts.total()
    wins = (counts[1.0], counts[0.5], counts[0.0], counts[1.0] + counts[0.5] / 2)
    return Shares(*(Estimate(*wilson(k, n), n, "prompts") for k in wins))


def _agreement(bouts: Sequence[Bout], primary: str, metric: str, grid: Grid) -> tuple[Estimate | None, int]:
    agreed: dict[str, list[float]] = {}
    prompts = {prompt: i for i, prompt in enumerate(grid.prompt_ids)}
    for bout in bouts:
        gap = _gap(bout, primary, grid.metrics[metric], grid, prompts)
        if bout.outcome in (0.0, 1.0) and gap:
            agreed.setdefault(bout.prompt_id, []).append(float((gap > 0) == (bout.outcome == 1.0)))
    if not agreed:
        return None, 0
    # A prompt's comparisons share the primary arm's picture, so prompts are the units.
    longest = max(map(len, agreed.values()))
    cells = np.full((1, len(agreed), longest), np.nan)
    for i, prompt in enumerate(sorted(agreed)):
        cells[0, i, : len(agreed[prompt])] = agreed[prompt]
    return estimate(cells), sum(map(len, agreed.values()))


def _gap(bout: Bout, primary: str, cells: Cells, grid: Grid, prompts: Mapping[str, int]) -> float:
    """The metric of the primary arm's picture minus that of the rival's; 0 where either was not scored."""
    try:
        place = prompts[bout.prompt_id], grid.sampling_seeds.index(bout.seed)
        mine = cells[primary][(grid.seeds.index(bout.run), *place)]
        row = 0 if bout.rival == REFERENCE or bout.rival_seed is None else grid.seeds.index(bout.rival_seed)
        theirs = cells[bout.rival][(row, *place)]
    except (KeyError, ValueError):
        return 0.0
    return float(mine - theirs) if np.isfinite(mine - theirs) else 0.0
