"""`dedpo dashboard`: Evidently's own interface on 127.0.0.1, in a child process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from dedpo.errors import UserError

HOST: Final = "127.0.0.1"
STARTING_SECONDS: Final = 90.0
STOPPING_SECONDS: Final = 10.0


def serve(workspace: Path, port: int, ready: Callable[[str], None]) -> None:
    """Serve the workspace until Ctrl-C or SIGTERM. Call it from the main thread.

    Args:
        port: of 127.0.0.1; 0: a free one.
        ready: called once with the address, as soon as it answers.

    Raises:
        UserError: no workspace is there, the port is taken, or Evidently's service ends by itself.
    """
    if not workspace.is_dir():
        raise UserError(f"{workspace}: no Evidently workspace; run 'dedpo bias' first, or name one with --workspace")
    port = _free(port)
    stopping = threading.Event()
    before = {s: signal.signal(s, _setter(stopping)) for s in (signal.SIGINT, signal.SIGTERM)}
    child = _start(workspace, port)
    try:
        _watch(child, port, ready, stopping)
    finally:
        _stop(child)
        for number, handler in before.items():
            signal.signal(number, handler)


def _setter(stopping: threading.Event) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: stopping.set()


def _free(port: int) -> int:
    """The port, or a free one for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(f"port {port} of {HOST}: {error.strerror}; name another with --port") from None
        return int(probe.getsockname()[1])


def _start(workspace: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "evidently.cli", "ui", "--host", HOST, "--port", str(port)]
    # Its own session: a Ctrl-C of the terminal reaches the child through us, once.
    return subprocess.Popen(  # noqa: S603
        [*command, "--workspace", str(workspace)],
        env=os.environ | {"DO_NOT_TRACK": "1", "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _watch(child: subprocess.Popen[bytes], port: int, ready: Callable[[str], None], stopping: threading.Event) -> None:
    last: list[bytes] = []
    assert child.stderr is not None
    # Read it all: a child whose pipe is full stands still.
    stderr = child.stderr
    threading.Thread(target=lambda: last.extend(line for line in stderr if line.strip()), daemon=True).start()
    deadline, is_ready = time.monotonic() + STARTING_SECONDS, False
    while not stopping.wait(0.2):
        if child.poll() is not None:
            why = last[-1].decode(errors="replace").strip() if last else f"exit status {child.returncode}"
            raise UserError(f"Evidently's service ended: {why}; is the package whole? pip install 'dedpo[dashboard]'")
        if not is_ready and _answers(port):
            is_ready = True
            ready(f"http://{HOST}:{port}")
        if not is_ready and time.monotonic() > deadline:
            raise UserError(f"Evidently's service did not answer within {STARTING_SECONDS:.0f} s; try again")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child.stderr is not None:
        child.stderr.close()
