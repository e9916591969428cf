from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dedpo.errors import UserError
from dedpo.label.store import Answer, Store
from dedpo.store import SYNC_EVERY

GOOD = Answer("p1", "01", 0.1 + 0.2, 0.9, 1, None)
FAILED = Answer("p1", "10", None, None, 5, "HTTP 500: oh\nno")


def test_answers_come_back_to_the_last_bit(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.add(GOOD)
        store.add(FAILED)
    with Store(tmp_path / "s") as store:
        assert store.answers == {("p1", "01"): GOOD, ("p1", "10"): FAILED}
        assert store.is_answered("p1", "01")
        assert not store.is_answered("p1", "10")
        assert not store.is_answered("p2", "01")


def test_the_last_answer_to_a_question_counts(tmp_path: Path) -> None:
    better = Answer("p1", "10", 0.5, None, 2, None)
    with Store(tmp_path / "s") as store:
        store.add(FAILED)
        store.add(better)
    with Store(tmp_path / "s") as store:
        assert store.answers == {("p1", "10"): better}


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_torn_last_line_is_forgotten_and_writing_goes_on(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "s"
    with Store(path) as store:
        store.add(GOOD)
        store.add(FAILED)
    path.write_bytes(path.read_bytes()[:-cut])
    with Store(path) as store:
        assert list(store.answers) == [("p1", "01")]
        store.add(FAILED)
    with Store(path) as store:
        assert len(store.answers) == 2
    assert [json.loads(line)["order"] for line in path.read_text().splitlines()] == ["01", "10"]


def test_lines_that_a_crash_turned_to_rubbish_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Store(path) as store:
        store.add(GOOD)
    path.write_bytes(b"\0\0\0\n[1]\n\xff\n" + path.read_bytes())
    with Store(path) as store:
        assert list(store.answers) == [("p1", "01")]


def test_an_answer_is_in_the_file_before_the_next_is_asked_for(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        for i in range(SYNC_EVERY + 1):
            store.add(Answer(str(i), "01", 0.5, None, 1, None))
            assert (tmp_path / "s").read_bytes().count(b"\n") == i + 1


def test_two_runs_cannot_write_one_store(tmp_path: Path) -> None:
    script = "import sys, pathlib; from dedpo.label.store import Store; Store(pathlib.Path(sys.argv[1])).close()"
    command = [sys.executable, "-c", script, str(tmp_path / "s")]
    with Store(tmp_path / "s"):
        with pytest.raises(UserError, match="another run is writing there"), Store(tmp_path / "s"):
            pass
        assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
