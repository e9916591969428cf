from __future__ import annotations

import errno
import fcntl
import itertools
import json
import subprocess
import sys
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from dedpo.asking.answers import SYNC_EVERY, Log, adopt, finished_answers, log_name
from dedpo.errors import UserError
from dedpo.label.answers import WITHDRAWN, Answer, Store

GOOD = Answer("p1", "01", 0.1 + 0.2, 0.9, 1, None)
FAILED = Answer("p1", "10", None, None, 5, "HTTP 500: oh\nno")
BETTER = Answer("p1", "10", 0.5, None, 2, None)


def opened(folder: Path) -> Store:
    return Store(Log(folder, "who"))


def first(folder: Path) -> Path:
    return folder / "who-0.jsonl"


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A log with a good answer and a failure."""
    with opened(tmp_path) as store:
        store.add(GOOD)
        store.add(FAILED)
    return tmp_path


def test_answers_come_back_to_the_last_bit(both: Path) -> None:
    with opened(both) as store:
        assert store.answers == {("p1", "01"): GOOD, ("p1", "10"): FAILED}
        assert store.is_answered("p1", "01")
        assert not store.is_answered("p1", "10")
        assert not store.is_answered("p2", "01")
        assert (store.good, store.asked) == (1, 0)


def test_a_failure_gives_way_and_a_good_answer_never_does(both: Path) -> None:
    other = Answer("p1", "01", 0.9, 0.9, 1, None)
    with opened(both) as store:
        for answer in (BETTER, other, FAILED):
            store.add(answer)
    with opened(both) as store:
        assert store.answers == {("p1", "01"): GOOD, ("p1", "10"): BETTER}


def test_a_disk_that_takes_half_a_line_costs_that_line_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(FileIO):
        room = 20

        def write(self, data: Any) -> int:
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = super().write(bytes(data)[: self.room])
            self.room = 0
            return written

    with opened(tmp_path) as store:
        store.add(GOOD)
        with Full(first(tmp_path), "ab") as full, monkeypatch.context() as patch:
            patch.setattr(store._log, "_file", full)
            with pytest.raises(OSError, match="No space left"):
                store.add(BETTER)
        store.add(BETTER)
        store.add(Answer("p2", "01", 0.5, None, 1, None))
    with opened(tmp_path) as store:
        assert store.answers.keys() == {("p1", "01"), ("p1", "10"), ("p2", "01")}


@pytest.mark.parametrize("order", itertools.permutations(range(4)))
def test_what_was_taken_back_stays_so_and_what_was_asked_again_is_kept(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Several runs share a log, each with a file, and no file is older than another."""
    blind = Answer("p1", "10", 0.5, None, 1, None)
    taken_back = Answer("p1", "10", None, None, 1, f"{WITHDRAWN}: in 30 of 30 pairs")
    with opened(tmp_path) as store:
        store.add(blind)
        assert store.round("p1", "10") == 0
        store.add(taken_back)
        assert store.round("p1", "10") == 1
    failed, seen = Answer("p1", "10", None, None, 1, "HTTP 500", 1), Answer("p1", "10", 0.9, None, 1, None, 1)
    first(tmp_path).unlink()
    lines = [blind, taken_back, failed, seen]
    for n, i in enumerate(order):
        (tmp_path / f"who-{n}.jsonl").write_text(json.dumps(asdict(lines[i])) + "\n")
    with opened(tmp_path) as store:
        assert store.answers == {("p1", "10"): seen}
        assert store.round("p1", "10") == 1


def test_nothing_is_made_where_nothing_is_asked(tmp_path: Path) -> None:
    with Store(Log(tmp_path / "log", "who")) as store:
        assert store.answers == {}
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_after_a_torn_last_line_writing_goes_on_and_nothing_is_cut_off(both: Path, cut: int) -> None:
    before = first(both).read_bytes()[:-cut]
    first(both).write_bytes(before)
    with opened(both) as store:
        # A line that lacks its newline alone is whole.
        assert len(store.answers) == (2 if cut == 1 else 1)
        store.add(BETTER)
    with opened(both) as store:
        assert store.answers == {("p1", "01"): GOOD, ("p1", "10"): BETTER}
    assert first(both).read_bytes().startswith(before)


def test_lines_that_a_crash_turned_to_rubbish_are_skipped(both: Path) -> None:
    rubbish = [
        b"\0\0\0", b"[1]", b"\xff", b"7", b"[" * 9000, b'{"pair_id": "x"}',
        json.dumps(asdict(GOOD) | {"pair_id": ["x"]}).encode(),
        json.dumps(asdict(GOOD) | {"pair_id": "x", "p": float("nan")}).encode(),
        json.dumps(asdict(GOOD) | {"pair_id": "x", "p": 2}).encode(),
        json.dumps(asdict(GOOD) | {"pair_id": "x", "p": "0.5"}).encode(),
        json.dumps(asdict(GOOD) | {"pair_id": "x", "p": None}).encode(),
    ]  # fmt: skip
    first(both).write_bytes(b"\n".join(rubbish) + b"\n" + first(both).read_bytes())
    with opened(both) as store:
        assert sorted(store.answers) == [("p1", "01"), ("p1", "10")]


def test_what_another_version_noted_beside_an_answer_is_no_hindrance(tmp_path: Path) -> None:
    first(tmp_path).write_text(json.dumps({"seconds": 3.5} | asdict(GOOD)) + "\n")
    with opened(tmp_path) as store:
        assert store.answers == {("p1", "01"): GOOD}


@pytest.mark.parametrize("content", [b"not a log\n", b'{"id": 1}\n{"id": 2}\n', b'"pair_id","p"\n"a","0.5"\n'])
def test_a_file_in_another_format_is_not_taken_for_an_empty_one(tmp_path: Path, content: bytes) -> None:
    first(tmp_path).write_bytes(content)
    with pytest.raises(UserError, match=r"who-0.jsonl: not one of its \d lines can be read.*move it elsewhere"):
        opened(tmp_path)
    assert first(tmp_path).read_bytes() == content


def test_a_log_that_was_torn_at_its_first_line_is_an_empty_one(tmp_path: Path) -> None:
    first(tmp_path).write_bytes(b'{"pair_id": "p1", "ord')
    with opened(tmp_path) as store:
        assert store.answers == {}
        store.add(GOOD)
    with opened(tmp_path) as store:
        assert store.answers == {("p1", "01"): GOOD}


def test_only_the_asked_for_pairs_are_held(both: Path) -> None:
    assert Store(Log(both, "who"), ["p2"]).answers == {}


def test_an_answer_is_in_the_file_before_the_next_is_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for i in range(SYNC_EVERY + 1):
            store.add(Answer(str(i), "01", 0.5, None, 1, None))
            assert first(tmp_path).read_bytes().count(b"\n") == i + 1


def test_two_runs_at_once_lose_nothing(both: Path) -> None:
    script = (
        "import sys, pathlib; from dedpo.label.answers import Answer, Store; from dedpo.asking.answers import Log\n"
        "with Store(Log(pathlib.Path(sys.argv[1]), 'who')) as s: s.add(Answer('p2', '01', 0.5, None, 1, None))"
    )
    with opened(both) as store:
        store.add(BETTER)
        subprocess.run([sys.executable, "-c", script, str(both)], check=True)
        store.add(Answer("p3", "01", 0.5, None, 1, None))
    assert [p.name for p in sorted(both.iterdir())] == ["who-0.jsonl", "who-1.jsonl"]
    with opened(both) as store:
        assert sorted(store.answers) == [("p1", "01"), ("p1", "10"), ("p2", "01"), ("p3", "01")]


def test_without_locks_every_run_has_a_file_of_its_own(both: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    before = first(both).read_bytes()
    with opened(both) as one, opened(both) as other:
        one.add(BETTER)
        other.add(Answer("p2", "01", 0.5, None, 1, None))
    assert first(both).read_bytes() == before
    with opened(both) as store:
        assert sorted(store.answers) == [("p1", "01"), ("p1", "10"), ("p2", "01")]


def test_answers_in_a_finished_output_join_the_log_once(both: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    out.mkdir()
    with opened(both) as store:
        store.write(out, sorted(store.answers))
    (left,) = finished_answers(out)
    assert left.name == "who.jsonl"
    with Store(Log(log, "who")) as store:
        store.add(GOOD)
    for _ in range(2):
        adopt(out, log)
        assert first(log).read_bytes().count(b"\n") == 2
    with opened(log) as store:
        assert store.answers == {("p1", "01"): GOOD, ("p1", "10"): FAILED}


def test_a_log_that_may_not_be_read_is_named(both: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Store, "_read", refused)
    with pytest.raises(UserError, match=r"who-0.jsonl: cannot be read \(permission denied\)"):
        opened(both)


def test_names_are_readable_and_differ_with_what_is_asked() -> None:
    name = log_name("Qwen/Qwen2.5-VL pairwise", {"a": 1})
    assert name.startswith("Qwen-Qwen2.5-VL-pairwise-")
    assert name == log_name("Qwen/Qwen2.5-VL pairwise", {"a": 1}) != log_name("Qwen/Qwen2.5-VL pairwise", {"a": 2})
    for hostile in ("../../x", "a/*[!b]", "", "ü" * 300, "."):
        found = log_name(hostile, 0)
        assert Path(found).name == found
        assert len(found) < 120
        assert not set(found) & set("*[]?/")
