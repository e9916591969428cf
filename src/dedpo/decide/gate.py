"""Whether the annotator is good enough to train on: its agreement with people, its answers, its position bias."""

from __future__ import annotations

from pathlib import Path

from dedpo.contract import records
from dedpo.contract.records.bias import Agreement, Bias
from dedpo.contract.records.decisions import Check, Gate
from dedpo.contract.records.labels import Labels
from dedpo.contract.sections import GateConfig
from dedpo.errors import UserError, excerpt
from dedpo.outputs import ownership
from dedpo.outputs.manifest import output_folder, write_json, write_text
from dedpo.stats.agreement import REVERSED


def run(config: GateConfig, *, bias: Path, labels: Path, out: Path) -> Gate:
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
        found = records.read(bias / "bias.json", Bias, "run 'dedpo bias' first")
        counts = records.read(labels / "summary.json", Labels, "run 'dedpo label' first")
        checks = examine(config, found, counts)
        annotator = excerpt(found["annotator"], 80)
        facts: Gate = {"annotator": annotator, "passed": all(c["passed"] for c in checks), "checks": checks}
        write_json(partial / "gate.json", facts)
        write_text(partial / "gate.md", page(facts))
        if failed := [c for c in checks if not c["passed"]]:
            # The pass that an earlier run has left is not true any more.
            if out.exists():
                ownership.discard(out, out, "gate")
            told = ", ".join(f"{c['detail']} ({c['setting']})" for c in failed)
            raise UserError(
                f"gate: {annotator} is not good enough to train on: {told}; take a better annotator or template, or "
                "change the limit knowingly"
            )
    return facts


def examine(config: GateConfig, bias: Bias, counts: Labels) -> list[Check]:
    """Every check that the settings ask for, and whether preferences are the other way round.

    Args:
        bias: the content of bias.json.
        counts: the content of the labels' summary.json.
    """
    checks = []
    if bias["reversed"]:
        high = bias["agreement"]["decided"]["high"] if bias["agreement"] else None
        checks.append(_check("orientation", "dedpo bias", high, REVERSED, False, excerpt(bias["reversed"], 400)))
    if config.min_agreement is not None:
        checks.append(_agreement(config.min_agreement, bias["agreement"]))
    if config.max_position_bias is not None:
        several = len(counts["annotators"]) > 1
        checks += [
            _position(config.max_position_bias, one["position_bias"], f" of {one['annotator']}" if several else "")
            for one in counts["annotators"]
        ]
    if config.min_answered is not None:
        checks.append(_answered(config.min_answered, counts["answered"], counts["pairs"]))
    return checks


def _check(name: str, setting: str, value: float | None, limit: float, passed: bool, detail: str) -> Check:
    return {
        "name": name, "setting": setting, "value": value, "limit": limit, "passed": passed, "detail": detail,
    }  # fmt: skip


def _agreement(limit: float, found: Agreement | None) -> Check:
    name, setting = "agreement with people", "gate.min_agreement"
    if found is None or found["value"] is None:
        return _check(name, setting, None, limit, False, f"{name} could not be measured, at least {limit:g} is asked")
    value = found["value"]
    low, high = (value if bound is None else bound for bound in (found["low"], found["high"]))
    detail = f"{name} {value:.3f} ({low:.3f} to {high:.3f}), whose upper end must reach {limit:g}"
    return _check(name, setting, high, limit, high >= limit, detail)


def _position(limit: float, value: float | None, whose: str) -> Check:
    name, setting = excerpt(f"position bias{whose}", 100), "gate.max_position_bias"
    if value is None:
        return _check(name, setting, None, limit, False, f"{name} could not be measured, at most {limit:g} is asked")
    return _check(name, setting, abs(value), limit, abs(value) <= limit, f"{name} {value:+.3f}, at most ±{limit:g}")


def _answered(limit: float, answered: int, total: int) -> Check:
    name, setting = "answered pairs", "gate.min_answered"
    if not total:
        return _check(name, setting, None, limit, False, f"{name} were not counted, at least {limit:g} is asked")
    share = answered / total
    return _check(name, setting, share, limit, share >= limit, f"{name} {answered} of {total}, at least {limit:.1%}")


def page(facts: Gate) -> str:
    """The checks as Markdown; the annotator's name is somebody else's text."""
    lines = [f"# {'Passed' if facts['passed'] else 'Not passed'}: `{facts['annotator'].replace('`', '')}`", ""]
    lines += ["| check | measured | limit | passed |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {c['name']} (`{c['setting']}`) | {'–' if value is None else f'{value:.3f}'} | {c['limit']:g} | "
        f"{'yes' if c['passed'] else '**no**'} |"
        for c, value in ((c, c["value"]) for c in facts["checks"])
    ]
    if not facts["checks"]:
        lines.append("\nNothing is asked of it: every limit of section `gate` is null.")
    return "\n".join(lines) + "\n"


def describe(facts: Gate) -> str:
    """gate.json in a few lines."""
    lines = [f"{facts['annotator']} is good enough to train on"]
    return "\n".join([*lines, *(c["detail"] for c in facts["checks"])])
