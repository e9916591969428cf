"""The settings of each stage, a frozen section each; config.py puts them together and reads them."""

from dedpo.contract.sections.answer import JudgeConfig, PromoteConfig, ReportConfig, SampleConfig, ScoreConfig
from dedpo.contract.sections.base import ARMS, WORLD, Arm, Metric, Section
from dedpo.contract.sections.labels import (
    AnnotatorConfig,
    BiasConfig,
    DataConfig,
    GateConfig,
    LabelConfig,
    PlanConfig,
    SelectConfig,
    TargetsConfig,
    WorldConfig,
)
from dedpo.contract.sections.training import LoraConfig, TrainConfig

__all__ = [
    "ARMS", "WORLD", "AnnotatorConfig", "Arm", "BiasConfig", "DataConfig", "GateConfig", "JudgeConfig", "LabelConfig",
    "LoraConfig", "Metric", "PlanConfig", "PromoteConfig", "ReportConfig", "SampleConfig", "ScoreConfig", "Section",
    "SelectConfig", "TargetsConfig", "TrainConfig", "WorldConfig",
]  # fmt: skip
