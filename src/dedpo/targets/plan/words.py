"""What plan.json says, in words: one sentence of advice, a table of both regimes, the warnings, and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dedpo.contract.records.intervals import Bounded
from dedpo.contract.records.plan import Alone, Mix, PlanFacts
from dedpo.targets.plan.planner import FEW_LABELS, REGIMES

# Of the cheapest mixes of resampled prompts: from here on advice hangs on chance.
_WIDE: Final = 4.0
TITLES: Final = {"probe": "late in training", "reference": "at the start"}
_REGIMES: Final = """\
**At the start** of training the policy is the reference, and whatever the annotator says as people do helps.
**Late in training** the policy has learnt what the human labels teach, and an annotator helps only by what it knows
beyond them: measured at the residuals of a small model of the human labels (a probe). That model gets better with more
labels and leaves less to add, so take the late numbers for many more labels as hopeful. A whole training lies between
the two; advice rests on the one that `targets.regime` names."""
_TERMS: Final = """\
Effective human labels: as many human labels alone, without an annotator, would make the training gradient as precise.
Intervals are of 95 %: today's by the delta method, the others and the bands in the picture by a bootstrap over the
pilot's prompts. An annotated pair costs the annotators' answers and the GPU time to draw, encode and train on it; a
human label on a pair that is there costs its own price and nothing else."""


def advice(facts: PlanFacts) -> str:
    """What to buy for the target, what it costs, and what human labels alone would cost."""
    mix, alone = facts["regimes"][facts["regime"]]["mix"], facts["humans_alone"]
    now = facts["regimes"][facts["regime"]]["n_eff"]["value"]
    times = f" ({facts['multiple']:g} × today's {_count(now)})" if facts["multiple"] else f" (today {_count(now)})"
    aim = f"For {_count(facts['target'])} effective human labels{times}"
    if mix["humans_only"]:
        on_new = f", {_count(alone['more_pairs'])} of them on new pairs" if alone["more_pairs"] else ""
        return (
            f"{aim}, collect {_count(alone['more_labels'])} human labels{on_new}: {money(alone['cost'])}. "
            "No mix with the annotator is cheaper."
        )
    return (
        f"{aim}, {_purchase(mix)}: {_ranged(mix['cost'], money)}; human labels alone would cost {money(alone['cost'])}."
    )


def _purchase(mix: Mix) -> str:
    labels, pairs = mix["more_labels"]["value"], mix["more_pairs"]["value"]
    if not pairs:
        return f"collect {_count(labels)} human labels on pairs that are annotated already"
    if not labels:
        return f"annotate {_count(pairs)} new pairs, and collect no human label"
    return f"collect {_count(labels)} human labels and annotate {_count(pairs)} new pairs"


def warnings(facts: PlanFacts) -> list[str]:
    """Each says what is wrong, by a number, and what to do about it."""
    found, case = [], facts["regimes"][facts["regime"]]
    if facts["n_labelled"] < FEW_LABELS:
        found.append(
            f"only {facts['n_labelled']} labelled pairs have an annotator's answer: everything here is a guess; "
            f"label {FEW_LABELS} at the least, better 200"
        )
    if facts["no_probe"]:
        found.append(
            f"all numbers are those at the start of training, too hopeful for its end, because {facts['no_probe']}"
        )
    if not case["help"]["value"]:
        found.append(
            f"the annotator is of no use {TITLES[facts['regime']]} (λ̂ = 0): only human labels count; try another "
            "template or annotator"
        )
    cost = case["mix"]["cost"]
    if cost["low"] is not None and (cost["high"] is None or cost["high"] > _WIDE * max(cost["low"], 0.01)):
        found.append(
            f"the pilot leaves the cost open, {_ranged(cost, money)}: more human labels on pairs that are annotated "
            "already narrow it, and are never lost"
        )
    return found


def rows(facts: PlanFacts) -> list[tuple[str, ...]]:
    """The table: a heading, then a line a question; a column a regime."""
    shown = [(name, facts["regimes"][name]) for name in REGIMES if name in facts["regimes"]]
    target, some = _count(facts["target"]), shown[0][1]
    more, pairs = some["next_labels"]["more_labels"], some["next_pairs"]["more_pairs"]
    return [
        ("", *(TITLES[name] for name, _ in shown)),
        ("power λ̂", *(f"{c['power']:.2f}" for _, c in shown)),
        ("effective human labels today", *(_ranged(c["n_eff"], _count) for _, c in shown)),
        (f"next {more:,} human labels add", *(_ranged(c["next_labels"]["gain"], _gain) for _, c in shown)),
        (
            "  price of an effective label",
            *(_ranged(c["next_labels"]["cost_each"], money, "nothing gained") for _, c in shown),
        ),
        (f"next {pairs:,} annotated pairs add", *(_ranged(c["next_pairs"]["gain"], _gain) for _, c in shown)),
        (
            "  price of an effective label",
            *(_ranged(c["next_pairs"]["cost_each"], money, "nothing gained") for _, c in shown),
        ),
        (f"cheapest way to {target}: more human labels", *(_ranged(c["mix"]["more_labels"], _count) for _, c in shown)),
        ("  more annotated pairs", *(_annotated(c["mix"]) for _, c in shown)),
        ("  its cost", *(_ranged(c["mix"]["cost"], money) for _, c in shown)),
        (f"human labels alone to {target}", *(money(facts["humans_alone"]["cost"]) for _ in shown)),
        (f"annotated pairs alone to {target}", *(_unlabelled(c["annotated_alone"]) for _, c in shown)),
    ]


def describe(facts: PlanFacts) -> str:
    """For a terminal: the table, the warnings, the advice."""
    table = rows(facts)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([*lines, "", *(f"warning: {w}" for w in warnings(facts)), advice(facts)])


def page(facts: PlanFacts) -> str:
    """The same as Markdown, with the picture and what the words mean."""
    accuracy, prices = facts["accuracy"], facts["prices"]
    pilot = (
        f"The pilot: {facts['n_labelled']:,} human-labelled of {facts['n']:,} annotated pairs; the annotator sides "
        f"with people on {_ranged(accuracy, _percent)} of them (n = {accuracy['n']:,} without ties). "
        f"Prices: a human label {money(prices['human'])}, an annotated pair {money(prices['annotated'])}."
    )
    blocks = [
        "# What the next label is worth",
        f"**{advice(facts)}**",
        "\n".join(f"- {w}" for w in warnings(facts)),
        "![effective labels against human labels, against accuracy, and the target's cost](plan.svg)",
        _markdown(rows(facts)),
        pilot,
        _REGIMES,
        _TERMS,
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _markdown(table: Sequence[tuple[str, ...]]) -> str:
    lines = [table[0], ("---", *("---:" for _ in table[0][1:])), *table[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("|   ", "| … ")


def _annotated(mix: Mix) -> str:
    return "none: humans only" if mix["humans_only"] else _ranged(mix["more_pairs"], _count)


def _unlabelled(found: Alone) -> str:
    if found["cost"] is not None:
        return money(found["cost"])
    return f"never: {_count(found['limit'])} at most"


def _ranged(found: Bounded, form: Callable[[float], str], nothing: str = "–") -> str:
    """'312 (280 to 350)'; `nothing` where there is no value, no interval where none is known, 'no end' for ∞."""
    value = nothing if found["value"] is None else form(found["value"])
    if found["low"] is None:
        return value
    return f"{value} ({form(found['low'])} to {'no end' if found['high'] is None else form(found['high'])})"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _gain(value: float) -> str:
    return f"{value:,.1f}" if 0.05 <= value < 10 else f"{value:,.0f}"


def _percent(value: float) -> str:
    return f"{value:.0%}"


def money(value: float) -> str:
    """'$0.0033', '$0.12', '$31.20', '$1,250'."""
    if 0 < value < 0.1:
        return f"${value:.2g}"
    return f"${value:,.2f}" if value < 100 else f"${value:,.0f}"
