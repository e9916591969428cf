"""metrics.jsonl, progress and trackers of a run that is interrupted and goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dedpo.contract.sections import TrainConfig
from dedpo.errors import UserError
from dedpo.train import record, trackers

CONFIG = TrainConfig(steps=5, batch_size=8)


class _Trackers:
    def __init__(self, *arguments: object) -> None:
        self.rows = arguments[-1]
        self.points: list[tuple[int, dict[str, float]]] = []
        self.is_open = True

    def log(self, step: int, values: dict[str, float]) -> None:
        self.points.append((step, values))

    def close(self) -> None:
        self.is_open = False


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[_Trackers]:
    made: list[_Trackers] = []
    monkeypatch.setattr(trackers, "Trackers", lambda *arguments: made.append(_Trackers(*arguments)) or made[-1])
    return made


def _row(step: int) -> dict[str, float]:
    return {"step": step, "loss": 0.7 - step / 10, "mean_abs_logit": 1.0, "learning_rate": 1e-7}


def _steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (path / record.METRICS).read_text().splitlines()]


def test_a_resumed_run_has_each_step_once_and_knows_the_former_ones(tmp_path: Path, opened: list[_Trackers]) -> None:
    with record.recording(tmp_path, CONFIG, "dedpo-0", {}, 0) as first:
        for step in range(4):
            first.step(_row(step))
        assert _steps(tmp_path) == [0, 1, 2, 3], "written at once, not at the end"
    with record.recording(tmp_path, CONFIG, "dedpo-0", {}, 2) as second:
        assert [row["step"] for row in second.rows] == [0, 1]
        for step in range(2, 5):
            second.step(_row(step))
    assert _steps(tmp_path) == [0, 1, 2, 3, 4]
    assert [row["step"] for row in second.rows] == [0, 1, 2, 3, 4]
    assert [row["step"] for row in opened[1].rows[:2]] == [0, 1]


def test_lost_lines_are_not_taken_for_steps(tmp_path: Path, opened: list[_Trackers]) -> None:
    """A disk that lied about what it had: with 2 lines of 3 steps, the best step could be any."""
    for text in (None, "", "".join(f"{json.dumps(_row(step))}\n" for step in range(2))):
        if text is not None:
            (tmp_path / record.METRICS).write_text(text)
        with (
            pytest.raises(UserError, match=r"metrics.jsonl: \d lines, and the last checkpoint knows of 3 steps"),
            record.recording(tmp_path, CONFIG, "dedpo-0", {}, 3),
        ):
            pass
        assert (tmp_path / record.METRICS).exists() == (text is not None)


def test_what_differs_between_repetitions_goes_to_the_trackers_alone(tmp_path: Path, opened: list[_Trackers]) -> None:
    with record.recording(tmp_path, CONFIG, "dedpo-0", {}, 0) as account:
        account.step(_row(0), {"peak_rss_mib": 100.0})
    (step, values), *_ = opened[0].points
    assert step == 0
    assert values["peak_rss_mib"] == 100
    assert values["pairs_per_second"] > 0
    assert json.loads((tmp_path / record.METRICS).read_text()) == _row(0)


def test_trackers_are_closed_when_training_fails(tmp_path: Path, opened: list[_Trackers]) -> None:
    with pytest.raises(RuntimeError), record.recording(tmp_path, CONFIG, "dedpo-0", {}, 0):
        raise RuntimeError("diverged")
    assert not opened[0].is_open


def test_the_speed_is_that_of_the_recent_steps(
    tmp_path: Path, opened: list[_Trackers], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 100.0, *(100.0 + 2 * i for i in range(1, 30))])
    monkeypatch.setattr(record.time, "perf_counter", lambda: next(now))
    with record.recording(tmp_path, CONFIG, "dedpo-0", {}, 0) as account:
        for step in range(25):
            account.step(_row(step))
    speeds = [values["pairs_per_second"] for _, values in opened[0].points]
    assert speeds[0] == pytest.approx(8 / 100)
    assert speeds[-1] == pytest.approx(4)


def test_progress_shows_loss_rate_and_speed(
    tmp_path: Path, opened: list[_Trackers], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dedpo.terminal.LINE_SECONDS", 0.0)
    with record.recording(tmp_path, CONFIG, "dedpo-0", {}, 0) as account:
        account.step(_row(0))
    line = capsys.readouterr().err
    assert "1/5, about" in line
    assert "loss 0.700" in line
    assert "lr 1.0e-07" in line
    assert "pairs/s" in line
