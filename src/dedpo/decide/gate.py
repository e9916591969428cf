"""Whether the annotator is good enough to train on: its agreement with people, its answers, its position bias."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from dedpo.contract import records
from dedpo.contract.sections import GateConfig
from dedpo.errors import UserError, excerpt
from dedpo.outputs import ownership
from dedpo.outputs.manifest import output_folder, write_json, write_text
from dedpo.stats.agreement import REVERSED


class Check(NamedTuple):
    """One question and its answer; `value` is None where it could not be measured, which is no pass."""

    name: str
    setting: str
    value: float | None
    limit: float
    passed: bool
    detail: str


def run(config: GateConfig, *, bias: Path, labels: Path, out: Path) -> dict[str, Any]:
    """Write gate.json and gate.md if every check passes.

    Args:
        bias: the folder of `dedpo bias`, with bias.json.
        labels: the folder of `dedpo label`, with summary.json.

    Returns:
        the content of gate.json: annotator, and each check with value, limit and whether it passed.

    Raises:
        UserError: a check failed (the message names each with its number; `out` is not made, and removed if it was
            there; gate.json and gate.md lie in its partial folder), or an input is missing.
    """
    with output_folder(
        out, stage="gate", config=config.model_dump(), inputs={"bias": bias, "labels": labels}
    ) as partial:
        found = records.read(bias / "bias.json", "run 'dedpo bias' first", {"agreement"})
        counts = records.read(labels / "summary.json", "run 'dedpo label' first", {"pairs", "answered"})
        checks = examine(config, found, counts)
        annotator = excerpt(str(found.get("annotator", "the annotator")), 80)
        facts = {
            "annotator": annotator,
            "passed": all(c.passed for c in checks),
            "checks": [c._asdict() for c in checks],
        }
        write_json(partial / "gate.json", facts)
        write_text(partial / "gate.md", page(annotator, checks))
        if failed := [c for c in checks if not c.passed]:
            # The pass that an earlier run has left is not true any more.
            if out.exists():
                ownership.discard(out, out, "gate")
            told = ", ".join(f"{c.detail} ({c.setting})" for c in failed)
            raise UserError(
                f"gate: {annotator} is not good enough to train on: {told}; take a better annotator or template, or "
                "change the limit knowingly"
            )
    return facts


def examine(config: GateConfig, bias: dict[str, Any], counts: dict[str, Any]) -> list[Check]:
    """Every check that the settings ask for, and whether preferences are the other way round.

    Args:
        bias: the content of bias.json.
        counts: the content of the labels' summary.json.
    """
    checks = []
    if bias.get("reversed"):
        decided = bias["agreement"]["decided"]
        told = excerpt(str(bias["reversed"]), 400)
        checks.append(Check("orientation", "dedpo bias", decided["high"], REVERSED, False, told))
    if config.min_agreement is not None:
        checks.append(_agreement(config.min_agreement, bias))
    if config.max_position_bias is not None:
        checks.append(_position(config.max_position_bias, records.number(counts, "position_bias")))
    if config.min_answered is not None:
        checks.append(_answered(config.min_answered, *(records.number(counts, name) for name in ("answered", "pairs"))))
    return checks


def _agreement(limit: float, bias: dict[str, Any]) -> Check:
    name, setting = "agreement with people", "gate.min_agreement"
    value, low, high = (records.number(bias, "agreement", key) for key in ("value", "low", "high"))
    if value is None:
        return Check(name, setting, None, limit, False, f"{name} could not be measured, at least {limit:g} is asked")
    low, high = value if low is None else low, value if high is None else high
    detail = f"{name} {value:.3f} ({low:.3f} to {high:.3f}), whose upper end must reach {limit:g}"
    return Check(name, setting, high, limit, high >= limit, detail)


def _position(limit: float, value: float | None) -> Check:
    name, setting = "position bias", "gate.max_position_bias"
    if value is None:
        return Check(name, setting, None, limit, False, f"{name} could not be measured, at most {limit:g} is asked")
    return Check(name, setting, abs(value), limit, abs(value) <= limit, f"{name} {value:+.3f}, at most ±{limit:g}")


def _answered(limit: float, answered: float | None, total: float | None) -> Check:
    name, setting = "answered pairs", "gate.min_answered"
    if answered is None or not total:
        return Check(name, setting, None, limit, False, f"{name} were not counted, at least {limit:g} is asked")
    share = answered / total
    return Check(
        name, setting, share, limit, share >= limit, f"{name} {answered:.0f} of {total:.0f}, at least {limit:.1%}"
    )


def page(annotator: str, checks: list[Check]) -> str:
    """The checks as Markdown; the annotator's name is somebody else's text."""
    lines = [f"# {'Passed' if all(c.passed for c in checks) else 'Not passed'}: `{annotator.replace('`', '')}`", ""]
    lines += ["| check | measured | limit | passed |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {c.name} (`{c.setting}`) | {'–' if c.value is None else f'{c.value:.3f}'} | {c.limit:g} | "
        f"{'yes' if c.passed else '**no**'} |"
        for c in checks
    ]
    if not checks:
        lines.append("\nNothing is asked of it: every limit of section `gate` is null.")
    return "\n".join(lines) + "\n"


def describe(facts: dict[str, Any]) -> str:
    """gate.json in a few lines."""
    lines = [f"{facts['annotator']} is good enough to train on"]
    return "\n".join([*lines, *(c["detail"] for c in facts["checks"])])
