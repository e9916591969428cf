"""Ratings and labels become the two numbers (a, b) a pair."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Markdown, Metrics, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def targets(
    ratings: Input[Dataset],
    splits: Input[Dataset],
    labels: Input[Dataset],
    features: Input[Dataset],
    arms: list[str],
    settings: str,
    targets: Output[Dataset],
    worth: Output[Markdown],
    metrics: Output[Metrics],
):
    """Turn ratings and labels into the two numbers (a, b) a pair, one table an arm; say what they can do.

    Args:
        ratings: The ratings table.
        splits: The splits table.
        labels: The labels table.
        features: How the two images of each rated pair differ.
        arms: The arms to make targets for.
        settings: The section 'targets' as JSON.
        targets: A folder an arm: targets.parquet and targets.json; and trust.json.
        worth: A line an arm: λ, the annotator's accuracy, effective human labels, warnings; then a line an annotator.
        metrics: Each annotator's agreement, λ and effective labels, and those of all together.
    """
    from pathlib import Path

    from dedpo.contract.sections import TargetsConfig
    from dedpo.kubeflow import component
    from dedpo.targets import stage, trust

    with component.reported():
        facts = stage.run(
            component.section(TargetsConfig, settings),
            arms=arms,
            ratings=Path(ratings.path, "ratings.parquet"),
            splits=Path(splits.path, "splits.parquet"),
            labels=Path(labels.path, "labels.parquet"),
            features=Path(features.path, "features.parquet"),
            out=Path(targets.path),
        )
        lines = [f"- {stage.describe(arm)}" for arm in facts.values()]
        if found := trust.read(Path(targets.path)):
            lines.append(f"\n```\n{trust.describe(found)}\n```")
            component.log(metrics, trust.numbers(found))
        Path(worth.path).write_text("\n".join(lines))
        component.describe(targets, rows={arm: found["n"] for arm, found in facts.items()})
