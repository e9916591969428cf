"""`dedpo dashboard`: Evidently's own interface, in a child process; on 127.0.0.1 unless told otherwise."""

from __future__ import annotations

import logging
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

from dedpo.bias import workspace_files
from dedpo.errors import UserError, excerpt

HOST: Final = "127.0.0.1"
EVERY_ADDRESS: Final = "0.0.0.0"  # noqa: S104
STARTING_SECONDS: Final = 90.0
STOPPING_SECONDS: Final = 10.0


def serve(workspace: Path, port: int, ready: Callable[[str], None], host: str = HOST) -> None:
    """Serve the workspace until Ctrl-C or SIGTERM. Call it from the main thread.

    Args:
        port: of `host`; 0: a free one.
        ready: called once with the address, as soon as it answers.
        host: the address to listen at; 0.0.0.0: every address of this machine. Evidently asks for no password.

    Raises:
        UserError: no workspace is there, the port is taken, the host is not ours, or Evidently's service ends.
    """
    if not workspace.is_dir():
        raise UserError(f"{workspace}: no Evidently workspace; run 'dedpo bias' first, or name one with --workspace")
    port = _free(host, port)
    _put_aside_torn(workspace)
    stopping = threading.Event()
    before = {s: signal.signal(s, _setter(stopping)) for s in (signal.SIGINT, signal.SIGTERM)}
    child = _start(workspace, host, port)
    try:
        _watch(child, (HOST if host == EVERY_ADDRESS else host, port), ready, stopping, workspace)
    finally:
        _stop(child)
        for number, handler in before.items():
            signal.signal(number, handler)


def _put_aside_torn(workspace: Path) -> None:
    try:
        with workspace_files.whole(workspace) as torn:
            for path in torn:
                logging.getLogger(__name__).warning("%s: this was torn and could not be read; it is left out", path)
    except OSError as error:
        # A workspace that may only be read: Evidently shows it as it is.
        logging.getLogger(__name__).info("%s: not looked through (%s)", workspace, error)


def _setter(stopping: threading.Event) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: stopping.set()


def _free(host: str, port: int) -> int:
    """The port, or a free one for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = f"port {port} of {host}: {error.strerror}; name another with --port, or another --host"
            raise UserError(message) from None
        return int(probe.getsockname()[1])


def _start(workspace: Path, host: str, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "evidently.cli", "ui", "--host", host, "--port", str(port)]
    # Its own session: a Ctrl-C of the terminal reaches the child through us, once.
    return subprocess.Popen(  # noqa: S603
        [*command, "--workspace", str(workspace)],
        env=os.environ | {"DO_NOT_TRACK": "1", "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _watch(
    child: subprocess.Popen[bytes],
    address: tuple[str, int],
    ready: Callable[[str], None],
    stopping: threading.Event,
    workspace: Path,
) -> None:
    last: list[bytes] = []
    assert child.stderr is not None
    # Read it all: a child whose pipe is full stands still.
    stderr = child.stderr
    threading.Thread(target=lambda: last.extend(line for line in stderr if line.strip()), daemon=True).start()
    deadline, is_ready = time.monotonic() + STARTING_SECONDS, False
    while not stopping.wait(0.2):
        if child.poll() is not None:
            why = last[-1].decode(errors="replace").strip() if last else f"exit status {child.returncode}"
            raise UserError(
                f"Evidently's service ended: {excerpt(why, 300)}; if it names a file of {workspace}, move that away, "
                "else pip install 'dedpo[dashboard]' again"
            )
        if not is_ready and _answers(address):
            is_ready = True
            ready(f"http://{address[0]}:{address[1]}")
        if not is_ready and time.monotonic() > deadline:
            raise UserError(f"Evidently's service did not answer within {STARTING_SECONDS:.0f} s; try again")


def _answers(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


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
