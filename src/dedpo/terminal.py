"""What a person sees of a run, on a terminal or in a log (CI, a pod): lines, a progress bar, tables and trees."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS = 10.0
UNBROKEN: Final = 4000

Advance = Callable[[str], None]


def note(line: str) -> None:
    """One line that a user should read, on stderr."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def note_kept(stage: str, units: str, kept: int, total: int, left: str) -> None:
    """Say, if there are any, how many of `total` units need not be done again; `left`: what the others are 'to' be."""
    if kept:
        note(f"{stage}: {kept} of {total} {units} are kept from earlier runs, {total - kept} {left}")


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Yield a function that counts one unit of `total` as done and shows a short detail such as 'loss 0.693'.

    A bar on a terminal, elsewhere a line every few seconds.

    Args:
        done: units finished by an earlier, interrupted run.
    """
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(what, total=total, completed=done, detail="")

            def advance(detail: str = "") -> None:
                bar.update(task, advance=1, detail=detail)

            yield advance
    else:
        yield _lines(what, total, done)


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    return Progress(*columns, console=Console(stderr=True))


def _lines(what: str, total: int, done: int) -> Advance:
    begun = shown = time.monotonic()
    start = done

    def advance(detail: str = "") -> None:
        nonlocal done, shown
        done += 1
        now = time.monotonic()
        if now - shown >= LINE_SECONDS:
            shown = now
            left = (now - begun) / (done - start) * (total - done)
            print(  # noqa: T201
                f"{what}: {done}/{total}, about {left:.0f} s left {detail}".rstrip(), file=sys.stderr, flush=True
            )

    return advance


def console() -> Console:
    """A console that breaks no line where nobody watches: a log and grep want them whole.

    What it prints is not looked through for [markup]: names and commands, such as pip install 'dedpo[train]', hold it.
    Styled texts are `rich.text.Text`.
    """
    return Console(highlight=False, markup=False, emoji=False, width=None if Console().is_terminal else UNBROKEN)
