"""Answers on disk as they come, so that an interrupted run asks no question twice."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from dedpo.errors import UserError

SYNC_EVERY: Final = 64
SYNC_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question: a probability or an error.

    `order` is '01' (image_0 shown first) or '10'; `p` is P(image_1 preferred) in either, and `on_answer_mass` the
    probability that the annotator put on its two choices together (None without logprobs); `attempts` counts the HTTP
    requests of the asking that gave this answer.
    """

    pair_id: str
    order: str
    p: float | None
    on_answer_mass: float | None
    attempts: int
    error: str | None


class Store:
    """The answers so far, the last one of each (pair_id, order), and the open file that new ones are added to."""

    def __init__(self, path: Path) -> None:
        # Each line goes to the operating system at once: a killed process loses nothing, only a power cut needs fsync.
        self._file = path.open("ab+", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserError(f"{path}: another run is writing there; wait for it, or stop it, and run again") from None
        except OSError:
            # A file system without locks: nobody is protected from starting twice, and one run works as well.
            pass
        self.answers = {(a.pair_id, a.order): a for a in self._read()}
        self._unsynced = 0
        self._synced_at = time.monotonic()

    def _read(self) -> list[Answer]:
        self._file.seek(0)
        data = self._file.readall()
        # What follows the last newline was torn by a crash; cut it off, or the next answer would be glued to it.
        whole = data.rfind(b"\n") + 1
        self._file.truncate(whole)
        answers = (_parse(line) for line in data[:whole].splitlines())
        return [a for a in answers if a is not None]

    def is_answered(self, pair_id: str, order: str) -> bool:
        """Whether the question has an answer that is no error."""
        answer = self.answers.get((pair_id, order))
        return answer is not None and answer.error is None

    def add(self, answer: Answer) -> None:
        """Keep an answer; it outlives a crash of the process now, and one of the machine within a few more."""
        self._file.write(json.dumps(asdict(answer)).encode() + b"\n")
        self.answers[answer.pair_id, answer.order] = answer
        self._unsynced += 1
        if self._unsynced >= SYNC_EVERY or time.monotonic() - self._synced_at >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Force what was added to the disk."""
        os.fsync(self._file.fileno())
        self._unsynced = 0
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Sync and close; the lock goes with the file."""
        self.sync()
        self._file.close()


@contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Open or create the store at `path`; synced and closed whatever happens.

    Raises:
        UserError: another process has it open.
    """
    store = Store(path)
    try:
        yield store
    finally:
        store.close()


def _parse(line: bytes) -> Answer | None:
    """One line's answer, or None if a crash left something else there: that question is simply asked again."""
    try:
        return Answer(**json.loads(line))
    except (ValueError, TypeError):
        return None
