"""Answers on disk as they come, kept from run to run: no question is paid for twice.

They lie in a log beside the output that was made from them, under what was asked and not how: `dvc repro`, another
address, more pairs or a change of model and back take nothing from it.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import re
import time
import uuid
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from contextlib import closing
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar

from dedpo import disk
from dedpo.errors import UserError

ANSWERS: Final = "answers"
SYNC_EVERY: Final = 64
SYNC_SECONDS: Final = 2.0


class Log:
    """Lines that outlive every run: `<folder>/<name>-<n>.jsonl`. Nothing is taken out of it; close it at the end.

    Several processes may add at once, each to the first file that no other has open, and all read all files.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Nothing is opened or made before something is added."""
        self.folder = folder
        self.name = name
        self._file: FileIO | None = None
        self._before = b""
        self._unsynced = 0
        self._synced_at = time.monotonic()

    def files(self) -> list[Path]:
        """What there is so far."""
        return sorted(self.folder.glob(f"{self.name}-*.jsonl"))

    def add(self, line: bytes) -> None:
        """Keep a line; it outlives a crash of the process now, and one of the machine within a few more."""
        if self._file is None:
            self._file = self._own()
        rest = memoryview(self._before + line)
        # On a full disk a part of it may be written, which the next line must not become one with.
        self._before = b"\n"
        while rest:
            rest = rest[self._file.write(rest) :]
        self._before = b""
        self._unsynced += 1
        if self._unsynced >= SYNC_EVERY or time.monotonic() - self._synced_at >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Force what was added to the disk."""
        if self._file is not None and self._unsynced:
            os.fsync(self._file.fileno())
        self._unsynced = 0
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Sync and close; the lock goes with the file."""
        self.sync()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _own(self) -> FileIO:
        self.folder.mkdir(parents=True, exist_ok=True)
        for n in itertools.count():
            path = self.folder / f"{self.name}-{n}.jsonl"
            try:
                file = path.open("ab+", buffering=0)
            except PermissionError:
                if not path.exists():
                    raise
                continue  # another user's, on a shared volume
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            except OSError:
                # A file system without locks: a file of its own keeps every run apart from all others.
                file.close()
                file = (self.folder / f"{self.name}-{uuid.uuid4().hex}.jsonl").open("ab+", buffering=0)
            disk.sync(self.folder)
            # What a crash has torn becomes a line of its own, together with the first whole one after it.
            self._before = b"" if _is_whole(file) else b"\n"
            return file
        raise AssertionError("counting has no end")


def _is_whole(file: FileIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return True
    file.seek(size - 1)
    return file.read(1) == b"\n"


class Answer(Protocol):
    """What came of one question: a dataclass of JSON values; wrong ones raise ValueError or TypeError."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def key(self) -> tuple[Hashable, ...]:
        """The question; its first part is the unit that fails if it has no answer."""

    @property
    def error(self) -> str | None:
        """Why there is no usable answer; None if there is one."""


A = TypeVar("A", bound=Answer)


class Store(Generic[A]):
    """The answers to one kind of question: those of all earlier runs, and those that this one adds.

    The first usable answer to a question stays; before there is one, the last failure counts. A context manager.
    """

    def __init__(
        self, log: Log, kind: type[A], units: Collection[Hashable] | None = None, also: Sequence[Path] = ()
    ) -> None:
        """Read what is there.

        Args:
            units: the answers to hold in memory, by the first part of their keys; None: all.
            also: more files of lines, which are only read.

        Raises:
            UserError: a file cannot be opened, or has lines and none can be read as an answer: all its questions would
                be paid for again.
        """
        self._log = log
        self._kind = kind
        self._units = None if units is None else frozenset(units)
        self.answers: dict[Any, A] = {}
        self.asked = 0
        """Questions answered since, for better or worse."""
        for path in (*log.files(), *also):
            try:
                self._read(path)
            except PermissionError:
                raise UserError(
                    f"{path}: cannot be read (permission denied), and its questions would be paid for again; let this "
                    "user read it"
                ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def _read(self, path: Path) -> None:
        whole = readable = 0
        with path.open("rb") as file:
            for line in file:
                whole += line.endswith(b"\n")
                answer = self._parse(line)
                if answer is not None:
                    readable += 1
                    if self._units is None or answer.key[0] in self._units:
                        self._take(answer)
        if whole and not readable:
            raise UserError(
                f"{path}: not one of its {whole} lines can be read as an answer (is it another version's?); move it "
                "elsewhere to have those questions asked again"
            )

    def _parse(self, line: bytes) -> A | None:
        """One line's answer, or None if a crash left something else there: that question is simply asked again."""
        try:
            found = json.loads(line)
            try:
                return self._kind(**found)
            except TypeError:
                # Another version may note more.
                return self._kind(**{k: v for k, v in found.items() if k in self._kind.__dataclass_fields__})
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None

    def _take(self, answer: A) -> None:
        if not self._is_good(answer.key):
            self.answers[answer.key] = answer

    def _is_good(self, key: Hashable) -> bool:
        answer = self.answers.get(key)
        return answer is not None and answer.error is None

    def is_answered(self, *key: Hashable) -> bool:
        """Whether the question has an answer that is no error."""
        return self._is_good(key)

    @property
    def good(self) -> int:
        """Questions with an answer that is no error."""
        return sum(answer.error is None for answer in self.answers.values())

    def add(self, answer: A) -> None:
        """Keep an answer; it outlives a crash of the process now, and one of the machine within a few more."""
        self._log.add(_line(answer))
        self._take(answer)
        self.asked += 1

    def write(self, folder: Path, keys: Iterable[Hashable]) -> None:
        """Leave these answers in a finished output, where a copy of it on another machine finds them: see `adopt`."""
        path = folder / ANSWERS / f"{self._log.name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.writelines(_line(self.answers[key]) for key in keys)


def _line(answer: Answer) -> bytes:
    # The fields are JSON already, and dataclasses.asdict copies each of them deeply, which takes ten times as long.
    row = {name: getattr(answer, name) for name in answer.__dataclass_fields__}
    return json.dumps(row).encode() + b"\n"


def shown(prompt: str, *pictures: bytes) -> str:
    """SHA-256 of what a question shows: a prompt and encoded pictures in their order, whatever their names are."""
    question = [prompt, *(hashlib.sha256(picture).hexdigest() for picture in pictures)]
    return hashlib.sha256(json.dumps(question).encode()).hexdigest()


def log_folder(out: Path) -> Path:
    """Where the answers behind the output `out` are kept if no place is named: beside it, whatever becomes of it."""
    return out.with_name(f"{out.name}.{ANSWERS}")


def log_name(who: str, asked: Any) -> str:
    """A `Log`'s name: whom one asks, to be read, and a hash of everything that is asked of all questions alike."""
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', who).strip('-.')[:80]}-{digest[:16]}"


def finished_answers(out: Path, name: str = "*") -> list[Path]:
    """The files that `Store.write` left in a finished output; `name`: of the log, if only its own are wanted."""
    return sorted((out / ANSWERS).glob(f"{name}.jsonl"))


def adopt(out: Path, folder: Path) -> None:
    """Put the answers in a finished output, fetched from elsewhere perhaps, into the log, before `out` is replaced."""
    for path in finished_answers(out):
        with closing(Log(folder, path.stem)) as log, path.open("rb") as file:
            known = {hash(line) for line in _lines(log)}
            for line in file:
                if hash(line) not in known:
                    log.add(line if line.endswith(b"\n") else line + b"\n")


def _lines(log: Log) -> Iterator[bytes]:
    for path in log.files():
        with path.open("rb") as file:
            yield from file
