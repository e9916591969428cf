"""The embedded world's server for as long as a stage asks it, where a setting names 'world' as the endpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from dedpo.contract.sections import WORLD, AnnotatorConfig, JudgeConfig, LabelConfig, ScoreConfig
from dedpo.terminal import note

_VARIABLES: Final = {
    LabelConfig: "OPENAI_BASE_URL", ScoreConfig: "DEDPO_ORACLE_URL", JudgeConfig: "GEMINI_BASE_URL",
}  # fmt: skip
Asking = TypeVar("Asking", LabelConfig, ScoreConfig, JudgeConfig)


def is_world(config: LabelConfig | ScoreConfig | JudgeConfig) -> bool:
    """Whether a stage asks the embedded world."""
    if isinstance(config, LabelConfig):
        return any(one.base_url == WORLD and one.kind == "endpoint" for one in config.each)
    return (config.oracle_url if isinstance(config, ScoreConfig) else config.base_url) == WORLD


def addressed(config: Asking) -> Asking:
    """The settings with the address left to the environment: in them it would be another one at every run."""
    if not is_world(config):
        return config
    left: dict[str, object] = {"oracle_url" if isinstance(config, ScoreConfig) else "base_url": None}
    if isinstance(config, LabelConfig):
        left = _unnamed(config) | {"annotators": [one.model_copy(update=_unnamed(one)) for one in config.annotators]}
    return config.model_copy(update=left)


def _unnamed(annotator: AnnotatorConfig) -> dict[str, object]:
    return {"base_url": None if annotator.base_url == WORLD else annotator.base_url}


@contextmanager
def served(config: Asking) -> Iterator[Asking]:
    """Start the world's server if the settings name it, on a free port, and stop it in the end.

    Raises:
        UserError: it could not be started.
    """
    if not is_world(config):
        yield config
        return
    from dedpo.world.serve import beside

    variable = _VARIABLES[type(config)]
    if os.environ.get(variable):
        note(f"${variable} is not asked: the settings say '{WORLD}', the embedded one; null leaves it to the variable")
    with beside():
        yield addressed(config)
