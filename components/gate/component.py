"""Whether the annotator is good enough to train on."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def gate(bias: Input[Artifact], labels: Input[Dataset], settings: str, page: Output[Markdown], facts: Output[Artifact]):
    """End the run before anything is trained if the annotator fails a check; the error names each one with its number.

    Args:
        bias: Where the annotator differs from people: bias.json.
        labels: The labels table and what was counted.
        settings: The section 'gate' as JSON.
        page: Each check with what was measured and its limit.
        facts: gate.json, the page and the manifest.
    """
    from pathlib import Path

    from dedpo.contract.sections import GateConfig
    from dedpo.decide import gate as ops
    from dedpo.kubeflow import component

    with component.reported():
        config = component.section(GateConfig, settings)
        ops.run(config, bias=Path(bias.path), labels=Path(labels.path), out=Path(facts.path))
        Path(page.path).write_bytes(Path(facts.path, "gate.md").read_bytes())
        component.describe(facts, passed=True)
