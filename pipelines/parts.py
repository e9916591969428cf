"""Parts of the pipeline's graph: what comes before training, and the judge."""

from collections.abc import Mapping
from typing import Any, Final

from components.bias.component import bias
from components.data.component import import_pairs, prepare
from components.fetch.component import fetch
from components.gate.component import gate
from components.judge.component import judge
from components.label.component import labels_given, merge_labels
from components.targets.component import targets
from pipelines.graphs import artifact, labelled
from pipelines.resources import give

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
    give(imported, "import-pairs", image=image, secret=secret)
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


def labels(given: Any, imported: Outputs, plan: Outputs, accelerator: Any, image: Any, secret: Any) -> Any:
    """The labels: those that are there, an endpoint's, or those of servers in the pods.

    One loop and one merge serve all three, and ask nobody where the labels are there. Alternatives (If, OneOf) would
    fail as soon as one of their tasks came from the cache: Kubeflow's driver (2.17) ends no DAG of such tasks, and
    OneOf takes the output of an ended one only. Nor can the loop be empty: what collects its outputs would find none.
    """
    there = give(labels_given(labels=given), "labels-given", image=image)
    folder = artifact(uri=there.outputs["Output"]).set_display_name("labels").output
    pairs, settings = imported["pairs"], plan["label"]
    asked = labelled(
        pairs=pairs,
        ratings=imported["ratings"],
        shards=imported["shards"],
        labelling=plan["labelling"],
        settings=settings,
        image=plan["label_image"],
        secret=secret,
        accelerator=accelerator,
        gpus=plan["label_gpus"],
        node_selector=plan["label_selector"],
        tolerations=plan["label_tolerations"],
        cpus=plan["label_cpus"],
        memory=plan["label_memory"],
    )
    merged = merge_labels(
        parts=asked.outputs["parts"], given=folder, pairs=pairs, labelling=plan["labelling"], settings=settings
    )
    give(merged, "merge-labels", image=image, secret=secret)
    return merged.outputs["labels"]


def numbers(imported: Outputs, ready: Outputs, labels: Any, plan: Outputs, image: Any) -> tuple[Any, Any]:
    """Where the annotator differs from people, and, if the gate lets it pass, the targets."""
    ratings, splits = ready["joined"], ready["splits"]
    found = bias(
        pairs=imported["pairs"],
        ratings=ratings,
        splits=splits,
        labels=labels,
        features=ready["features"],
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
    """The judge's verdicts, or its note that there is no judge."""
    asked = judge(samples=samples, primary=primary, arms=plan["arms"], seed=seed, settings=plan["judge"])
    return give(asked, "judge", image=image, secret=secret).outputs["verdicts"]
