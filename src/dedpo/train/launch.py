"""Start this machine's ranks, unless torchrun has started them, and end them decently.

One path for the command, DVC and Kubeflow: `stage.run` asks here how many ranks there are to be.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar, cast

from dedpo import redact
from dedpo.errors import UserError
from dedpo.outputs.manifest import write_text

Job = TypeVar("Job")
Found = TypeVar("Found")
# What the shell says of a process that SIGTERM ended, and so do we after an orderly stop.
TERMINATED = 128 + signal.SIGTERM
# A rank finishes its step and writes its checkpoint before it ends; whoever is still there after that is stuck.
GRACE_SECONDS = 120
MEMORY_REMEDY = (
    "lower train.micro_batch, set train.gradient_checkpointing=true, or train adapters with "
    "train.lora={rank: 16, alpha: 16}"
)
_TAKEN_OVER = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def is_rank() -> bool:
    """Whether torchrun, or `start`, has made this process one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def ranks(device: str, processes: int | None) -> int:
    """How many ranks there are under torchrun, or are to be started: `train.processes`, else one a GPU, else one.

    Raises:
        UserError: more ranks than GPUs.
    """
    if is_rank():
        return int(os.environ["WORLD_SIZE"])
    if device == "cpu":
        return processes or 1
    import torch

    gpus = torch.cuda.device_count()
    if gpus and processes and processes > gpus:
        raise UserError(f"train.processes {processes}: this machine has {gpus} GPU(s); a rank needs one to itself")
    return processes or gpus or 1


def start(count: int, work: Callable[[Job], Found], job: Job) -> Found:
    """Run `work(job)` in `count` new processes that know each other; return what rank 0 returned.

    Args:
        work: a function of a module, not a local one; it joins the process group itself.
        job: anything that can be pickled.

    Raises:
        UserError: a rank raised it, or was killed for want of memory.
        SystemExit: SIGTERM came and the ranks have stopped in order; its code is 143.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # They log every failure at length, each with a level of its own; what the user needs to know is raised below.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("torch.distributed.elastic", "torch.multiprocessing")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with _handlers_kept(), tempfile.TemporaryDirectory(prefix="dedpo-ranks-") as notes:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            shutdown_timeout=GRACE_SECONDS,
        )
        try:
            results = elastic_launch(config, _rank)(work, job, notes, logging.getLogger().level)
        except SignalException as stop:
            if stop.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + stop.sigval) from None
        except ChildFailedError as error:
            _explain(error, Path(notes))
    return cast(Found, results[0])


def _rank(work: Callable[[Job], Found], job: Job, notes: str, level: int) -> Found:
    """What each new process does; a failure's message goes into `notes`, for the parent to raise."""
    logging.basicConfig(level=level, format="%(name)s: %(message)s")
    rank = os.environ["RANK"]
    try:
        with redact.streams():
            return work(job)
    except UserError as error:
        write_text(Path(notes) / f"user-{rank}", str(error))
        sys.exit(2)
    except Exception:
        write_text(Path(notes) / f"crash-{rank}", traceback.format_exc())
        sys.exit(1)


def _explain(error: Any, notes: Path) -> NoReturn:
    for note in sorted(notes.glob("user-*")):
        raise UserError(note.read_text(encoding="utf-8")) from None
    codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
    for rank, code in codes.items():
        if code == -signal.SIGKILL:
            raise UserError(
                f"training: rank {rank} was killed (SIGKILL), most likely for want of memory; {MEMORY_REMEDY}"
            ) from None
    # The rank that failed by itself comes first: the others then fail because they cannot reach it.
    for note in sorted(notes.glob("crash-*"), key=lambda note: note.stat().st_mtime_ns):
        rank, told = note.name.removeprefix("crash-"), note.read_text(encoding="utf-8")
        logging.getLogger(__name__).info("rank %s failed\n%s", rank, told)
        raise RuntimeError(f"rank {rank} of the training failed: {told.strip().splitlines()[-1]}") from None
    if set(codes.values()) <= {TERMINATED, -signal.SIGTERM}:
        raise SystemExit(TERMINATED) from None
    raise RuntimeError(f"the training's ranks failed with exit codes {codes}") from None


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """torch's launcher takes over these signals and does not give them back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _TAKEN_OVER}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def sigterm() -> Iterator[Callable[[], bool]]:
    """Within: SIGTERM ends nothing; the function that this yields says whether it has come."""
    came = threading.Event()

    def note(_signal: int, _frame: FrameType | None) -> None:
        came.set()

    if threading.current_thread() is not threading.main_thread():
        # Python hands signals to the main thread alone; whoever runs us beside it looks after them.
        yield came.is_set
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
