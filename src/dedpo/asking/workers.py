"""Workers side by side, and the questions of a stage that they put until none is left or it is no use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from dedpo.asking.answers import Answer, Store
from dedpo.asking.failures import Tally
from dedpo.terminal import Advance

Q = TypeVar("Q")
A = TypeVar("A", bound=Answer)


async def run_all(workers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all; when one raises, cancel the others and raise that."""
    tasks = [asyncio.create_task(w) for w in workers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Client(Protocol):
    """Whoever is asked."""

    async def check(self) -> None:
        """Raise UserError if nobody answers there."""

    async def close(self) -> None:
        """Close the connections."""


async def ask_all(
    client: Client,
    questions: Iterator[Q],
    ask: Callable[[Q], Awaitable[tuple[A, str]]],
    store: Store[A],
    tally: Tally,
    *,
    display: AbstractContextManager[Advance],
    workers: int,
    lacking: str,
    is_enough: Callable[[A], bool],
    noted: Callable[[A], None] = lambda _: None,
) -> None:
    """Put every question and keep each answer as it comes; `client` is closed whatever happens.

    What is wrong with endpoint or settings is found out by one question, and not by as many as there are workers.

    Args:
        questions: shared by the workers, so that no more pictures are in memory than are being asked about.
        ask: gives the answer, and what to do if many fail like it.
        display: from `progress`, on which each answer counts.
        lacking: what failed questions are called in it, such as 'without a verdict'.
        is_enough: whether, after this answer, the first worker need no longer be alone.
        noted: is told of each answer that was kept.

    Raises:
        UserError: nobody answers, or no other question would fare better.
    """

    async def work(*, is_alone: bool = False) -> None:
        while not tally.is_hopeless and (question := next(questions, None)) is not None:
            answer, advice = await ask(question)
            store.add(answer)
            tally.count(answer.key[0], answer.error, advice)
            advance(f"{tally.failed} {lacking}" if tally.failed else "")
            noted(answer)
            if is_alone and is_enough(answer):
                return

    try:
        await client.check()
        with display as advance:
            await work(is_alone=True)
            await run_all(work() for _ in range(workers))
    finally:
        await client.close()
