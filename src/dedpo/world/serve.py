"""Run the world's server on this machine, alone or for the life of one command (as ssh-agent does)."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import uvicorn

from dedpo.asking.endpoints import announced, unproxied
from dedpo.errors import UserError
from dedpo.world.server import app

if TYPE_CHECKING:
    from starlette.types import ASGIApp

HOST = "127.0.0.1"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104
SHUTDOWN_SECONDS = 5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(port: int, command: list[str], host: str = HOST) -> int:
    """Serve until told to stop, or while `command` runs with the server's addresses in its environment.

    Ctrl-C and SIGTERM reach the command, which is waited for; then the server stops. Call it from the main thread.

    Args:
        port: of `host`; 0: a free one.
        command: program and arguments; empty: print the exports for a shell and serve until Ctrl-C or SIGTERM.
        host: the address to listen at; 0.0.0.0: every address of this machine.

    Returns:
        the command's exit status (128 + n if signal n ended it); 0 without a command.

    Raises:
        UserError: the port is taken, the host is not ours, or the command cannot be started.
    """
    with listening(app(), port, host) as url:
        exports = _exports(url)
        return _run(command, exports) if command else _wait(url, exports)


@contextmanager
def listening(application: ASGIApp, port: int = 0, host: str = HOST) -> Iterator[str]:
    """Serve `application` from a thread; yield its URL on this machine, such as http://127.0.0.1:8765.

    Raises:
        UserError: the port is taken, or the host is not ours.
    """
    config = uvicorn.Config(
        application, access_log=False, log_level="warning", lifespan="off", timeout_graceful_shutdown=SHUTDOWN_SECONDS
    )
    with _bind(host, port) as listener:
        server = uvicorn.Server(config)
        # uvicorn leaves signals alone outside the main thread.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="world-server")
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield f"http://{HOST if host == EVERY_ADDRESS else host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def beside() -> Iterator[None]:
    """Serve from a process of its own, whose addresses stand in the environment meanwhile.

    It ends with this process, however that ends: the pipe to it is closed then.

    Raises:
        UserError: it could not be started.
    """
    # -P: a file of the user's folder is no module. A group of its own: a typed Ctrl-C is the stage's to answer.
    command = [sys.executable, "-P", "-m", __name__]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as server:  # noqa: S603
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            if not url:
                raise UserError("the embedded world's server could not be started; 'dedpo world serve' shows why")
            with announced(_exports(url)):
                yield
        finally:
            server.stdin.close()


def _until_the_pipe_closes() -> None:
    with listening(app()) as url, suppress(BrokenPipeError):
        print(url, flush=True)  # noqa: T201
        sys.stdin.read()


def _bind(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except (OSError, OverflowError) as error:
        # create_server itself names the address once more.
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        remedy = "choose another with --port, or 0 for a free one; --host takes an address of this machine"
        raise UserError(f"port {port} on {host}: {reason}; {remedy}") from None


def _exports(url: str) -> dict[str, str]:
    exports = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "EMPTY", "DEDPO_ORACLE_URL": url}
    return exports | {"GEMINI_BASE_URL": url, "GEMINI_API_KEY": "EMPTY"} | unproxied(HOST)


def _wait(url: str, exports: dict[str, str]) -> int:
    stop = threading.Event()
    with _handling(lambda _: stop.set()):
        lines = [f"# The world answers at {url}; Ctrl-C stops it. In another shell:"]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
        print("\n".join(lines), flush=True)  # noqa: T201
        stop.wait()
    return 0


def _run(command: list[str], exports: dict[str, str]) -> int:
    early: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int) -> None:
        if child is None:
            early.append(number)
        elif number != signal.SIGINT or not _is_typed():
            child.send_signal(number)

    with _handling(forward):
        sys.stdout.flush()
        try:
            child = subprocess.Popen(command, env=os.environ | exports)  # noqa: S603
        except OSError as error:
            raise UserError(f"{command[0]}: cannot be started ({error.strerror}); check the command") from None
        for number in early:
            child.send_signal(number)
        status = child.wait()
    return status if status >= 0 else 128 - status


def _is_typed() -> bool:
    """Whether an interrupt comes from our terminal's Ctrl-C, which has sent it to the command already."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


@contextmanager
def _handling(handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` with the number of each SIGINT and SIGTERM; the former handlers come back afterwards."""
    former = {number: signal.signal(number, lambda n, _: handle(n)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    _until_the_pipe_closes()
