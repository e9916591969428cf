"""Work that outlives a pod: killed, evicted, failed, met by another, grown old; and no volume at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dedpo
import dedpo.judge.stage
import dedpo.label.server
import dedpo.label.stage
import dedpo.train.stage
from components.judge.component import judge
from components.label.component import label
from components.train.component import train
from dedpo.errors import UserError
from dedpo.kubeflow import component
from dedpo.kubeflow import volume as volumes

KEY = {"stage": "train", "seed": 0, "inputs": ["abc"]}


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEDPO_CACHE", str(tmp_path / "volume"))
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


def works(volume: Path) -> list[Path]:
    return sorted((volume / volumes.WORK).glob("*"))


# A stage that leaves a step a file, is killed once it has three, and says what it found.
KILLED = """
import os, signal, sys
from pathlib import Path
from dedpo.errors import UserError
from dedpo.kubeflow import component
with component.durable(sys.argv[1], {"stage": "train", "seed": 0}) as out:
    partial = out.with_name(out.name + ".partial")
    partial.mkdir(exist_ok=True)
    found = len(list(partial.iterdir()))
    for i in range(found, 6):
        if i == 3 and found == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        (partial / str(i)).write_text("")
    partial.replace(out)
    print(found)
"""


def test_a_killed_pods_work_is_taken_up_by_the_next(volume: Path, tmp_path: Path) -> None:
    def pod(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(tmp_path / name / "out")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert pod("first").returncode == -signal.SIGKILL
    assert len(works(volume)) == 1
    done = pod("second")
    assert done.stdout.strip() == "3", done.stderr
    assert len(list((tmp_path / "second" / "out").iterdir())) == 6
    assert len(works(volume)) == 1, "Kubeflow's upload of what was handed over may be interrupted, too"


# Holds the lock and the work until it is told to end, as a pod that is being evicted does.
EVICTED = """
import sys
from dedpo.errors import UserError
from dedpo.kubeflow import component
with component.durable(sys.argv[1], {"stage": "train", "seed": 0}) as out:
    out.with_name("half").write_text("")
    print("working", flush=True)
    sys.stdin.readline()
    raise SystemExit(143)
"""


def test_the_next_pod_waits_for_one_that_is_being_evicted(volume: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", EVICTED, str(tmp_path / "first" / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as pod:
        assert pod.stdin is not None
        assert pod.stdout is not None
        assert pod.stdout.readline() == "working\n"
        threading.Timer(0.5, pod.stdin.close).start()
        with component.durable(str(tmp_path / "second" / "out"), {"stage": "train", "seed": 0}) as out:
            assert out.parent.parent == volume / volumes.WORK
            assert out.with_name("half").exists()
            out.mkdir()
    assert pod.returncode == 143


def test_what_fails_stays_and_another_key_begins_anew(volume: Path, tmp_path: Path) -> None:
    made = []

    def fails() -> None:
        with component.durable(str(tmp_path / "out"), KEY) as out:
            out.mkdir()
            made.append(out)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not (tmp_path / "out").exists()
    with component.durable(str(tmp_path / "other"), KEY | {"seed": 1}) as other:
        assert not other.exists()
        other.mkdir()
    with component.durable(str(tmp_path / "out"), dict(reversed(KEY.items()))) as again:
        assert [again] == made, "the order of the key's parts does not matter"
        (again / "file").write_text("x")
    assert (tmp_path / "out" / "file").read_text() == "x"
    assert (tmp_path / "other").is_dir()


def test_half_an_artefact_of_a_killed_copy_is_replaced(volume: Path, tmp_path: Path) -> None:
    (tmp_path / ".out.arriving").mkdir()
    (tmp_path / ".out.arriving" / "torn").write_text("")
    with component.durable(str(tmp_path / "out"), KEY) as out:
        out.mkdir()
        (out / "whole").write_text("")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["whole"]
    assert not (tmp_path / ".out.arriving").exists()


# Removes the folder that it holds before it ends, as `prune` does.
REMOVING = """
import shutil, sys
from pathlib import Path
from dedpo.kubeflow import volume
with volume._owned(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    sys.stdin.readline()
    shutil.rmtree(sys.argv[1])
"""


def test_who_waits_for_a_folder_that_is_removed_gets_a_new_one(volume: Path, tmp_path: Path) -> None:
    with component.durable(str(tmp_path / "first"), KEY) as out:
        out.mkdir()
    (folder,) = works(volume)
    command = [sys.executable, "-c", REMOVING, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as pod:
        assert pod.stdin is not None
        assert pod.stdout is not None
        assert pod.stdout.readline() == "True\n"
        threading.Timer(0.5, pod.stdin.close).start()
        with component.durable(str(tmp_path / "second"), KEY) as out:
            assert out.parent == folder
            assert [p.name for p in folder.iterdir()] == [volumes.LOCK]
            with (folder / volumes.LOCK).open() as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            out.mkdir()
    assert pod.returncode == 0


def test_another_version_begins_anew(volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage refuses an unfinished training of another version: after an upgrade it would for ever."""
    for version in ("0.1.0", "0.2.0"):
        monkeypatch.setattr(dedpo, "__version__", version)
        with component.durable(str(tmp_path / version), KEY) as out:
            assert not out.exists()
            out.mkdir()
    assert len(works(volume)) == 2


def _artifact(path: Path) -> Any:
    return SimpleNamespace(path=str(path), metadata={"sha256": "abc"}, uri=str(path), log_metric=lambda *_: None)


class Stage:
    """In the place of a stage's run: leaves a finished output, with a working file as if killed at its very end."""

    def __init__(self) -> None:
        self.calls = 0

    def run(self, *_: Any, out: Path, **__: Any) -> dict[str, Any]:
        self.calls += 1
        out.mkdir()
        facts: dict[str, Any] = {"pairs": 3, "comparisons": 3, "annotators": []}
        for name in ("manifest.json", "metrics.json", "summary.json"):
            (out / name).write_text(json.dumps(facts))
        (out / "README.md").write_text("a card")
        (out / ".checkpoint-1.pt").write_text("many GiB")
        return facts


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()

    @contextmanager
    def serving(_: str) -> Iterator[str]:
        assert stage.calls == 0, "a server costs minutes on a GPU"
        yield "http://127.0.0.1:9/v1"

    for module in (dedpo.train.stage, dedpo.label.stage, dedpo.judge.stage):
        monkeypatch.setattr(module, "run", stage.run)
    monkeypatch.setattr(dedpo.label.server, "serving", serving)
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    return stage


def _train(out: Path, **settings: Any) -> None:
    given = {"pairs", "ratings", "splits", "targets"}
    (out / "record").parent.mkdir(parents=True)
    train.python_func(
        **{name: _artifact(out / name) for name in given},
        arm="dedpo", seed=0, max_pixels=100, settings=json.dumps(settings),
        **{name: _artifact(out / name) for name in ("policy", "record", "metrics", "card")},
    )  # fmt: skip


def _label(out: Path, labelling: str = "endpoint", **settings: Any) -> None:
    label.python_func(
        pairs=_artifact(out / "pairs"), ratings=_artifact(out / "ratings"), shards=["a"], labelling=labelling,
        settings=json.dumps(settings), part=_artifact(out / "policy"),
    )  # fmt: skip


def _label_with_server(out: Path, **settings: Any) -> None:
    _label(out, "server", **settings)


def _judge(out: Path, **settings: Any) -> None:
    judge.python_func(
        samples=_artifact(out / "samples"), primary="dedpo", arms=["dedpo", "dpo_human"], seed=0,
        settings=json.dumps(settings), verdicts=_artifact(out / "policy"), metrics=_artifact(out / "metrics"),
    )  # fmt: skip


RUNS = {
    _train: ({"micro_batch": 1, "gradient_checkpointing": True}, {"steps": 7}),
    _label: ({"concurrency": 1, "max_retries": 9, "timeout": 600.0, "max_failures": 0.5}, {"model": "other"}),
    _label_with_server: ({"concurrency": 1, "max_failures": 0.5}, {"model": "other"}),
    _judge: ({"concurrency": 1, "max_failures": 0.5}, {"model": "other"}),
}


@pytest.mark.parametrize("run", RUNS)
def test_finished_work_is_taken_over(
    run: Callable[..., None], stage: Stage, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(volumes, "_hand_over", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "copying")
    run(tmp_path / "uploading")
    run(tmp_path / "again")
    assert stage.calls == 1
    for name in ("uploading", "again"):
        assert json.loads((tmp_path / name / "policy" / "summary.json").read_text())["pairs"] == 3
        assert not (tmp_path / name / "policy" / ".checkpoint-1.pt").exists(), "a working file is no result"


@pytest.mark.parametrize("run", [_train, _label, _judge])
def test_a_setting_that_changes_no_result_pays_for_nothing_again(
    run: Callable[..., None], stage: Stage, volume: Path, tmp_path: Path
) -> None:
    changeable, other = RUNS[run]
    run(tmp_path / "first")
    run(tmp_path / "remedy", **changeable)
    assert (stage.calls, len(works(volume))) == (1, 1)
    run(tmp_path / "other", **other)
    assert (stage.calls, len(works(volume))) == (2, 2)


def test_a_training_from_another_base_under_the_same_path_begins_anew(
    stage: Stage, volume: Path, tmp_path: Path
) -> None:
    for name in ("base", "vae"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    given = {"base": str(tmp_path / "base"), "vae": str(tmp_path / "vae")}
    _train(tmp_path / "first", **given)
    for calls, name in enumerate(given, 2):
        (tmp_path / name / "config.json").write_text("of a new image")
        _train(tmp_path / f"new {name}", **given)
        assert (stage.calls, len(works(volume))) == (calls, calls)


def test_two_pods_with_the_same_inputs_do_not_meet(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(volumes, "PATIENCE", 0.0)
    with component.durable(str(tmp_path / "one"), KEY) as first:
        first.mkdir()
        with component.durable(str(tmp_path / "two"), KEY) as second:
            assert second == tmp_path / "two"
            second.mkdir()
    assert "another task works there" in capsys.readouterr().err
    assert (tmp_path / "one").is_dir()
    assert (tmp_path / "two").is_dir()


@pytest.mark.parametrize("value", [None, "/proc/nowhere/at/all"])
def test_without_a_volume_it_works_in_place_and_says_so(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DEDPO_CACHE", raising=False)
    if value:
        monkeypatch.setenv("DEDPO_CACHE", value)
    with component.durable(str(tmp_path / "out"), KEY) as out:
        assert out == tmp_path / "out"
    told = capsys.readouterr().err
    assert told.startswith("warning: $DEDPO_CACHE")
    assert len(told.splitlines()) == 1
    folder = component.cache_folder()
    assert folder.is_dir()
    assert not str(folder).startswith("/proc")


def test_runs_share_an_evidently_workspace_on_the_volume(volume: Path) -> None:
    assert component.workspace() == volume / "evidently"


def test_the_volume_is_the_cache(volume: Path) -> None:
    assert component.cache_folder() == volume
    assert volume.is_dir()


def test_old_work_is_pruned_and_fresh_or_used_work_is_not(volume: Path) -> None:
    old, fresh, used, locked = (volume / volumes.WORK / (digit * 32) for digit in "abcd")
    mine = volume / volumes.WORK / "my thesis"
    for folder, days in {old: 9, fresh: 1, used: 9, locked: 9, mine: 900}.items():
        (folder / "out.partial").mkdir(parents=True)
        (folder / "out.partial" / "file").write_text("")
        then = time.time() - days * 86_400
        for path in (folder / "out.partial" / "file", folder / "out.partial", folder):
            os.utime(path, (then, then))
    (used / "out.partial" / "file").write_text("just now")
    with (locked / volumes.LOCK).open("w") as file:
        os.utime(locked, (0, 0))
        fcntl.flock(file, fcntl.LOCK_EX)
        assert component.prune() == [old.name]
    assert works(volume) == [fresh, used, locked, mine], "$DEDPO_CACHE may hold what no run has made"


def test_a_strangers_folder_is_no_artefacts_place(volume: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("three years")
    with (
        pytest.raises(UserError, match="files lie there that no run of dedpo made"),
        component.durable(str(tmp_path / "out"), KEY) as out,
    ):
        out.mkdir()
    assert (tmp_path / "out" / "thesis.txt").read_text() == "three years"


def test_a_pruning_that_is_killed_leaves_no_half_an_output(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with component.durable(str(tmp_path / "first"), KEY) as out:
        out.mkdir()
        for name in ("manifest.json", "metrics.json", "weights"):
            (out / name).write_text("{}")

    def killed(folder: Path) -> None:
        (folder / "out" / "weights").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            component.prune(days=0)
    with component.durable(str(tmp_path / "second"), KEY) as out:
        assert component.finished(out, "metrics.json") is None
        out.mkdir()
    assert len(works(volume)) == 2
    component.prune()
    assert len(works(volume)) == 1, "what it left goes with the next"


def test_a_runs_end_is_marked_for_a_week(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volumes.mark("5e4f/../0c9e", {"promoted": False})
    assert volumes.marked("5e4f/../0c9e") == (True, {"promoted": False})
    assert volumes.marked("5e4f") == (True, None)
    (path,) = (volume / volumes.RUNS).iterdir()
    component.prune()
    assert path.exists()
    os.utime(path, (time.time() - 8 * 86_400,) * 2)
    component.prune()
    assert volumes.marked("5e4f/../0c9e") == (True, None)
    path.write_text("{")
    assert volumes.marked("5e4f/../0c9e") == (False, None), "unreadable is not the same as never there"


def test_a_volume_that_takes_no_file_fails_the_mark_and_no_volume_does_not(
    volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (volume / volumes.RUNS).write_text("in the way")
    with pytest.raises(UserError, match="cannot be written .*the run's results are whole"):
        volumes.mark("5e4f", {})
    monkeypatch.delenv("DEDPO_CACHE")
    volumes.mark("5e4f", {})
    assert volumes.marked("5e4f") == (False, None)


def test_pruning_without_a_volume_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEDPO_CACHE", raising=False)
    assert component.prune() == []
