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
) -> str:
    """Have a judge compare the primary arm's pictures with its rivals'.

    Args:
        samples: Shards of the samples table.
        primary: The arm that is compared.
        arms: The arms that have samples.
        seed: Of the trainings.
        settings: The section 'judge' as JSON; the key comes from $GEMINI_API_KEY.
        verdicts: The verdicts table, what was counted, and the manifest.
        metrics: Requests, tokens and dollars.

    Returns:
        Output: The verdicts' URI.
    """
    from pathlib import Path

    from dedpo.judge import comparisons, stage
    from dedpo.ops import component
    from dedpo.sections import JudgeConfig

    with component.reported():
        config = component.section(JudgeConfig, settings)
        models, _ = comparisons.against(primary, config.rivals, arms, seed)
        kept = config.model_dump(mode="json", exclude=set(stage.CHANGEABLE))
        key = {"stage": "judge", "settings": kept, "models": models, "samples": samples.metadata["sha256"]}
        with component.durable(verdicts.path, key) as out:
            counts = component.finished(out, "summary.json")
            counts = counts or stage.run(
                config, models=models, samples=Path(samples.path), out=out, log=component.answers("judge")
            )
        component.describe(verdicts, comparisons=counts["comparisons"], judge=config.model)
        component.log(metrics, counts)
        return verdicts.uri


@dsl.component(**RUNTIME)
def no_judge(verdicts: Output[Dataset]) -> str:
    """Note that no judge was named, where the report looks for verdicts.

    Args:
        verdicts: The note.

    Returns:
        Output: Its URI.
    """
    from pathlib import Path

    # Not empty: an object store keeps no empty folder for the report to find.
    Path(verdicts.path).mkdir()
    Path(verdicts.path, "README.md").write_text("No judge was named.\n")
    return verdicts.uri
