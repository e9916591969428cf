"""What is printed as a table keeps its brackets and its lines: commands are copied from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedpo.asking.endpoint_checks import Finding
from dedpo.cli import machine, settings
from dedpo.contract.config import load

NAME = "[x]/[bold]y[/bold]:dog:[/z]"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")


def test_the_doctor_s_commands_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    command = "pip install 'dedpo[train]' 'dedpo[label]' 'dedpo[judge]' 'dedpo[report]' 'dedpo[pipeline]'"
    machine.show([Finding("extra 'train'", "missing", command), Finding(NAME, "note", NAME)])
    out = capsys.readouterr().out
    assert command in out
    assert out.count(NAME) == 2
    assert "missing" in out


def test_settings_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    settings.show(load(None, [f"label.model='{NAME}'", "train.lora={modules: [to_q, to_k]}"]))
    out = capsys.readouterr().out
    assert NAME in out
    assert "['to_q', 'to_k']" in out


@pytest.mark.parametrize(
    ("text", "item", "expected"),
    [
        ("train:\n  lora: null # none\n  steps: 3 # few\n", "train.lora.rank=8", {"rank": 8}),
        ("train:\n  steps: 3 # few\n", "train.lora={rank: 8}", {"rank": 8}),
        ("train: {steps: 3} # few\n", "train.lora.rank=8", {"rank": 8}),
        ("train:\n  # few\n", "train.lora.rank=8", {"rank": 8}),
        ("# few\n", "train.lora.rank=8", {"rank": 8}),
    ],
)
def test_a_key_is_written_into_a_section_that_is_not_there_yet(
    text: str, item: str, expected: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    before = load(path)
    settings.write(path, [item])
    after = load(path)
    assert after.train.lora is not None
    assert after.train.lora.model_dump(exclude_unset=True) == expected
    assert after.train.steps == before.train.steps
    assert "# few" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("value", ["2026-11-01", "no", "010", "1e-7", "null", "[x]", "a: b", "é"])
def test_a_text_that_looks_like_something_else_survives_being_written(value: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("label: {model: x}\n", encoding="utf-8")
    settings.write(path, [f"label.model='{value}'"])
    assert load(path).label.model == value
