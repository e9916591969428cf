"""Labels: an annotator is asked in parts, at an endpoint or with a server in the pod, or they are there already."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def label(
    pairs: Input[Dataset],
    ratings: Input[Dataset],
    shards: list[str],
    labelling: str,
    settings: str,
    part: Output[Dataset],
):
    """Have every annotator say which image it prefers of the pairs of some shards.

    Args:
        pairs: Shards of the pairs table.
        ratings: The ratings that came with the pairs, for annotators of the kind 'flip'.
        shards: The shards' file names.
        labelling: 'endpoint': it is asked where it is; 'server': it is started in this pod; 'given': nobody is asked.
        settings: The section 'label' as JSON; an endpoint's key comes from $OPENAI_API_KEY.
        part: The labels of these shards, what was counted, and the manifest; a note if nobody was asked.
    """
    from contextlib import nullcontext
    from pathlib import Path

    from dedpo.contract.sections import LabelConfig
    from dedpo.kubeflow import component
    from dedpo.label import server, stage

    with component.reported():
        if labelling == "given":
            component.note(part.path, "The labels were given: nobody was asked.")
            return
        config = component.section(LabelConfig, settings)
        key = {"stage": "label", "settings": stage.decisive(config), "pairs": pairs.metadata["sha256"]}
        key |= {"shards": shards, "ratings": ratings.metadata["sha256"] if config.needs_ratings else None}
        with component.durable(part.path, key) as out:
            if (counts := component.finished(out, "summary.json")) is None:
                with server.serving(*config.served) if labelling == "server" else nullcontext():
                    counts = stage.run(
                        config,
                        pairs=Path(pairs.path),
                        ratings=Path(ratings.path),
                        shards=shards,
                        out=out,
                        log=component.answers("label"),
                    )
        component.describe(part, rows=counts["pairs"], annotators=[one["annotator"] for one in counts["annotators"]])


@dsl.component(**RUNTIME)
def merge_labels(
    parts: Input[list[Dataset]],
    given: Input[Dataset],
    pairs: Input[Dataset],
    labelling: str,
    settings: str,
    labels: Output[Dataset],
    metrics: Output[Metrics],
):
    """Put the parts together into one labels table that has every pair once, or take over labels that are there.

    Args:
        parts: The labels of all shards.
        given: A finished labels folder, if the labels are there already.
        pairs: Shards of the pairs table.
        labelling: 'given' takes `given`; else the parts are merged.
        settings: The section 'label' as JSON.
        labels: The labels table, what was counted, and the manifest.
        metrics: The counts, the mean preference and the position bias.
    """
    from pathlib import Path

    from dedpo.contract.sections import LabelConfig
    from dedpo.kubeflow import component
    from dedpo.label import stage

    with component.reported():
        if labelling == "given":
            counts = component.take(given, labels, "labels", ("labels.parquet", "manifest.json"), "summary.json")
        else:
            config = component.section(LabelConfig, settings)
            paths = [Path(part.path) for part in parts]
            counts = stage.merge(config, parts=paths, pairs=Path(pairs.path), out=Path(labels.path))
            component.describe(
                labels, rows=counts["pairs"], annotators=[one["annotator"] for one in counts["annotators"]]
            )
        component.log(metrics, stage.described(counts))


@dsl.component(**RUNTIME)
def labels_given(labels: str, note: Output[Dataset]) -> str:
    """Say where finished labels lie; if there are none, where a note says so.

    Args:
        labels: URI of a labels folder: labels.parquet with its manifest; empty for none.
        note: What is found where there are no labels.

    Returns:
        Output: That URI, or the note's.
    """
    from dedpo.kubeflow import component

    component.note(note.path, "No labels were given.")
    return labels or note.uri
