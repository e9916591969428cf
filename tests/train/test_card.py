"""The model card: valid front matter, what it states, for full fine-tuning and for adapters."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
import yaml

from dedpo.contract.sections import LoraConfig, TrainConfig
from dedpo.train.card import model_card

TARGETS = {
    "arm": "dedpo_tuned",
    "objective": "preference",
    "annotator": "org/vlm | v2",
    "n_labelled": 1250,
    "n": 5000,
    "set_aside": 3,
    "power": 0.62,
    "n_eff": 1712.4,
    "n_eff_interval": {"low": 1500.0, "high": 1900.0},
    "accuracy": {"value": 0.8, "low": 0.77, "high": 0.83, "n": 1200},
    "warnings": ["only 1250 human labels"],
}
METRICS = {"steps": 1000, "resolution": 512, "drift": 0.00123456, "implicit_accuracy": 0.64, "zeta": 1}


def card(
    inputs: dict[str, str] | None = None,
    targets: dict[str, Any] | None = None,
    bases: list[str] | None = None,
    **settings: Any,
) -> str:
    config = TrainConfig(**{"base": "org/model", "resolution": 512} | settings).model_dump() | {"seed": 7}
    return model_card(
        settings=config,
        targets=TARGETS | (targets or {}),
        metrics=METRICS,
        inputs=inputs or {"pairs": "ab" * 32},
        bases=bases or [str(config["base"])],
    )


def front_matter(text: str) -> dict[str, Any]:
    begin, matter, _ = text.split("---\n", 2)
    assert begin == ""
    found = yaml.safe_load(matter)
    assert isinstance(found, dict)
    return found


def test_the_front_matter_is_valid_and_names_no_licence() -> None:
    found = front_matter(card())
    assert found["base_model"] == "org/model"
    assert found["base_model_relation"] == "finetune"
    assert "license" not in found
    assert "base_model" not in front_matter(card(inputs={"base": "cd" * 32})), "a folder's name means nothing elsewhere"


def test_it_states_data_arm_power_worth_metrics_settings_and_inputs() -> None:
    text = card()
    assert "# dedpo_tuned, seed 7" in text
    assert "1250 human-labelled of 5000 preference pairs" in text
    assert "power λ = 0.62, worth 1712 effective human labels" in text
    assert "| effective human labels n_eff | 1712 (1500 to 1900) |" in text
    assert "80.0% (77.0% to 83.0%)" in text
    assert "org/vlm \\| v2" in text
    assert "| ‖θ − θ_ref‖ / ‖θ_ref‖ | 0.001235 |" in text
    assert "| zeta | 1 |" in text
    assert f"| `pairs` | `{'ab' * 32}` |" in text
    assert "- only 1250 human labels" in text
    assert "has no lower bound" in text
    assert "has no lower bound" not in card(guard=5.0)


def test_its_settings_can_be_read_back() -> None:
    block = re.search(r"```yaml\n(.*?)```", card(schedule_steps={500: 0.1}), re.DOTALL)
    assert block
    settings = yaml.safe_load(block[1])
    assert settings.pop("seed") == 7
    assert TrainConfig(**settings) == TrainConfig(base="org/model", resolution=512, schedule_steps={500: 0.1})


@pytest.mark.parametrize("lora", [None, LoraConfig()])
def test_the_example_is_python_and_fits_the_kind(lora: LoraConfig | None) -> None:
    text = card(lora=lora)
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block
    ast.parse(block[1])
    assert ("load_lora_weights" in block[1]) == (lora is not None)
    assert ("lora" in front_matter(text)["tags"]) == (lora is not None)


def test_a_stop_before_the_end_is_said() -> None:
    settings = TrainConfig().model_dump() | {"seed": 0}
    text = model_card(
        settings=settings,
        targets=TARGETS,
        metrics=METRICS,
        inputs={},
        bases=["org/model"],
        stopped="stopped after step 80: mean |h| was high",
    )
    assert "Stopped after step 80: mean |h| was high." in text
    assert "Trained to its last step." in card()


def test_an_imputing_arm_is_called_biased_and_what_is_unknown_is_said() -> None:
    nothing = {"low": None, "high": None}
    text = card(targets={"arm": "dpo_synthetic", "power": 0.0, "n_eff": None, "n_eff_interval": nothing})
    assert "the annotator's bias is in the policy" in text
    assert "| effective human labels n_eff | unknown |" in text
    assert "power λ =" not in text
