"""Starting ranks, what becomes of their failures, and signals."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

import pytest
import torch

from dedpo.errors import UserError
from dedpo.train import launch


def _report(fail: dict[str, str]) -> dict[str, Any]:
    """What one of the ranks does; `fail` says how which rank ends."""
    rank = os.environ["RANK"]
    how = fail.get(rank)
    if how == "user":
        raise UserError("train.batch_size 7: no")
    if how == "crash":
        raise ZeroDivisionError("of a rank")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "terminated":
        sys.exit(launch.TERMINATED)
    return {"rank": rank, "ranks": os.environ["WORLD_SIZE"]}


def test_the_first_ranks_answer_comes_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert launch.start(2, _report, {}) == {"rank": "0", "ranks": "2"}
    assert "RANK" not in os.environ
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("user", UserError, "^train.batch_size 7: no$"),
        ("crash", RuntimeError, "^rank 1 of the training failed: ZeroDivisionError: of a rank$"),
        ("killed", UserError, "rank 1 was killed .SIGKILL., most likely for want of memory; lower train.micro_batch"),
        ("terminated", SystemExit, "^143$"),
    ],
)
def test_a_ranks_failure_becomes_ours(how: str, kind: type[BaseException], message: str) -> None:
    with pytest.raises(kind, match=message):
        launch.start(2, _report, {"1": how})


def test_the_number_of_ranks_is_asked_for_or_one_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch.ranks("cpu", None) == 1
    assert launch.ranks("cpu", 3) == 3
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert launch.ranks("auto", None) == 1
    assert launch.ranks("auto", 2) == 2
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launch.ranks("auto", None) == 4
    assert launch.ranks("cuda", 2) == 2
    with pytest.raises(UserError, match="train.processes 5: this machine has 4 GPU"):
        launch.ranks("auto", 5)


@pytest.mark.parametrize("variables", [{}, {"RANK": "0"}, {"RANK": "1", "WORLD_SIZE": "2"}])
def test_torchruns_environment_makes_a_rank(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launch.is_rank() == (len(variables) == 2)
    assert launch.ranks("cpu", 3) == (2 if launch.is_rank() else 3)


def test_sigterm_is_noted_and_ends_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with launch.sigterm() as has_come:
        assert not has_come()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert has_come()
    assert signal.getsignal(signal.SIGTERM) is before


def test_beside_the_main_thread_signals_are_left_alone() -> None:
    found = []

    def work() -> None:
        with launch.sigterm() as has_come:
            found.append(has_come())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
