"""An annotator's own server for the life of one task: vLLM, started beside the stage that asks it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dedpo.asking.endpoints import announced, unproxied
from dedpo.errors import UserError, excerpt
from dedpo.terminal import note

HOST: Final = "127.0.0.1"
POLL_SECONDS: Final = 0.5
TELL_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
TAIL_LINES: Final = 4
TAIL_BYTES: Final = 20_000
# A pair is two pictures and a short question: 8,192 tokens hold both at MAX_PIXELS (28 × 28 pixels a token) with room.
MAX_LENGTH: Final = 8192
MAX_PIXELS: Final = 1_605_632  # 2,048 tokens a picture


def vllm(model: str, port: int, gpus: int) -> list[str]:
    """vLLM's OpenAI-compatible server for pairs of pictures, as docs.vllm.ai names its flags.

    Prefix caching serves the question, which is the same for every pair; video is switched off, so that no memory is
    set aside for it.
    """
    flags = {
        "--model": model,
        "--served-model-name": model,
        "--host": HOST,
        "--port": str(port),
        "--max-model-len": str(MAX_LENGTH),
        "--limit-mm-per-prompt": '{"image":2,"video":0}',
        "--tensor-parallel-size": str(max(1, gpus)),
    }
    if "qwen" in model.lower():  # other processors do not know this word
        flags["--mm-processor-kwargs"] = f'{{"max_pixels":{MAX_PIXELS}}}'
    # By module: its own command 'vllm' is not always on the PATH where the package is. The labelling image keeps vLLM's
    # Python apart from dedpo's and names it.
    program = [os.environ.get("DEDPO_VLLM_PYTHON", sys.executable), "-m", "vllm.entrypoints.openai.api_server"]
    return [*program, *(part for pair in flags.items() for part in pair), "--enable-prefix-caching"]


@contextmanager
def serving(
    model: str,
    *,
    command: Sequence[str] | None = None,
    ready_seconds: float = 1800,
    stop_seconds: float = STOP_SECONDS,
) -> Iterator[str]:
    """Start a server in a process group of its own, wait until GET /health answers, and stop it all afterwards.

    Args:
        model: served under this name: a folder or a hub id.
        command: in place of vLLM's; '{port}' and '{model}' in its words are replaced.
        ready_seconds: how long weights may take to arrive and load.
        stop_seconds: between SIGTERM and SIGKILL.

    Yields:
        the base URL, such as http://127.0.0.1:43210/v1; $OPENAI_BASE_URL holds it meanwhile. A stage that finds it
        there, and not in its settings, can be resumed: the port is another one every time.

    Raises:
        UserError: it cannot be started, ends, or does not answer in time; with the last lines of its log.
    """
    port = _free_port()
    if command:
        words = [word.replace("{port}", str(port)).replace("{model}", model) for word in command]
    else:
        words = vllm(model, port, _gpus())
    with tempfile.TemporaryDirectory(prefix="dedpo-server-") as folder:
        log = Path(folder, "log")
        process = _start(words, log)
        try:
            _wait(process, f"http://{HOST}:{port}/health", model, log, ready_seconds)
            base_url = f"http://{HOST}:{port}/v1"
            with announced({"OPENAI_BASE_URL": base_url, **unproxied(HOST)}):
                yield base_url
        finally:
            _stop(process, stop_seconds)


def _gpus() -> int:
    """GPUs that this process may use, by the driver's own tool: importing torch here would take seconds and memory."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([name for name in visible.split(",") if name.strip()])
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S607
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        number: int = listener.getsockname()[1]
    return number


def _start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    note(f"starting {' '.join(words)}")
    try:
        with log.open("wb") as file:
            # A group of its own: vLLM's workers are processes, too, and end with it.
            return subprocess.Popen(  # noqa: S603
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
    except OSError as error:
        raise UserError(f"annotator's server: {words[0]} cannot be started ({error.strerror})") from None


def _wait(process: subprocess.Popen[bytes], url: str, model: str, log: Path, seconds: float) -> None:
    begun = told = time.monotonic()
    while not _is_healthy(url):
        now = time.monotonic()
        if (status := process.poll()) is not None:
            how = f"ended with {status}" if status >= 0 else f"was ended by signal {-status}"
            raise UserError(f"annotator's server for {model}: {how} before it was ready; {_tail(log)}")
        if now - begun > seconds:
            raise UserError(f"annotator's server for {model}: not ready after {seconds:.0f} s; {_tail(log)}")
        if now - told >= TELL_SECONDS:
            told = now
            note(f"waiting for {model}: {now - begun:.0f} s; {_tail(log, 1)}")
        time.sleep(POLL_SECONDS)
    note(f"{model} is ready after {time.monotonic() - begun:.0f} s")


def _is_healthy(url: str) -> bool:
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The end of the log on one line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    last = [line for line in text.splitlines() if line.strip()][-lines:]
    return f"its log ends: {excerpt(' | '.join(last), 500)}" if last else "its log is empty"


def _stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    """SIGTERM to the whole group, SIGKILL to what is left of it."""
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
