"""What the page says of the trainings."""

from __future__ import annotations

from dedpo.contract.records.training import Training
from dedpo.report import training
from tests.records import record


def test_a_training_that_skipped_steps_is_named() -> None:
    policies = {("dedpo", 1): record(Training, skipped_steps=2, steps=60), ("sft", 0): record(Training, steps=60)}
    assert training.warnings(policies) == ["dedpo, seed 1: 2 of 60 training steps were not finite and were skipped"]
