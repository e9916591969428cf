"""Pairs and ratings from any layout that the import knows, and what a run sees of the ratings."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def import_pairs(
    source: Input[Dataset],
    revision: str,
    prompts: str,
    pods: int,
    settings: str,
    pairs: Output[Dataset],
    ratings: Output[Dataset],
    imported: Output[Artifact],
    texts: Output[Artifact],
) -> NamedTuple("Shards", [("shards", list[list[str]])]):
    """Import pairs: check every image, de-duplicate, set bad rows aside; a finished import is taken over.

    Args:
        source: A folder in a layout that the import knows, or a finished import (there or in data/), with the prompts.
        revision: Which state of the source this is; a new one imports again.
        prompts: The prompts' file in the source.
        pods: Label in at most so many pods.
        settings: The section 'data' as JSON.
        pairs: Shards of the pairs table, with the images.
        ratings: The ratings that came with the pairs: one file, no image.
        imported: What was counted, the rows set aside, and the manifest.
        texts: The prompts, one a line.

    Returns:
        shards: Lists of the shards' file names, of about equal size in bytes.
    """
    from pathlib import Path

    from dedpo.contract.sections import DataConfig
    from dedpo.data import stage
    from dedpo.kubeflow import component
    from dedpo.kubeflow import source as places
    from dedpo.label.stage import shards

    with component.reported():
        place = places.locate(Path(source.path), prompts)
        Path(texts.path).write_bytes(place.prompts.read_bytes())
        counts = stage.import_pairs(component.section(DataConfig, settings), source=place.data, out=Path(imported.path))
        state = component.revision(imported.path, revision)
        component.describe(imported, set_aside=sum(counts["set_aside"].values()), **state)
        component.move(imported.path, {"pairs": pairs.path, "ratings.parquet": ratings.path})
        component.describe(pairs, rows=counts["pairs"], **state)
        component.describe(ratings, rows=counts["ratings"], **state)
        return (shards(Path(pairs.path), pods),)


@dsl.component(**RUNTIME)
def prepare(
    source: Input[Dataset],
    pairs: Input[Dataset],
    ratings: Input[Dataset],
    revision: str,
    seed: int,
    settings: str,
    joined: Output[Dataset],
    splits: Output[Dataset],
    features: Output[Dataset],
):
    """Join later ratings by people, choose what a run may see of the ratings, and measure the rated pairs.

    Args:
        source: The folder that the pairs came from; its human/ holds rounds and ratings that came later.
        pairs: Shards of the pairs table.
        ratings: The ratings that came with the pairs.
        revision: Which state of the source this is.
        seed: Which labelled subset.
        settings: The section 'data' as JSON.
        joined: The ratings table, those that came with the pairs and the later ones, what was counted, the manifest.
        splits: The splits table, what was counted, and the manifest.
        features: How the two images of each rated pair differ, what the columns are, and the manifest.
    """
    from pathlib import Path

    from dedpo.contract.sections import DataConfig
    from dedpo.data import stage
    from dedpo.human import stage as human
    from dedpo.kubeflow import component

    with component.reported():
        config = component.section(DataConfig, settings)
        later = Path(source.path, "human")
        data = component.lay_out({"pairs": pairs.path, "ratings.parquet": ratings.path})
        human.ratings(imported=Path(ratings.path), human=later, out=Path(joined.path))
        seen = {"ratings": Path(joined.path, "ratings.parquet"), "rounds": later / "rounds"}
        counts = stage.split(config, data=data, out=Path(splits.path), seed=seed, **seen)
        found = stage.features(config, data=data, out=Path(features.path), ratings=seen["ratings"])
        state = component.revision(joined.path, revision)
        component.describe(joined, **state)
        component.describe(splits, rows=counts["pairs"], labelled=counts["labelled"], seed=seed, **state)
        component.describe(features, rows=found["rated_pairs"], columns=found["features"], **state)
