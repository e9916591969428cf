"""A judge compares the primary arm's pictures with its rivals'."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def judge(
    samples: Input[Dataset],
    primary: str,
    arms: list[str],
    seed: int,
    settings: str,
    verdicts: Output[Dataset],
    metrics: Output[Metrics],
):
    """Have a judge compare the primary arm's pictures with its rivals', or note that no judge was named.

    Args:
        samples: Shards of the samples table.
        primary: The arm that is compared.
        arms: The arms that have samples.
        seed: Of the trainings.
        settings: The section 'judge' as JSON, without a model if there is no judge; the key is $GEMINI_API_KEY.
        verdicts: The verdicts table, what was counted, and the manifest; or the note.
        metrics: Requests, tokens and dollars.
    """
    from pathlib import Path

    from dedpo.contract.sections import JudgeConfig
    from dedpo.judge import comparisons, stage
    from dedpo.kubeflow import component

    with component.reported():
        config = component.section(JudgeConfig, settings)
        if config.model is None:
            stage.skip(Path(verdicts.path))
            return
        models, _ = comparisons.against(primary, config.rivals, arms, seed)
        kept = config.model_dump(mode="json", exclude=set(stage.CHANGEABLE))
        key = {"stage": "judge", "settings": kept, "models": models, "samples": samples.metadata["sha256"]}
        with component.durable(verdicts.path, key) as out:
            counts = component.finished(out, "summary.json") or stage.run(
                config, models=models, samples=Path(samples.path), out=out, log=component.answers("judge")
            )
        component.describe(verdicts, comparisons=counts["comparisons"], judge=config.model)
        component.log(metrics, counts)
