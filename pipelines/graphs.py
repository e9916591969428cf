"""Graphs within the pipeline's graph: an artefact at a URI, labelling and training side by side.

They are graphs of their own for two reasons. Inside a loop, kfp's local runner (2.17) takes an outer task's output for
the loop's item. And Kubeflow's importer reads a URI from an input of its graph only, never from another task's output.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Collected, Dataset, Input, Model

from components.label.component import label
from components.train.component import train
from pipelines.resources import Pool, give


class Arms(NamedTuple):
    """What the trainings of all arms have made, in the arms' order."""

    policies: list[Model]
    records: list[Artifact]


class Parts(NamedTuple):
    """The labels of all shard lists, in the lists' order."""

    parts: list[Dataset]


@dsl.pipeline(name="artifact")
def artifact(uri: str) -> Dataset:
    """What lies at a URI that a task has named."""
    return dsl.importer(artifact_uri=uri, artifact_class=Dataset).output


@dsl.pipeline(name="label-shards")
def labelled(
    pairs: Input[Dataset],
    ratings: Input[Dataset],
    shards: list[list[str]],
    labelling: str,
    settings: str,
    image: str,
    secret: str,
    accelerator: str,
    gpus: str,
    node_selector: dict,
    tolerations: list,
    cpus: str,
    memory: str,
) -> Parts:
    """Label each list of shards, side by side: at an endpoint, with an annotator in each pod, or not at all."""
    with dsl.ParallelFor(shards, name="shards") as some:
        part = label(pairs=pairs, ratings=ratings, shards=some, labelling=labelling, settings=settings)
        pool = Pool(accelerator, gpus, node_selector, tolerations, cpus, memory)
        give(part, "label", image=image, secret=secret, pool=pool)
    return Parts(parts=Collected(part.outputs["part"]))


@dsl.pipeline(name="train-arms")
def arms_trained(
    pairs: Input[Dataset],
    ratings: Input[Dataset],
    splits: Input[Dataset],
    targets: Input[Dataset],
    arms: list[str],
    seed: int,
    max_pixels: int,
    settings: str,
    image: str,
    secret: str,
    accelerator: str,
    gpus: str,
    node_selector: dict,
    tolerations: list,
    cpus: str,
    memory: str,
) -> Arms:
    """Train each arm, side by side."""
    with dsl.ParallelFor(arms, name="arms") as arm:
        policy = train(
            pairs=pairs,
            ratings=ratings,
            splits=splits,
            targets=targets,
            arm=arm,
            seed=seed,
            max_pixels=max_pixels,
            settings=settings,
        )
        pool = Pool(accelerator, gpus, node_selector, tolerations, cpus, memory)
        give(policy, "train", image=image, secret=secret, pool=pool)
    return Arms(policies=Collected(policy.outputs["policy"]), records=Collected(policy.outputs["record"]))
