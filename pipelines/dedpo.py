"""The loop on Kubeflow: which stage follows which, what runs side by side, and what is told at the end.

`make compile` writes dedpo.yaml beside this file, its picture, and each component's README.md; all are committed.
"""

from pathlib import Path

from kfp import compiler, dsl

from components import IMAGE, LABEL_IMAGE, TRAIN_IMAGE
from components.doctor.component import doctor
from components.notify.component import finish, notify
from components.promote.component import promote
from components.report.component import report
from components.sample.component import sample
from components.score.component import score
from dedpo.contract.config import Config
from pipelines import parts, picture, readmes
from pipelines.graphs import arms_trained
from pipelines.resources import Pool, give

DEFAULTS = Config()
YAML = Path(__file__).with_suffix(".yaml")


@dsl.pipeline(name="dedpo")
def dedpo(
    source: str,
    revision: str = "",
    prompts: str = "prompts.txt",
    annotator: str = DEFAULTS.label.model,
    annotator_url: str = "",
    labels: str = "",
    judge: str = "",
    base: str = "stable-diffusion-v1-5/stable-diffusion-v1-5",
    arms: list[str] = list(DEFAULTS.arms),  # noqa: B006 (kfp takes it as a constant)
    baselines: bool = True,
    primary: str = DEFAULTS.primary,
    seed: int = 0,
    overrides: str = "{}",
    secret: str = "dedpo-keys",  # noqa: S107 (a Secret's name)
    image: str = IMAGE,
    train_image: str = TRAIN_IMAGE,
    label_image: str = LABEL_IMAGE,
    gpus: int = 1,
    gpu_pool: dict = {},  # noqa: B006
):
    """Label pairs with a vision-language model, correct it with the human part, train, sample, score, report, promote.

    Args:
        source: The pairs: a folder's URI such as s3://bucket/my-pairs (any layout that 'dedpo data import' knows),
            REPO@REVISION:PATH of a DVC repository, or world:200 for 200 embedded pairs.
        revision: Which state of a folder this is: results are reused until it changes. Any text, such as a date.
        prompts: The text file in the source, one prompt a line, that every policy draws.
        annotator: The annotator's name at its endpoint, or the hub id of what the labelling pods serve.
        annotator_url: The annotator's OpenAI-compatible endpoint, such as http://annotator:8000/v1; empty starts a
            vLLM server in each labelling pod, which takes a GPU.
        labels: URI of a finished labels folder, to label nothing; put changed labels under a new name. Empty for none.
        judge: The judge's name at Gemini's API, such as gemini-2.5-flash; empty for no judge.
        base: The base model and reference: a hub id, or a diffusers folder in the training image.
        arms: The arms to compare; each is a training of its own.
        baselines: Whether the other arms than the primary are trained; if not, the reference is the only rival.
        primary: The arm that the report's answer is about, named before the results are seen.
        seed: Which labelled subset and which training draws.
        overrides: Any other setting as one JSON text, as 'dedpo config' lists them, such as {"train.steps": 500}.
        secret: The Secret with OPENAI_API_KEY, GEMINI_API_KEY, HF_TOKEN, DEDPO_WEBHOOK_URL, DEDPO_KUBEFLOW_URL, and
            AWS_… keys of a source in another bucket; each may be left out.
        image: The image of the CPU stages (Dockerfile, target 'runtime'); with its digest, results follow the image.
        train_image: The image of train, sample and score (target 'train'; 'runtime' where there is no GPU).
        label_image: The image of the labelling pods that start a server (target 'label').
        gpus: GPUs of each training, all on one node; sampling, scoring and a labelling server take one. 0 for none.
        gpu_pool: Where the GPUs are, such as {"accelerator": "nvidia.com/gpu", "selector": {"pool": "a100"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}; empty for any NVIDIA node.
    """
    asked = dict(locals())
    last = give(notify(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER), "notify", image=image, secret=secret)
    # It only tells; told from a cache, nobody would hear it.
    last.set_caching_options(False)
    with dsl.ExitHandler(last, name="loop"):
        checked = doctor(**asked)
        # Endpoints and keys that answered yesterday say nothing of today.
        give(checked, "doctor", image=image, secret=secret).set_caching_options(False)
        plan = checked.outputs
        pool = Pool(plan["accelerator"], plan["one_gpu"], plan["node_selector"], plan["tolerations"])
        imported, ready = parts.data(source, prompts, seed, plan, image, secret)
        answers = parts.labels(labels, imported, plan, pool.accelerator, image, secret)
        found, numbers = parts.numbers(imported, ready, answers, plan, image)
        policies = arms_trained(
            pairs=imported["pairs"],
            ratings=ready["joined"],
            splits=ready["splits"],
            targets=numbers,
            arms=plan["arms"],
            seed=seed,
            max_pixels=plan["max_pixels"],
            settings=plan["train"],
            image=train_image,
            secret=secret,
            accelerator=pool.accelerator,
            gpus=plan["gpus"],
            node_selector=pool.node_selector,
            tolerations=pool.tolerations,
            cpus=plan["cpus"],
            memory=plan["memory"],
        ).set_display_name("train")
        records = policies.outputs["records"]
        pictures = sample(
            policies=policies.outputs["policies"], prompts=imported["texts"], base=base, settings=plan["sample"]
        )
        give(pictures, "sample", image=train_image, secret=secret, pool=pool)
        scores = score(samples=pictures.output, max_pixels=plan["max_pixels"], settings=plan["score"])
        give(scores, "score", image=train_image, secret=secret, pool=pool)
        page = report(
            samples=pictures.output,
            scores=scores.outputs["scores"],
            records=records,
            targets=numbers,
            labels=answers,
            imported=imported["imported"],
            bias=found,
            verdicts=parts.verdicts(pictures.output, primary, seed, plan, image, secret),
            primary=primary,
            seed=seed,
            settings=plan["report"],
        )
        give(page, "report", image=image)
        decided = promote(
            report=page.outputs["files"], records=records, primary=primary, seed=seed, settings=plan["promote"]
        )
        give(decided, "promote", image=image)
        ended = finish(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, primary=primary, promoted=decided.outputs["Output"])
        # Taken from the cache, it would leave no mark.
        give(ended, "finish", image=image).set_caching_options(False)


def compile_to(path: Path) -> None:
    """Write the pipeline's YAML; the same sources give the same bytes."""
    # The docstring's line breaks are its own, not the form's in which people read this.
    for parameter in dedpo.pipeline_spec.root.input_definitions.parameters.values():
        parameter.description = " ".join(parameter.description.split())
    compiler.Compiler().compile(dedpo, str(path))


if __name__ == "__main__":
    compile_to(YAML)
    picture.write(YAML)
    readmes.write()
