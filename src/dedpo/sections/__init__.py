"""The settings of each stage, a frozen section each; config.py puts them together and reads them."""

from dedpo.sections.answer import JudgeConfig, PromoteConfig, ReportConfig, SampleConfig, ScoreConfig
from dedpo.sections.base import ARMS, Arm, Metric, Section
from dedpo.sections.labels import (
    BiasConfig,
    DataConfig,
    GateConfig,
    LabelConfig,
    PlanConfig,
    SelectConfig,
    TargetsConfig,
    WorldConfig,
)
from dedpo.sections.training import LoraConfig, TrainConfig

__all__ = [
    "ARMS", "Arm", "BiasConfig", "DataConfig", "GateConfig", "JudgeConfig", "LabelConfig", "LoraConfig", "Metric",
    "PlanConfig", "PromoteConfig", "ReportConfig", "SampleConfig", "ScoreConfig", "Section", "SelectConfig",
    "TargetsConfig", "TrainConfig", "WorldConfig",
]  # fmt: skip
