"""Serving alone and for one command, in real processes and on a real terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from dedpo.errors import UserError
from dedpo.world.annotators import ANNOTATORS
from dedpo.world.serve import beside, listening, serve
from dedpo.world.server import app

SERVE = "import sys; from dedpo.world.serve import serve; raise SystemExit(serve(int(sys.argv[1]), sys.argv[2:]))"
# Reports that it is up, then counts its interrupts for half a second after the first and exits with 40 + their number.
COUNT_INTERRUPTS = """
import signal, sys, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print("up", flush=True)
while not seen: time.sleep(0.01)
time.sleep(0.5)
sys.exit(40 + len(seen))
"""


def start(*command: str, port: int = 0, **options: object) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", SERVE, str(port), *command]
    return subprocess.Popen(arguments, text=True, **options)  # type: ignore[call-overload, no-any-return]


@contextlib.contextmanager
def in_a_session(*command: str) -> Iterator[subprocess.Popen[str]]:
    """The server in a session of its own, hence without our terminal; whatever it leaves behind fails the test."""
    with start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        yield process
        process.communicate(timeout=120)
    left = [p for p in psutil.process_iter() if _session(p.pid) == process.pid]
    assert left == []


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_command_finds_the_server_in_its_environment_and_gives_the_exit_status(tmp_path: Path) -> None:
    script = (
        "import json, os, sys, urllib.request\n"
        "env = {k: os.environ[k] for k in os.environ if 'PROXY' in k or k.startswith(('OPENAI', 'GEMINI', 'DEDPO'))}\n"
        "models = json.load(urllib.request.urlopen(env['OPENAI_BASE_URL'] + '/models'))\n"
        "json.dump({'env': env, 'models': models}, open(sys.argv[1], 'w'))\n"
        "sys.exit(7)"
    )
    former = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert serve(0, [sys.executable, "-c", script, str(tmp_path / "found")]) == 7
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == former
    found = json.loads((tmp_path / "found").read_text())
    url = found["env"]["DEDPO_ORACLE_URL"]
    assert found["env"]["OPENAI_BASE_URL"] == f"{url}/v1"
    assert found["env"]["GEMINI_BASE_URL"] == url
    assert found["env"]["OPENAI_API_KEY"] == found["env"]["GEMINI_API_KEY"] == "EMPTY"
    assert "127.0.0.1" in found["env"]["NO_PROXY"].split(",")
    assert {m["id"] for m in found["models"]["data"]} == set(ANNOTATORS)
    assert is_free(int(url.rsplit(":", 1)[1]))


def test_a_command_ended_by_a_signal_counts_as_in_a_shell() -> None:
    assert serve(0, ["sh", "-c", "kill -9 $$"]) == 128 + 9


def test_a_port_can_be_chosen_and_used_again_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} on 127.0.0.1: .*; choose another with --port, or 0"):
            serve(port, ["true"])
    assert serve(port, ["true"]) == 0
    assert serve(port, ["true"]) == 0


@pytest.mark.parametrize("command", ["/no/such/program", "/"])
def test_a_command_that_cannot_start_is_named_and_the_server_is_gone(command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(UserError, match=rf"{command}: cannot be started"):
        serve(port, [command])
    assert is_free(port)


@pytest.mark.parametrize(("host", "is_reached"), [({}, False), ({"host": "0.0.0.0"}, True)])
def test_only_a_host_that_is_asked_for_is_reached_from_elsewhere(host: dict[str, str], is_reached: bool) -> None:
    with listening(app(), **host) as url, socket.socket() as elsewhere:
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{url}/health").status_code == 200
        assert (elsewhere.connect_ex(("127.0.0.2", int(url.rsplit(":", 1)[1]))) == 0) is is_reached


@pytest.mark.parametrize("host", ["192.0.2.1", "::1"])
def test_a_host_that_is_not_ours_is_one_line(host: str) -> None:
    with pytest.raises(UserError, match=rf"port 0 on {host}: [\w ]+; .*--host") as refused, listening(app(), host=host):
        pass
    assert str(refused.value).count(host) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_alone_it_prints_what_a_shell_needs_and_stops_when_told(number: int) -> None:
    with in_a_session() as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        exports = dict(re.findall(r"^export (\w+)=(.*)$", "".join(lines), re.M))
        assert httpx.get(f"{exports['DEDPO_ORACLE_URL']}/health").status_code == 200
        process.send_signal(number)
    assert process.returncode == 0
    assert is_free(int(exports["DEDPO_ORACLE_URL"].rsplit(":", 1)[1]))


def test_sigterm_reaches_the_command_and_nothing_stays() -> None:
    script = "trap 'echo told; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    with in_a_session("sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.stdout.readline() == "told\n"
    assert process.returncode == 9


def test_sigint_without_a_terminal_reaches_the_command_once() -> None:
    with in_a_session(sys.executable, "-c", COUNT_INTERRUPTS) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
    assert process.returncode == 41


def test_ctrl_c_on_a_terminal_reaches_the_command_once_and_it_is_waited_for() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", SERVE, "0", sys.executable, "-c", COUNT_INTERRUPTS])
    try:
        while b"up" not in os.read(terminal, 100):
            time.sleep(0.01)
        os.write(terminal, b"\x03")
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 41


def test_a_server_beside_a_stage_is_in_its_environment_and_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    monkeypatch.delenv("DEDPO_ORACLE_URL", raising=False)
    with beside():
        url = os.environ["DEDPO_ORACLE_URL"]
        assert os.environ["OPENAI_BASE_URL"] == f"{url}/v1"
        assert json.load(urllib.request.urlopen(f"{url}/v1/models"))["data"]
    assert os.environ["OPENAI_BASE_URL"] == "http://elsewhere/v1"
    assert "DEDPO_ORACLE_URL" not in os.environ
    assert wait_until(lambda: not answers(url))


def test_a_server_beside_a_stage_that_is_killed_ends_as_well() -> None:
    script = (
        "import os, time\nfrom dedpo.world.serve import beside\n"
        "with beside():\n    print(os.environ['DEDPO_ORACLE_URL'], flush=True)\n    time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as stage:
        assert stage.stdout is not None
        url = stage.stdout.readline().strip()
        assert answers(url)
        stage.kill()
        assert wait_until(lambda: not answers(url))


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/health", timeout=60).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 120
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()
