"""What every section of the settings is, and the words that several of them share."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

Arm = Literal[
    "sft", "dpo_human", "dpo_all_human", "dpo_synthetic", "dpo_synthetic_split", "cdpo", "rdpo", "dedpo", "dedpo_tuned",
    "dedpo_ipo", "self_training", "self_training_split",
]  # fmt: skip
ARMS: tuple[Arm, ...] = get_args(Arm)
Metric = Literal["human_oracle", "adherence", "clipscore", "pickscore", "aesthetic", "hpsv2.0", "hpsv2.1"]
# An endpoint's name for the embedded world's server, which the stage that asks it starts.
WORLD: Final = "world"


class Section(BaseModel):
    """A frozen group of settings that refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """True is 1 to Python, and `labelled: true` would be every pair."""
        values = value if isinstance(value, list) else [value]
        if any(isinstance(v, bool) for v in values) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(f"{str(value).lower()} is no value of it; write a number or a text")
        return value
