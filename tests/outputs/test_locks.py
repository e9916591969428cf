"""One process at a time at each folder: two real ones, a dead one, and file systems without locks."""

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from dedpo.errors import UserError
from dedpo.outputs import locks
from dedpo.outputs.manifest import output_folder, read_manifest

HOLDER = """
import fcntl, os, sys
from pathlib import Path
from dedpo.outputs.manifest import output_folder
if sys.argv[2] != "locks":
    def refuse(*_):
        raise OSError(int(sys.argv[2]), "no locks here")
    fcntl.flock = refuse
with output_folder(Path(sys.argv[1]), stage="toy", config={}, inputs={}) as partial:
    (partial / "a.txt").write_text("first")
    print("working", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another(out, how="locks"):
    """A process that works at `out` until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(out), str(how)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "working\n"
        try:
            yield process
        finally:
            process.kill()


def make(out):
    with output_folder(out, stage="toy", config={}, inputs={}) as partial:
        assert not any(path.name == "a.txt" for path in partial.iterdir())
        (partial / "a.txt").write_text("second")


@pytest.fixture(params=["locks", errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, 524])
def how(request, monkeypatch):
    """File systems with and without locks."""
    if request.param != "locks":

        def refuse(*_):
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(fcntl, "flock", refuse)
    return request.param


def test_the_second_is_told_and_the_first_goes_on_unharmed(tmp_path, how):
    out = tmp_path / "out"
    with another(out, how) as first:
        since = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        told = rf"{re.escape(str(out))}: process {first.pid} on {re.escape(socket.gethostname())}\S* has been writing"
        for _ in range(2):
            with pytest.raises(UserError, match=rf"^{told} there since {since}.*; wait for it or stop it") as raised:
                make(out)
            assert len(str(raised.value).splitlines()) == 1
        assert (tmp_path / "out.partial" / "a.txt").read_text() == "first"
        first.communicate("\n", timeout=60)
        assert first.returncode == 0
    assert (out / "a.txt").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "no lock is left"
    make(out)


def test_a_dead_process_is_taken_over(tmp_path, how):
    out = tmp_path / "out"
    with another(out, how) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert any(".lock" in p.name or ".held" in p.name for p in tmp_path.iterdir())
    make(out)
    assert (out / "a.txt").read_text() == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_dead_process_of_another_machine_has_to_be_declared_so(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    held = locks.lock_file(tmp_path / "out").with_suffix(".held")
    held.write_text("12\nelsewhere\n")
    with pytest.raises(UserError, match=rf"process 12 on elsewhere .*if it is dead, delete {re.escape(str(held))}"):
        make(tmp_path / "out")
    held.unlink()
    make(tmp_path / "out")


def test_a_folder_has_one_lock_by_whatever_name(tmp_path, monkeypatch):
    (tmp_path / "out" / "in").mkdir(parents=True)
    (tmp_path / "link").symlink_to("out")
    monkeypatch.chdir(tmp_path / "out")
    names = (".", "in/..", "../out", tmp_path / "out", tmp_path / "link")
    assert {locks.lock_file(Path(name)) for name in names} == {tmp_path / ".out.dedpo.lock"}
    with locks.alone(Path()), pytest.raises(locks.InUseError), locks.alone(tmp_path / "out"):
        pass
    with locks.alone(Path("/"), file=tmp_path / "lock"):
        assert locks.lock_file(Path("/")).parent == Path("/")


def test_other_folders_and_later_runs_are_free(tmp_path):
    with another(tmp_path / "out"):
        make(tmp_path / "other")
        make(tmp_path / "deeper" / "out")


def test_threads_of_one_process_take_turns(tmp_path):
    inside, most, lock = [], [], threading.Lock()

    def work():
        with locks.alone(tmp_path / "out", patience=60):
            with lock:
                inside.append(1)
                most.append(len(inside))
            with lock:
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_lies_at_the_locks_place_is_left_alone(tmp_path, kind):
    place, target = locks.lock_file(tmp_path / "out"), tmp_path / "mine.txt"
    target.write_text("mine")
    if kind == "link":
        place.symlink_to(target)
    elif kind == "folder":
        place.mkdir()
    if kind == "file":
        place.write_text("")  # left by a process that was killed before it signed
        make(tmp_path / "out")
        assert not place.exists()
    else:
        with pytest.raises((UserError, OSError)):
            make(tmp_path / "out")
        assert place.is_symlink() or place.is_dir()
    assert target.read_text() == "mine"


def test_a_failed_run_leaves_no_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.alone(tmp_path / "out"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_output_says_nothing_of_its_lock(tmp_path):
    make(tmp_path / "out")
    assert list(read_manifest(tmp_path / "out")["outputs"]) == ["a.txt"]
