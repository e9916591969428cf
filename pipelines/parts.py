"""Parts of the pipeline's graph: what comes before training, and the judge."""

from collections.abc import Mapping
from typing import Any, Final

from kfp import dsl

from components.bias.component import bias
from components.data.component import import_pairs, prepare
from components.fetch.component import fetch
from components.gate.component import gate
from components.judge.component import judge, no_judge
from components.label.component import labels_given, merge_labels
from components.targets.component import targets
from pipelines.graphs import artifact, labelled, labelled_with_servers
from pipelines.resources import Pool, give

# More pods ask one endpoint no faster; with a server in each, every one loads the annotator.
LABEL_PODS: Final = 4

Outputs = Mapping[str, Any]


def data(source: Any, prompts: Any, seed: Any, plan: Outputs, image: Any, secret: Any) -> tuple[Outputs, Outputs]:
    """What the import gives, after which labelling may begin, and what else is made of the data meanwhile."""
    fetched = fetch(source=source, origin=plan["origin"], commit=plan["commit"])
    give(fetched, "fetch", image=image, secret=secret)
    folder = artifact(uri=fetched.outputs["Output"]).set_display_name("source").output
    imported = import_pairs(
        source=folder, revision=plan["commit"], prompts=prompts, pods=LABEL_PODS, settings=plan["data"]
    )
    give(imported, "import-pairs", image=image)
    ready = prepare(
        source=folder,
        pairs=imported.outputs["pairs"],
        ratings=imported.outputs["ratings"],
        revision=plan["commit"],
        seed=seed,
        settings=plan["data"],
    )
    give(ready, "prepare", image=image, secret=secret)
    return imported.outputs, ready.outputs


def labels(given: Any, imported: Outputs, plan: Outputs, pool: Pool, image: Any, label_image: Any, secret: Any) -> Any:
    """The labels: those that are there, an endpoint's, or those of servers in the pods."""
    pairs, shards, settings = imported["pairs"], imported["shards"], plan["label"]
    with dsl.If(plan["labelling"] == "given", name="labels-are-there"):
        there = give(labels_given(labels=given), "labels-given", image=image)
    with dsl.Elif(plan["labelling"] == "endpoint", name="annotator-has-an-endpoint"):
        asked = labelled(pairs=pairs, shards=shards, settings=settings, image=image, secret=secret)
        merged = merge_labels(parts=asked.outputs["parts"], pairs=pairs, settings=settings)
        give(merged, "merge-labels", image=image)
    with dsl.Else(name="annotator-in-the-pods"):
        served = labelled_with_servers(
            pairs=pairs,
            shards=shards,
            settings=settings,
            image=label_image,
            secret=secret,
            accelerator=pool.accelerator,
            gpus=pool.gpus,
            node_selector=pool.node_selector,
            tolerations=pool.tolerations,
        )
        together = merge_labels(parts=served.outputs["parts"], pairs=pairs, settings=settings)
        give(together, "merge-labels", image=image)
    # As URIs: kfp's local runner (2.17) and Kubeflow's backend before 2.17 choose between parameters only.
    uri = dsl.OneOf(there.output, merged.outputs["Output"], together.outputs["Output"])
    return artifact(uri=uri).set_display_name("labels").output


def numbers(imported: Outputs, ready: Outputs, labels: Any, plan: Outputs, image: Any) -> tuple[Any, Any]:
    """Where the annotator differs from people, and, if the gate lets it pass, the targets."""
    ratings, splits = ready["joined"], ready["splits"]
    found = bias(
        pairs=imported["pairs"],
        ratings=ratings,
        splits=splits,
        labels=labels,
        max_pixels=plan["max_pixels"],
        settings=plan["bias"],
    )
    give(found, "bias", image=image)
    passed = gate(bias=found.outputs["facts"], labels=labels, settings=plan["gate"])
    give(passed, "gate", image=image)
    made = targets(
        ratings=ratings,
        splits=splits,
        labels=labels,
        features=ready["features"],
        arms=plan["arms"],
        settings=plan["targets"],
    ).after(passed)
    give(made, "targets", image=image)
    return found.outputs["facts"], made.outputs["targets"]


def verdicts(samples: Any, primary: Any, seed: Any, plan: Outputs, image: Any, secret: Any) -> Any:
    """The judge's verdicts, or a note that there is no judge."""
    with dsl.If(plan["judging"] == True, name="a-judge-is-named"):  # noqa: E712 (kfp reads the comparison)
        asked = judge(samples=samples, primary=primary, arms=plan["arms"], seed=seed, settings=plan["judge"])
        give(asked, "judge", image=image, secret=secret)
    with dsl.Else(name="no-judge-is-named"):
        none = give(no_judge(), "no-judge", image=image)
    uri = dsl.OneOf(asked.outputs["Output"], none.outputs["Output"])
    return artifact(uri=uri).set_display_name("verdicts").output
