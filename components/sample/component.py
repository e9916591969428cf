"""The same prompts and noise through every policy."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def sample(policies: Input[list[Model]], prompts: Input[Artifact], base: str, settings: str, samples: Output[Dataset]):
    """Draw the prompts with the reference and every policy, from the same initial noise.

    Args:
        policies: What the arms' trainings have made.
        prompts: A text file, one prompt a line.
        base: The base model, which is the reference.
        settings: The section 'sample' as JSON; its prompts give way to the artefact.
        samples: Shards of the samples table, with the pictures, and the manifest.
    """
    from pathlib import Path

    from dedpo.contract.sections import SampleConfig
    from dedpo.kubeflow import component
    from dedpo.sample import stage

    with component.reported():
        config = component.section(SampleConfig, settings).model_copy(update={"prompts": prompts.path})
        models = {"reference": base} | component.policies(policies)
        counts = stage.run(config, models=models, out=Path(samples.path))
        component.describe(samples, rows=counts["pictures"], models=counts["models"])
