"""`base_url: world`: a stage starts the embedded world's server and stops it, also when it is killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dedpo.cli import main
from dedpo.outputs.manifest import read_manifest
from tests.fixtures import write_tables

SERVER = "dedpo.world.serve"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    write_tables(folder, n=12, n_labelled=4, n_holdout=2)
    shutil.rmtree(folder / "labels")
    return folder


def label(work: Path, out: Path, **options: object) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "DEDPO"))}
    command = [sys.executable, "-m", "dedpo", "label", "--work", str(work)]
    sets = {"label.base_url": "world", "label.model": "biased-vlm"} | {
        k.replace("__", "."): v for k, v in options.items()
    }
    for name, value in sets.items():
        command += ["--set", f"{name}={value}"]
    return subprocess.Popen(
        command, cwd=out, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def servers(stage: int) -> list[psutil.Process]:
    return [p for p in psutil.Process(stage).children() if SERVER in p.cmdline()]


def test_a_stage_starts_the_world_and_says_nothing_of_its_address(work: Path, tmp_path: Path) -> None:
    done = label(work, tmp_path)
    told, error = done.communicate(timeout=300)
    assert done.returncode == 0, error
    assert "answered: 14" in told
    manifest = read_manifest(work / "labels")
    # As in every other run: the port is another one each time.
    assert manifest["config"]["base_url"] is None
    assert "127.0.0.1" not in json.dumps(manifest)


def test_the_server_ends_with_a_stage_that_is_killed(work: Path, tmp_path: Path) -> None:
    stage = label(work, tmp_path, label__template="pairwise-v1", label__concurrency=1, label__model="strong-vlm")
    end = time.monotonic() + 240
    while not (found := servers(stage.pid)) and time.monotonic() < end:
        time.sleep(0.02)
    stage.kill()
    stage.communicate()
    assert found
    assert not psutil.wait_procs(found, timeout=120)[1]


def test_with_an_endpoint_named_nothing_is_started(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def started() -> None:
        raise AssertionError("a server was started")

    monkeypatch.setattr("dedpo.world.serve.beside", started)
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    sets = {"base_url": "http://127.0.0.1:9/v1", "model": "clip-like", "max_retries": 0, "max_wait": 0}
    asked = [part for name, value in sets.items() for part in ("--set", f"label.{name}={value}")]
    monkeypatch.setattr(sys, "argv", ["dedpo", "label", "--work", str(work), *asked])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "http://127.0.0.1:9/v1: the annotator 'clip-like' cannot be reached" in capsys.readouterr().err
