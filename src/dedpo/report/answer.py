"""The one sentence that the page exists for, worded as strongly as the interval allows and no more."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from dedpo.charts import Dot
from dedpo.report.frontier import Frontier
from dedpo.report.methods import REFERENCE, title
from dedpo.report.summary import Estimate

# Named before any result is seen: the two single-source arms that a debiased arm is meant to beat.
RIVALS: Final = ("dpo_synthetic", "dpo_human")
# It sees every human label: no rival, but what could be had for their price.
CEILING: Final = "dpo_all_human"
UNKNOWN: Final = (
    "Not known: the arms are compared after the same number of steps, however far that has taken each. train.snapshots "
    "and sample.validation_prompts compare them at equal drift and each at its best."
)


class Answer(NamedTuple):
    """The headline and what a careful reader must know beside it.

    Attributes:
        verdict: 'better', 'worse' or 'unclear': of the primary arm against all rivals, or against the reference where
            none was trained; 'mixed': better than one and worse than another. With snapshots the verdict of each arm
            at its own best step, or else at equal drift, must agree.
        fair: sentences on arms at their own best step and at equal drift, or that it is not known.
        notes: sentences.
    """

    headline: str
    verdict: str
    fair: list[str]
    notes: list[str]


def answer(
    primary: str,
    metric: str,
    against: dict[str, Estimate],
    means: dict[str, Estimate],
    frontier: Frontier | None = None,
) -> Answer:
    """Word the comparison of `primary` with its rivals on one metric, of which more is better.

    Args:
        against: method → primary minus that method.
        means: method → its own mean.
        frontier: the arms at equal drift and each at its best; None: no snapshots were scored.
    """
    trained: list[str] = [r for r in RIVALS if r in against]
    rivals = trained or [r for r in (REFERENCE,) if r in against]
    if not rivals:
        headline = f"No comparison can be made for {title(primary)}: nothing else was scored on {metric}."
        return Answer(headline, "unclear", [], _notes(primary, metric, against, means))
    verdict = _verdict([against[r] for r in rivals])
    headline = f"{title(primary)} {_against(against, rivals)} on {metric}."
    notes = _notes(primary, metric, against, means)
    fair = (_fair(frontier, primary, rivals) if frontier else [UNKNOWN]) if trained else []
    if frontier and trained:
        verdict = _agreed(verdict, _fair_verdict(frontier, rivals))
    if not trained:
        missing = " and ".join(title(r) for r in RIVALS if r != primary)
        notes.insert(0, f"Compared with the untouched reference alone: {missing} were not trained.")
    return Answer(headline, verdict, fair, notes)


def _verdict(differences: list[Estimate]) -> str:
    kinds = {_kind(difference) for difference in differences}
    undecided = "mixed" if {"better", "worse"} <= kinds else "unclear"
    return kinds.pop() if len(kinds) == 1 else undecided


def _fair_verdict(frontier: Frontier, rivals: list[str]) -> str:
    """At each one's best step; where that is not known of a rival, at equal drift; 'unclear' where neither is."""
    found = [frontier.at_best.get(r) or frontier.at_drift.get(r) for r in rivals]
    known = [difference for difference in found if difference]
    return _verdict(known) if len(known) == len(found) else "unclear"


def _agreed(first: str, second: str) -> str:
    if first == second:
        return first
    return "mixed" if "mixed" in (first, second) or {first, second} == {"better", "worse"} else "unclear"


def _fair(frontier: Frontier, primary: str, rivals: list[str]) -> list[str]:
    """Whether it holds with each arm at its own best, and at one distance from the reference."""
    found = []
    if missing := [title(r) for r in rivals if r not in {*frontier.at_best, *frontier.at_drift}]:
        found.append(f"Not known against {' and '.join(missing)}: no snapshots were scored (train.snapshots).")
    if known := [r for r in rivals if r in frontier.at_best]:
        chosen = ", ".join(f"{title(arm)} {frontier.best[arm]}" for arm in (primary, *known))
        found.append(
            f"Each at its own best step, chosen on other prompts by one rule ({chosen}), it "
            f"{_against(frontier.at_best, known)}."
        )
    if known := [r for r in rivals if r in frontier.at_drift]:
        found.append(
            f"At one distance from the reference, the largest that every arm reaches (drift {frontier.drift:.4f}), it "
            f"{_against(frontier.at_drift, known)}."
        )
    return found


def _against(differences: dict[str, Estimate], rivals: list[str]) -> str:
    return _joined([_clause(differences[r], title(r)) for r in rivals])


def _kind(difference: Estimate) -> str:
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "unclear"


def _clause(difference: Estimate, rival: str) -> str:
    size = f"{number(abs(difference.mean))}"
    if not math.isfinite(difference.low):
        side = "above" if difference.mean >= 0 else "below"
        return f"is {size} {side} {rival} (too little data for an interval)"
    interval = f"95 % interval {bounds(difference, signed=True)}"
    if _kind(difference) == "better":
        return f"beats {rival} by {size} ({interval})"
    if _kind(difference) == "worse":
        return f"falls behind {rival} by {size} ({interval})"
    return f"cannot be told apart from {rival} ({number(difference.mean, signed=True)}, {interval})"


def _joined(clauses: list[str]) -> str:
    both_unclear = all(c.startswith("cannot be told apart from ") for c in clauses)
    if len(clauses) == 2 and both_unclear:
        return f"{clauses[0]} or from {clauses[1].removeprefix('cannot be told apart from ')}"
    return " and ".join(clauses)


def _notes(
    primary: str,
    metric: str,
    against: dict[str, Estimate],
    means: dict[str, Estimate],
) -> list[str]:
    notes = []
    over = {m: e.over for m, e in against.items()}
    if "prompts" in over.values():
        notes.append(
            "One training seed: the intervals are over prompts only and say nothing of what another training, or "
            "another draw of the labelled pairs, would give."
            if set(over.values()) == {"prompts"}
            else "Some methods have one training seed; their intervals are over prompts only."
        )
    if CEILING in against and primary != CEILING:
        gap = against[CEILING]
        notes.append(
            f"{title(CEILING)} sees every human label and is a ceiling, not a rival: {title(primary)} minus it is "
            f"{number(gap.mean, signed=True)} (95 % interval {bounds(gap, signed=True)})."
        )
    best = max(means, key=lambda m: means[m].mean)
    if best not in (primary, CEILING):
        notes.append(_ahead(title(best), metric, against.get(best), means[best], title(primary)))
    below = against.get(REFERENCE)
    if below is not None and len(against) > 1 and _kind(below) != "better":
        notes.append(
            f"It is not shown to be better than the untouched {title(REFERENCE).lower()} "
            f"({number(below.mean, signed=True)}, 95 % interval {bounds(below, signed=True)})."
        )
    return notes


def _ahead(best: str, metric: str, difference: Estimate | None, mean: Estimate, primary: str) -> str:
    lead = f"{best} has the highest {metric} ({number(mean.mean)})"
    if difference is None:
        return f"{lead}."
    behind = f"{primary} minus {best} is {number(difference.mean, signed=True)}"
    interval = f"95 % interval {bounds(difference, signed=True)}"
    return f"{lead}: {behind} ({interval}){'' if _kind(difference) == 'worse' else ', so the two cannot be ranked'}."


def number(value: float, *, signed: bool = False) -> str:
    """Three decimals below 10, one below 1,000, none above; a true minus sign; '–' for what is not finite."""
    if not math.isfinite(value):
        return "–"
    decimals = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    text = f"{value:+,.{decimals}f}" if signed else f"{value:,.{decimals}f}"
    return text.replace("-", "−")


def bounds(found: Estimate | Dot, *, signed: bool = False) -> str:
    """'low to high', or 'no interval'."""
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return "no interval"
    return f"{number(found.low, signed=signed)} to {number(found.high, signed=signed)}"
