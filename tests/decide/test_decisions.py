"""`dedpo gate` and `dedpo promote` as they are typed: the files, the line, the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dedpo import cli
from tests.decide.test_gate import GOOD, inputs
from tests.decide.test_promotion import metrics


def dedpo(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["dedpo", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    inputs(tmp_path, GOOD)
    assert dedpo(monkeypatch, "gate", "--work", ".") == 0
    assert (tmp_path / "gate" / "gate.md").is_file()
    assert "vlm `x` is good enough to train on\nagreement with people 0.700" in capsys.readouterr().out
    assert dedpo(monkeypatch, "gate", "--work", ".", "--set", "gate.min_agreement=0.9") == 2
    assert not (tmp_path / "gate").exists()
    error = capsys.readouterr().err
    assert error.startswith("error: gate: vlm `x` is not good enough to train on: agreement with people 0.700")
    assert len(error.splitlines()) == 1


def test_promotion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "metrics.json").write_text(json.dumps(metrics()))
    assert dedpo(monkeypatch, "promote") == 0
    assert capsys.readouterr().out.startswith("dedpo_tuned: promoted; pickscore against reference")
    assert dedpo(monkeypatch, "promote", "--set", "promote.min_gain=1") == 0
    assert capsys.readouterr().out.startswith("dedpo_tuned: not promoted; ")
    assert not json.loads((tmp_path / "reports" / "promotion.json").read_text())["promoted"]
    assert dedpo(monkeypatch, "promote", "--require", "--set", "promote.min_gain=1") == 2
    assert capsys.readouterr().err.startswith("error: dedpo_tuned: not promoted; ")
    (tmp_path / "reports" / "metrics.json").unlink()
    assert dedpo(monkeypatch, "promote") == 2
