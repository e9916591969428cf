"""The run of a stage's questions, put to a client that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from dedpo.asking.answers import Log, Store
from dedpo.asking.failures import HOPELESS_AFTER, Tally
from dedpo.asking.workers import ask_all
from dedpo.errors import UserError


@dataclass(frozen=True)
class Said:
    question: int
    error: str | None = None

    @property
    def key(self) -> tuple[int]:
        return (self.question,)


class Client:
    """Notes how many questions it has at once; those that are `wrong` fail, and the one that is `broken` ends all."""

    def __init__(self, wrong: range = range(0), broken: int | None = None) -> None:
        self.wrong, self.broken, self.is_closed = wrong, broken, False
        self.at_once: list[int] = []
        self._now = 0

    async def check(self) -> None:
        assert not self.at_once

    async def close(self) -> None:
        self.is_closed = True

    async def ask(self, question: int) -> tuple[Said, str]:
        self._now += 1
        self.at_once.append(self._now)
        await asyncio.sleep(0)
        self._now -= 1
        if question == self.broken:
            raise UserError("gone")
        return Said(question, "HTTP 500: oh" if question in self.wrong else None), "wait"


def run(client: Client, folder: Path, questions: Iterator[int], *, alone: int = 1) -> tuple[Store[Said], Tally]:
    tally = Tally("label", "pairs", 0.1, 100)
    with Store(Log(folder, "who"), Said) as store:
        asyncio.run(
            ask_all(
                client,
                questions,
                client.ask,
                store,
                tally,
                display=nullcontext(lambda _: None),
                workers=4,
                lacking="without an answer",
                is_enough=lambda answer: answer.question >= alone - 1,
            )
        )
    assert client.is_closed
    return store, tally


def test_one_worker_is_alone_until_it_knows_enough(tmp_path: Path) -> None:
    client = Client()
    store, tally = run(client, tmp_path, iter(range(20)), alone=3)
    assert (store.good, tally.failed) == (20, 0)
    assert client.at_once[:7] == [1, 1, 1, 1, 2, 3, 4]
    tally.check(tmp_path)


def test_what_cannot_succeed_is_given_up_and_what_came_is_kept(tmp_path: Path) -> None:
    client, questions = Client(wrong=range(100)), iter(range(100))
    store, tally = run(client, tmp_path, questions)
    assert HOPELESS_AFTER <= store.asked < HOPELESS_AFTER + 4
    assert next(questions) == store.asked, "no question is taken that is not put"
    with pytest.raises(UserError, match=r"HTTP 500: oh; wait; what was answered is kept"):
        tally.check(tmp_path)


def test_the_first_error_ends_all_and_keeps_the_answers(tmp_path: Path) -> None:
    client = Client(broken=9)
    with pytest.raises(UserError, match="gone"):
        run(client, tmp_path, iter(range(100)))
    assert client.is_closed
    with Store(Log(tmp_path, "who"), Said) as store:
        assert 6 <= store.good < 50
