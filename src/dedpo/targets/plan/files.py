"""The plan on disk: plan.json, its page and its picture."""

from __future__ import annotations

from pathlib import Path

from dedpo.contract.records.plan import Plan
from dedpo.contract.sections import PlanConfig, TargetsConfig
from dedpo.outputs.manifest import output_folder, write_json, write_text
from dedpo.targets.estimates import estimate
from dedpo.targets.plan import charts, words
from dedpo.targets.plan.planner import plan
from dedpo.targets.reading import read


def run(
    config: PlanConfig,
    targets: TargetsConfig,
    *,
    ratings: Path,
    splits: Path,
    labels: Path,
    features: Path | None,
    out: Path,
) -> Plan:
    """Write plan.json, plan.md, plan.svg and plan.png; no image and no prompt is read.

    Args:
        targets: how the annotators are combined and recalibrated, and the regime that advice rests on.
        features: the pairs' features, for the probe; None: all is said of the reference alone.

    Returns:
        the content of plan.json (planner.py says what it holds), with the advice and the warnings in words.

    Raises:
        UserError: an input is missing or wrong, or there is nothing to plan (planner.py).
    """
    inputs = {"ratings": ratings, "splits": splits, "labels": labels}
    if features is not None:
        inputs["features"] = features
    settings = config.model_dump() | {"targets": targets.model_dump()}
    with output_folder(out, stage="plan", config=settings, inputs=inputs) as partial:
        opinions = read(ratings, splits, labels, features)
        facts = plan(opinions, estimate(opinions, targets), config, targets.regime)
        record: Plan = {**facts, "advice": words.advice(facts), "warnings": words.warnings(facts)}
        write_json(partial / "plan.json", record)
        write_text(partial / "plan.md", words.page(facts))
        for ending, content in charts.draw(facts).items():
            (partial / f"plan.{ending}").write_bytes(content)
        return record
