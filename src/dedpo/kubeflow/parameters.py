"""What a run of the pipeline is asked for: its parameters, and the settings among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

# Setting → the pipeline's parameter in its place.
PARAMETERS: Final = {
    "train.base": "base",
    "label.model": "annotator",
    "label.base_url": "annotator_url",
    "judge.model": "judge",
    "arms": "arms",
    "primary": "primary",
}


@dataclass(frozen=True)
class Request:
    """The pipeline's parameters; pipelines/dedpo.py says what each means."""

    source: str
    revision: str
    prompts: str
    annotator: str
    annotator_url: str
    labels: str
    judge: str
    base: str
    arms: list[str]
    baselines: bool
    primary: str
    seed: int
    overrides: str
    secret: str
    image: str
    train_image: str
    label_image: str
    gpus: int
    gpu_pool: Mapping[str, Any]

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Request | None:
        """From a compiled pipeline's parameters by name; None if it is another pipeline, which lacks some."""
        names = [field.name for field in fields(cls)]
        if not parameters.keys() >= set(names):
            return None
        # A compiled pipeline writes its whole numbers as 1.0.
        found: dict[str, Any] = {n: int(v) if isinstance(v := parameters[n], float) else v for n in names}
        return cls(**found)

    @property
    def labelling(self) -> Literal["given", "endpoint", "server"]:
        """Where labels come from: they are there, an endpoint is asked, or each label task starts a server."""
        if self.labels:
            return "given"
        return "endpoint" if self.annotator_url else "server"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that have a parameter, by dotted key; None leaves the default and forbids an override."""
        return {setting: getattr(self, name) for setting, name in PARAMETERS.items()} | {
            "label.base_url": self.annotator_url or None,
            "judge.model": self.judge or None,
            "arms": self.arms if self.baselines else [self.primary],
            "seeds": [self.seed],
            "sample.prompts": None,
        }
