"""Ask an annotator about pairs, in both orders: in parts, at an endpoint or with a server in the pod."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def label(pairs: Input[Dataset], shards: list[str], settings: str, part: Output[Dataset]):
    """Ask an annotator at an endpoint for its preference on the pairs of some shards, in both orders.

    Args:
        pairs: Shards of the pairs table.
        shards: The shards' file names.
        settings: The section 'label' as JSON; the key comes from $OPENAI_API_KEY.
        part: The labels of these shards, what was counted, and the manifest.
    """
    from pathlib import Path

    from dedpo.label import stage
    from dedpo.ops import component
    from dedpo.sections import LabelConfig

    with component.reported():
        config = component.section(LabelConfig, settings)
        kept = config.model_dump(mode="json", exclude=set(stage.CHANGEABLE))
        key = {"stage": "label", "settings": kept, "pairs": pairs.metadata["sha256"], "shards": shards}
        with component.durable(part.path, key) as out:
            counts = component.finished(out, "summary.json")
            counts = counts or stage.run(
                config, pairs=Path(pairs.path), shards=shards, out=out, log=component.answers("label")
            )
        component.describe(part, rows=counts["pairs"], annotator=config.model, template=config.template)


@dsl.component(**RUNTIME)
def label_with_server(pairs: Input[Dataset], shards: list[str], settings: str, part: Output[Dataset]):
    """Start the annotator in this pod, and ask it for its preference on the pairs of some shards, in both orders.

    Args:
        pairs: Shards of the pairs table.
        shards: The shards' file names.
        settings: The section 'label' as JSON; its model is what is served.
        part: The labels of these shards, what was counted, and the manifest.
    """
    import os
    from pathlib import Path

    from dedpo.label import server, stage
    from dedpo.ops import component
    from dedpo.sections import LabelConfig

    with component.reported():
        config = component.section(LabelConfig, settings)
        kept = config.model_dump(mode="json", exclude=set(stage.CHANGEABLE))
        key = {"stage": "label", "settings": kept, "pairs": pairs.metadata["sha256"], "shards": shards}
        with component.durable(part.path, key) as out:
            counts = component.finished(out, "summary.json")
            if counts is None:
                with server.serving(config.model) as url:
                    # Not as a setting: the port is another at each try, and the answers so far are to be kept.
                    os.environ["OPENAI_BASE_URL"] = url
                    counts = stage.run(
                        config, pairs=Path(pairs.path), shards=shards, out=out, log=component.answers("label")
                    )
        component.describe(part, rows=counts["pairs"], annotator=config.model, template=config.template)


@dsl.component(**RUNTIME)
def merge_labels(
    parts: Input[list[Dataset]], pairs: Input[Dataset], settings: str, labels: Output[Dataset], metrics: Output[Metrics]
) -> str:
    """Put the parts together into one labels table that has every pair once.

    Args:
        parts: The labels of all shards.
        pairs: Shards of the pairs table.
        settings: The section 'label' as JSON.
        labels: The labels table, what was counted, and the manifest.
        metrics: The counts, the mean preference and the position bias.

    Returns:
        Output: The labels' URI.
    """
    from pathlib import Path

    from dedpo.label import stage
    from dedpo.ops import component
    from dedpo.sections import LabelConfig

    with component.reported():
        config = component.section(LabelConfig, settings)
        counts = stage.merge(
            config, parts=[Path(part.path) for part in parts], pairs=Path(pairs.path), out=Path(labels.path)
        )
        component.describe(labels, rows=counts["pairs"], annotator=config.model, template=config.template)
        component.log(metrics, counts)
        return labels.uri


@dsl.component(**RUNTIME)
def labels_given(labels: str) -> str:
    """Hand on the URI of labels that are there already.

    Args:
        labels: URI of a labels folder: labels.parquet with its manifest.

    Returns:
        Output: That URI.
    """
    print(f"labels: {labels}")
    return labels
