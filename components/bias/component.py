"""Where the annotator differs from people."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def bias(
    pairs: Input[Dataset],
    ratings: Input[Dataset],
    splits: Input[Dataset],
    labels: Input[Dataset],
    features: Input[Dataset],
    max_pixels: int,
    settings: str,
    page: Output[HTML],
    evidently: Output[HTML],
    metrics: Output[Metrics],
    choices: Output[ClassificationMetrics],
    facts: Output[Artifact],
):
    """Say where the annotator differs from the people whose labels the run may see.

    Args:
        pairs: Shards of the pairs table, with the images.
        ratings: The ratings table.
        splits: The splits table.
        labels: The labels table.
        features: How the two images of each rated pair differ: what is known of them is not measured again.
        max_pixels: Images with more pixels are not measured.
        settings: The section 'bias' as JSON; its workspace is the volume's, where the dashboard shows every run.
        page: The page: agreement, ceiling, calibration, words and image properties.
        evidently: Evidently's report.
        metrics: Agreement with its interval and κ.
        choices: The annotator's choices against people's: confusion matrix and ROC curve.
        facts: bias.json with both pages and the manifest.
    """
    from pathlib import Path

    from dedpo.bias import stage
    from dedpo.contract.sections import BiasConfig
    from dedpo.kubeflow import component

    with component.reported():
        found = stage.run(
            component.section(BiasConfig, settings).model_copy(update={"workspace": str(component.workspace())}),
            pairs=Path(pairs.path),
            ratings=Path(ratings.path, "ratings.parquet"),
            splits=Path(splits.path, "splits.parquet"),
            labels=Path(labels.path, "labels.parquet"),
            features=Path(features.path),
            out=Path(facts.path),
            max_pixels=max_pixels,
        )
        Path(page.path).write_bytes(Path(facts.path, "bias.html").read_bytes())
        Path(evidently.path).write_bytes(Path(facts.path, "evidently.html").read_bytes())
        component.describe(facts, headline=found["headline"])
        component.log(metrics, found["agreement"] or {})
        component.classification(choices, found)
