"""A server of the task's own: the world's in vLLM's place, and commands that die, keep silent or will not stop."""

from __future__ import annotations

import os
import re
import sys
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from dedpo.contract.sections import LabelConfig
from dedpo.errors import UserError
from dedpo.label import server, stage
from dedpo.outputs.manifest import read_manifest
from tests.label.test_stage import N
from tests.label.test_stage import pairs as pairs

WORLD = [sys.executable, "-m", "dedpo", "world", "serve", "--port", "{port}"]
# Answers /health, ignores SIGTERM, and has a child that does so, too.
STUBBORN = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child == 0:
    while True: signal.pause()
open(sys.argv[2], "w").write(f"{os.getpid()} {child}")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_server_lives_as_long_as_the_task(capfd: pytest.CaptureFixture[str]) -> None:
    with server.serving("biased-vlm", command=WORLD) as url:
        assert url.endswith("/v1")
        with urllib.request.urlopen(f"{url}/models", timeout=120) as answer:
            assert b"biased-vlm" in answer.read()
        assert "127.0.0.1" in os.environ["NO_PROXY"]
        assert os.environ["OPENAI_BASE_URL"] == url
    assert os.environ.get("OPENAI_BASE_URL") != url
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/models", timeout=120)
    assert re.search(r"biased-vlm is ready after \d+ s", capfd.readouterr().err)


def test_it_stops_when_the_task_fails() -> None:
    with pytest.raises(ZeroDivisionError), server.serving("biased-vlm", command=WORLD) as url:
        raise ZeroDivisionError
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/models", timeout=120)


def test_one_that_dies_is_told_with_the_end_of_its_log() -> None:
    script = "print('loading\\nCUDA out of memory\\x1b[0m'); raise SystemExit(3)"
    with (
        pytest.raises(UserError, match=r"for m: ended with 3 before it was ready; its log ends: .*CUDA out of memory"),
        server.serving("m", command=[sys.executable, "-c", script]),
    ):
        raise AssertionError("it is not ready")


def test_one_that_never_answers_is_told_and_stopped(tmp_path: Path) -> None:
    script = f"import time; time.sleep(600); {str(tmp_path)!r}"
    with (
        pytest.raises(UserError, match="for m: not ready after 1 s; its log is empty") as caught,
        server.serving("m", command=[sys.executable, "-c", script], ready_seconds=1),
    ):
        raise AssertionError("it is not ready")
    assert "\n" not in str(caught.value)
    assert not [child for child in psutil.Process().children(recursive=True) if str(tmp_path) in str(child.cmdline())]


def test_what_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STUBBORN, "{port}", str(tmp_path / "pids")]
    with server.serving("m", command=command, stop_seconds=0.5):
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert all(_is_alive(pid) for pid in pids)
    deadline = time.monotonic() + 120
    while any(_is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_is_alive(pid) for pid in pids)


def test_a_command_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(UserError, match="/no/such/program cannot be started"),
        server.serving("m", command=["/no/such/program"]),
    ):
        raise AssertionError("it is not ready")


# What `python -m vllm.entrypoints.openai.api_server` finds: vLLM's flags, and the world's annotator behind them.
VLLM = """
import argparse, json, sys
from dedpo.world.serve import serve
parser = argparse.ArgumentParser()
for name in ("model", "served-model-name", "host", "max-model-len", "mm-processor-kwargs"):
    parser.add_argument(f"--{name}")
parser.add_argument("--limit-mm-per-prompt", type=json.loads)
for name in ("port", "tensor-parallel-size"):
    parser.add_argument(f"--{name}", type=int)
parser.add_argument("--enable-prefix-caching", action="store_true")
sys.exit(serve(parser.parse_args().port, []))
"""


def test_pairs_are_labelled_beside_the_server(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text(VLLM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    config = LabelConfig(model="biased-vlm")
    with server.serving(config.model):
        found = stage.run(config, pairs=pairs, out=tmp_path / "labels")
    assert found["answered"] == N
    assert read_manifest(tmp_path / "labels")["config"]["base_url"] is None, "the port is nobody's business"


def test_vllm_is_told_what_pairs_need() -> None:
    words = server.vllm("Qwen/Qwen2.5-VL-7B-Instruct", 8000, 2)
    flags = dict(pairwise(words))
    assert flags["-m"] == "vllm.entrypoints.openai.api_server"
    assert (flags["--model"], flags["--served-model-name"]) == ("Qwen/Qwen2.5-VL-7B-Instruct",) * 2
    assert (flags["--tensor-parallel-size"], flags["--port"], flags["--host"]) == ("2", "8000", "127.0.0.1")
    assert flags["--limit-mm-per-prompt"] == '{"image":2,"video":0}'
    assert "--enable-prefix-caching" in words
    assert "--mm-processor-kwargs" not in server.vllm("other/model", 8000, 0)
