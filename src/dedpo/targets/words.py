"""What targets.json says, in words."""

from __future__ import annotations

from collections.abc import Mapping

from dedpo.contract.records.targets import ArmFacts, Targets
from dedpo.targets import arms

_COLUMNS = ("arm", "labelled", "pairs", "λ", "n_eff", "95 % interval")


def explanation(facts: ArmFacts) -> str:
    """A paragraph on a tuned arm: what was chosen and why; a line on any other."""
    if facts["arm"] not in arms.TUNED:
        return _line(facts)
    parts = [_counts(facts), _accuracy(facts), *_power(facts), _worth(facts)]
    if facts["objective"] == "ipo":
        parts.append("The loss is IPO's, bounded below.")
    return " ".join(part for part in parts if part)


def overview(found: Mapping[str, Targets]) -> str:
    """Every arm in a table, the tuned arm in a paragraph, and each warning with the arms that it is of."""
    blocks = [_table(list(found.values()))]
    blocks += [facts["explanation"] for facts in found.values() if facts["arm"] in arms.TUNED][:1]
    named: dict[str, list[str]] = {}
    for arm, facts in found.items():
        for text in facts["warnings"]:
            named.setdefault(text, []).append(arm)
    if named:
        blocks.append("\n".join(f"warning ({', '.join(names)}): {text}" for text, names in named.items()))
    return "\n\n".join(blocks)


def _line(facts: ArmFacts) -> str:
    line = _counts(facts).removesuffix(".")
    if facts["arm"] in arms.DEBIASED:
        line += f"; λ = {facts['power']:.2f}"
    if facts["flip_rate"] is not None:
        line += f"; flip rate {facts['flip_rate']:.2f}"
    if facts["n_eff"] is not None:
        line += f"; worth {facts['n_eff']:,.0f} human labels"
    return line


def _counts(facts: ArmFacts) -> str:
    text = f"{facts['arm']}: {facts['n_labelled']:,} human-labelled of {facts['n']:,} pairs"
    if facts["set_aside"]:
        text += f", {facts['set_aside']:,} set aside"
    # Unevenly drawn labels count for less than their number.
    if round(facts["ess"]) < facts["n_labelled"]:
        text += f", labelled unevenly and so worth {facts['ess']:,.0f} evenly drawn"
    return f"{text}."


def _accuracy(facts: ArmFacts) -> str:
    accuracy, calibration = facts["accuracy"], facts["calibration"]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in facts["annotators"].items())
    several = len(facts["annotators"]) > 1
    who = f"The annotators together ({shares})" if several else f"The annotator {facts['annotator']}"
    how = "" if calibration == "none" else f", recalibrated ({calibration}),"
    if accuracy["value"] is None:
        return f"{who}{how} {'choose' if several else 'chooses'} on no labelled pair where the human does."
    return (
        f"{who}{how} {'side' if several else 'sides'} with the human on {accuracy['value']:.1%} of the labelled pairs "
        f"({accuracy['low']:.1%} to {accuracy['high']:.1%}, n = {accuracy['n']:,} without ties)."
    )


def _power(facts: ArmFacts) -> list[str]:
    """What λ means, its estimates, and which is used."""
    meaning = "λ says how much the annotator counts, from 0, the human labels alone, to 1, DeDPO."
    estimates = f"The estimate that makes the gradient least noisy is {facts['power_reference']:.2f} at the reference"
    if facts["power_probe"] is not None and facts["probe"] is not None:
        estimates += (
            f", where training begins, and {facts['power_probe']:.2f} at the residuals of a probe of "
            f"{facts['probe']['n_features']} features (cross-entropy {facts['probe']['loss']:.3f} nats, a coin's is "
            "0.693), where a policy stands that has learnt what the human labels teach"
        )
    chosen = facts["power_reference"] if facts["regime"] == "reference" else facts["power_probe"]
    source = f"the {facts['regime']}'s" if facts["power"] == chosen else "set by targets.power"
    return [meaning, f"{estimates}.", f"Chosen: λ = {facts['power']:.2f}, {source}."]


def _worth(facts: ArmFacts) -> str:
    if facts["n_eff"] is None:
        return "What the labels are worth cannot be said: the human labels leave no residual."
    text = (
        f"At that λ labels and annotator together are worth {facts['n_eff']:,.0f} human labels alone{_interval(facts)}"
    )
    if facts["n_eff_probe"] is not None:
        text += f"; {facts['n_eff_reference']:,.0f} at the reference, {facts['n_eff_probe']:,.0f} at the probe"
    return f"{text}."


def _interval(facts: ArmFacts) -> str:
    low, high = facts["n_eff_interval"]["low"], facts["n_eff_interval"]["high"]
    return "" if low is None or high is None else f" ({low:,.0f} to {high:,.0f})"


def _table(rows: list[Targets]) -> str:
    cells = [_COLUMNS, *(_cells(facts) for facts in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in cells
    )


def _cells(facts: ArmFacts) -> tuple[str, ...]:
    return (
        facts["arm"],
        f"{facts['n_labelled']:,}",
        f"{facts['n']:,}",
        f"{facts['power']:.2f}" if facts["arm"] in arms.DEBIASED else "–",
        "–" if facts["n_eff"] is None else f"{facts['n_eff']:,.0f}",
        _interval(facts).strip(" ()") or "–",
    )
