from __future__ import annotations

import json
from pathlib import Path

import pytest

from dedpo.contract import config
from dedpo.contract.sections import LabelConfig
from dedpo.errors import UserError
from dedpo.kubeflow import overrides


def test_fields_come_from_the_command_line_a_file_and_kubeflow(tmp_path: Path) -> None:
    wanted = {"max_completion_tokens": 2000, "temperature": None, "chat_template_kwargs": {"enable_thinking": False}}
    given = [
        "label.request.max_completion_tokens=2000",
        "label.request.temperature=null",
        "label.request.chat_template_kwargs.enable_thinking=false",
    ]
    assert config.load(None, given).label.request == wanted
    (tmp_path / "params.yaml").write_text(f"label:\n  request: {json.dumps(wanted)}\n")
    assert config.load(tmp_path / "params.yaml").label.request == wanted
    _, rest = overrides.of_file(tmp_path / "params.yaml")
    settings, problems = overrides.resolve(overrides.read(json.dumps(rest)), {})
    assert (settings.label.request, problems) == (wanted, [])
    floats = json.dumps({"label": {"request": wanted | {"max_completion_tokens": 2000.0}}})
    settings, problems = overrides.resolve(overrides.read(floats), {})
    assert (settings.label.request, problems) == (wanted, [])
    assert isinstance(settings.label.request["max_completion_tokens"], int)
    settings, _ = overrides.resolve({"label.request.max_completion_tokens": 2000}, {})
    assert settings.label.request == {"max_completion_tokens": 2000}


@pytest.mark.parametrize(
    ("name", "value"),
    [("model", "x"), ("messages", []), ("stream", True), ("n", 2), ("extra_body", {}), ("api_key", "sk"), ("a b", 1),
     ("headers", {"authorization": "x"}), ("extra", {"nested": {"api_key": "sk-123"}}), ("x", float("nan"))],
)  # fmt: skip
def test_what_is_ours_or_secret_is_refused(name: str, value: object) -> None:
    with pytest.raises(UserError, match=r"label\.request") as caught:
        config.check({"label": {"request": {name: value}}}, "the settings")
    assert "sk-123" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["max_tokens", "min_tokens", "stop_token_ids", "max_completion_tokens", "guided_choice"]
)
def test_tokens_of_text_are_no_secrets(name: str) -> None:
    assert LabelConfig(request={name: 1}).request == {name: 1}
