"""The settings of a run, checked before anything is spent and handed to each stage in its own piece."""

from typing import NamedTuple

from kfp import dsl

from components import RUNTIME


@dsl.component(**RUNTIME)
def settings(
    base: str,
    annotator_url: str,
    annotator: str,
    oracle_url: str,
    judge: str,
    arms: list[str],
    primary: str,
    seed: int,
    overrides: dict,
) -> NamedTuple(
    "Settings",
    [
        ("max_pixels", int),
        ("data", str),
        ("label", str),
        ("bias", str),
        ("targets", str),
        ("train", str),
        ("sample", str),
        ("score", str),
        ("judge", str),
        ("report", str),
    ],
):
    """Check all settings, and give each stage its own piece: changing one stage's setting repeats no other stage.

    Args:
        base: The base model: a hub id or a diffusers folder.
        annotator_url: The annotator's OpenAI-compatible endpoint.
        annotator: The annotator's name at that endpoint.
        oracle_url: An endpoint that answers POST /v1/score; empty for none.
        judge: The judge's name at Gemini's API; empty for none.
        arms: The arms to compare.
        primary: The arm that the report's answer is about.
        seed: Which labelled subset and which training draws.
        overrides: Any other setting, as 'dedpo config' lists them, such as {"train.steps": 500}.
    """
    from dedpo.ops import component

    with component.reported():
        parameters = {
            "train.base": base,
            "label.base_url": annotator_url,
            "label.model": annotator,
            "score.oracle_url": oracle_url,
            "judge.model": judge,
            "arms": arms,
            "primary": primary,
            "seeds": [seed],
        }
        run = component.resolve(overrides, parameters)
        print(run.model_dump_json(indent=2))
        before = (run.data, run.label, run.bias, run.targets, run.train, run.sample, run.score)
        asked = run.judge.model_dump_json() if judge else ""
        return (
            run.data.max_pixels,
            *(stage.model_dump_json() for stage in before),
            asked,
            run.report.model_dump_json(),
        )
