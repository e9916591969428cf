"""One policy on one arm's targets."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Metrics, Model, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def train(
    pairs: Input[Dataset],
    ratings: Input[Dataset],
    splits: Input[Dataset],
    targets: Input[Dataset],
    arm: str,
    seed: int,
    max_pixels: int,
    settings: str,
    policy: Output[Model],
    record: Output[Artifact],
    metrics: Output[Metrics],
    card: Output[Markdown],
):
    """Train one policy on one arm's targets, on all GPUs of the task; started again, it goes on from its checkpoint.

    Args:
        pairs: Shards of the pairs table, with the images.
        ratings: The ratings table; the holdout's measure implicit accuracy and are not trained on.
        splits: The splits table.
        targets: The targets of all arms.
        arm: Whose targets to train on.
        seed: Of the order of pairs and of every draw.
        max_pixels: Images with more pixels are refused.
        settings: The section 'train' as JSON.
        policy: A diffusers folder with the model card, the settings and the measurements.
        record: The policy's measurements and manifest without its weights, for the report.
        metrics: The last measurements.
        card: The model card.
    """
    from pathlib import Path

    from dedpo.contract.sections import TrainConfig
    from dedpo.kubeflow import component
    from dedpo.train import stage

    with component.reported():
        # A run of other steps works in another folder.
        config = component.section(TrainConfig, settings).model_copy(update={"keep_last": False})
        inputs = [a.metadata["sha256"] for a in (pairs, ratings, splits, targets)]
        key = {
            "settings": config.model_dump(mode="json", exclude=set(stage.CHANGEABLE)),
            "models": component.local_models(base=config.base, vae=config.vae),
            "inputs": inputs,
            "arm": arm,
            "seed": seed,
        }
        with component.durable(policy.path, key) as out:
            measured = component.finished(out, "metrics.json") or stage.run(
                config,
                pairs=Path(pairs.path),
                ratings=Path(ratings.path, "ratings.parquet"),
                splits=Path(splits.path, "splits.parquet"),
                targets=Path(targets.path, arm),
                out=out,
                cache=component.cache_folder(),
                seed=seed,
                max_pixels=max_pixels,
            )
        names = ("manifest.json", "manifest.run.json", "metrics.json", "metrics.jsonl", "README.md")
        component.copy(policy.path, names, record.path)
        Path(card.path).write_bytes(Path(record.path, "README.md").read_bytes())
        for artifact in (policy, record):
            component.describe(artifact, arm=arm, seed=seed)
        component.log(metrics, measured)
