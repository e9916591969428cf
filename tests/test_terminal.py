"""Progress where there is no terminal: a line now and then, with what is left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dedpo import terminal as module
from dedpo.terminal import progress


def test_lines_count_units_and_say_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    with progress("labelling", 3) as advance:
        for _ in range(3):
            advance("ok")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["labelling: 1/3", "labelling: 2/3", "labelling: 3/3"]
    assert lines[-1].endswith("about 0 s left ok")


def test_a_quick_loop_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("labelling", 3) as advance:
        advance("")
    assert capsys.readouterr().err == ""


def test_a_resumed_run_counts_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    with progress("training", 10, done=8) as advance:
        advance("")
    assert capsys.readouterr().err.startswith("training: 9/10, about")


def test_a_bar_shows_a_name_with_its_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(module, "Console", lambda **_: Console(file=written, force_terminal=True, width=200))
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    with progress("judging with [x]", 1) as advance:
        advance("[loss] 1")
    assert "judging with [x]" in written.getvalue()
    assert "[loss] 1" in written.getvalue()
