"""Samples become metrics."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def score(samples: Input[Dataset], max_pixels: int, settings: str, scores: Output[Dataset], metrics: Output[Metrics]):
    """Score every sample.

    Args:
        samples: Shards of the samples table.
        max_pixels: Samples with more pixels are refused.
        settings: The section 'score' as JSON.
        scores: The scores table, each model's means, and the manifest.
        metrics: Each model's means.
    """
    from pathlib import Path

    from dedpo.contract.sections import ScoreConfig
    from dedpo.kubeflow import component
    from dedpo.score import stage

    with component.reported():
        config = component.section(ScoreConfig, settings)
        summary = stage.run(
            config,
            samples=Path(samples.path),
            out=Path(scores.path),
            max_pixels=max_pixels,
            log=component.answers("score"),
        )
        component.describe(scores, rows=summary["samples"])
        for model, means in summary["means"].items():
            component.log(metrics, {f"{model} {metric}": mean for metric, mean in means.items()})
