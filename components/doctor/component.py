"""What a run was asked to do, checked before anything is spent."""

from typing import NamedTuple

from kfp import dsl

from components import RUNTIME


@dsl.component(**RUNTIME)
def doctor(
    source: str,
    revision: str,
    prompts: str,
    annotator: str,
    annotator_url: str,
    labels: str,
    judge: str,
    base: str,
    arms: list[str],
    baselines: bool,
    primary: str,
    seed: int,
    overrides: str,
    secret: str,
    image: str,
    train_image: str,
    label_image: str,
    gpus: int,
    gpu_pool: dict,
) -> NamedTuple(
    "Plan",
    [
        ("origin", str),
        ("commit", str),
        ("arms", list[str]),
        ("max_pixels", int),
        ("labelling", str),
        ("label_image", str),
        ("label_gpus", str),
        ("label_cpus", str),
        ("label_memory", str),
        ("label_selector", dict),
        ("label_tolerations", list),
        ("gpus", str),
        ("one_gpu", str),
        ("cpus", str),
        ("memory", str),
        ("accelerator", str),
        ("node_selector", dict),
        ("tolerations", list),
        ("data", str),
        ("label", str),
        ("bias", str),
        ("gate", str),
        ("targets", str),
        ("train", str),
        ("sample", str),
        ("score", str),
        ("judge", str),
        ("report", str),
        ("promote", str),
    ],
):
    """Check settings, endpoints, keys, data revision and GPUs, and give each stage its own piece of the settings.

    Changing one stage's setting repeats no other stage but those that come after it.

    Args:
        source: A folder's URI, REPO@REVISION:PATH, or 'world' for the embedded pairs.
        revision: Which state of a folder this is.
        prompts: The prompts' file in the source.
        annotator: The annotator's name.
        annotator_url: The annotator's endpoint; empty for a server in the labelling pods.
        labels: URI of a labels folder that is there already; empty for none.
        judge: The judge's name at Gemini's API; empty for none.
        base: The base model: a hub id or a diffusers folder.
        arms: The arms to compare.
        baselines: Whether the other arms than the primary are trained.
        primary: The arm that the report's answer is about.
        seed: Which labelled subset and which training draws.
        overrides: Any other setting, as one JSON text.
        secret: The Secret's name.
        image: The image of the CPU tasks.
        train_image: The image of train, sample and score.
        label_image: The image of label tasks that start a server.
        gpus: GPUs of the training task.
        gpu_pool: Accelerator, node selector and tolerations of the GPU tasks.

    Returns:
        origin: How the source is to be had: 'folder', 'versioned' or 'world'.
        commit: The commit that the source's revision stands for; of a folder, the parameter 'revision'.
        arms: The arms to train: the primary alone if the baselines are off.
        max_pixels: Images with more pixels are refused.
        labelling: 'given', 'endpoint' or 'server'.
        label_image: The image of the label tasks.
        label_gpus: GPUs of a label task: 1 if it starts a server.
        label_cpus: Cores that a label task asks for.
        label_memory: Memory that a label task asks for.
        label_selector: Labels of the label tasks' nodes.
        label_tolerations: Taints that the label tasks tolerate.
        gpus: GPUs of a training task, as a text.
        one_gpu: GPUs of the other GPU tasks: 1, or 0 if the run has none.
        cpus: Cores of a training task.
        memory: Memory of a training task.
        accelerator: The GPUs' resource name.
        node_selector: Labels of the GPU nodes.
        tolerations: Taints that the GPU tasks tolerate.
        data: The section 'data' as JSON.
        label: The section 'label' as JSON.
        bias: The section 'bias' as JSON.
        gate: The section 'gate' as JSON.
        targets: The section 'targets' as JSON.
        train: The section 'train' as JSON.
        sample: The section 'sample' as JSON.
        score: The section 'score' as JSON.
        judge: The section 'judge' as JSON.
        report: The section 'report' as JSON.
        promote: The section 'promote' as JSON.
    """
    given = dict(locals())
    from dedpo.kubeflow import component, preflight
    from dedpo.kubeflow.parameters import Request

    with component.reported():
        plan = preflight.check(Request(**given))
        # The plan's fields and its stages stand in the outputs' order.
        return (*plan[1:], *plan.sections.values())
