"""Shared waiting, on a clock that only the waiting itself moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from dedpo.asking.patience import Busy, Patience, is_exhausted, retry_after
from dedpo.asking.workers import run_all
from dedpo.errors import UserError


class World:
    """A clock, what was told, and a server that answers by a rule of the time."""

    def __init__(self, answers: Callable[[float, int], bool], after: float | None = None) -> None:
        self.now = 0.0
        self.told: list[str] = []
        self.requests: list[tuple[float, int]] = []
        self.answers, self.after = answers, after

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def patience(self, max_wait: float = 600) -> Patience:
        return Patience(
            "the annotator", max_wait=max_wait, setting="label.max_wait", remedy="lower label.concurrency",
            clock=lambda: self.now, sleep=self.sleep, tell=self.told.append,
        )  # fmt: skip

    def asking(self, question: int) -> Callable[[], Awaitable[int]]:
        async def once() -> int:
            self.requests.append((self.now, question))
            await asyncio.sleep(0)
            if not self.answers(self.now, question):
                raise Busy("HTTP 429: slow down", self.after)
            return question

        return once


def work(world: World, questions: int, workers: int, max_wait: float = 600) -> dict[int, Any]:
    """What came of each question: itself, or the error of its own."""
    found: dict[int, Any] = {}

    async def go() -> None:
        patience = world.patience(max_wait)
        waiting = iter(range(questions))

        async def worker() -> None:
            for question in waiting:
                try:
                    found[question] = await patience.outlast(world.asking(question))
                except Busy as busy:
                    found[question] = busy.reason

        await run_all(worker() for _ in range(workers))

    asyncio.run(go())
    return found


def test_ten_minutes_of_loading_are_outlasted_with_few_requests_and_a_word() -> None:
    world = World(lambda now, _: now >= 590)
    assert work(world, 40, 16) == {i: i for i in range(40)}
    assert world.now < 640
    refused = len(world.requests) - 40
    # One burst, then a single probe at a time: sixteen workers that wait each for itself would send hundreds.
    assert refused <= 16 + 30
    assert "asks for patience (HTTP 429: slow down)" in world.told[0]
    assert 10 <= len(world.told) <= 45


def test_a_rate_limit_of_few_a_minute_starves_nobody() -> None:
    windows: dict[int, int] = {}

    def answers(now: float, _: int) -> bool:
        window = int(now // 60)
        windows[window] = windows.get(window, 0) + 1
        return windows[window] <= 3

    world = World(answers)
    assert work(world, 60, 16, max_wait=130) == {i: i for i in range(60)}


def test_a_pause_that_the_server_names_is_kept_by_all() -> None:
    world = World(lambda now, _: now >= 45, after=45.0)
    assert work(world, 8, 4) == {i: i for i in range(8)}
    assert [now for now, _ in world.requests if 0 < now < 45] == []
    assert len(world.requests) <= 12


def test_a_pause_of_nothing_is_not_believed_for_ever() -> None:
    world = World(lambda now, _: now >= 300, after=0.0)
    work(world, 1, 1)
    assert len(world.requests) < 200


def test_a_server_that_stays_busy_ends_the_run_with_what_to_set() -> None:
    world = World(lambda *_: False)
    with pytest.raises(UserError, match=r"nothing for \d+ s \(HTTP 429: slow down\); lower label.con.*, or raise"):
        work(world, 40, 16)
    assert 600 <= world.now < 700


def test_one_question_that_is_always_refused_does_not_end_the_run() -> None:
    world = World(lambda _, question: question != 5)
    found = work(world, 12, 3)
    assert found.pop(5) == "HTTP 429: slow down"
    assert found == {i: i for i in range(12) if i != 5}


def test_a_pause_longer_than_allowed_is_not_begun() -> None:
    world = World(lambda *_: False, after=86_400.0)
    with pytest.raises(UserError, match=r"wants a pause of 86400 s .* longer than label.max_wait \(600\)"):
        work(world, 4, 2)
    assert world.now == 0


def test_other_errors_pass_and_leave_the_line() -> None:
    world = World(lambda now, _: now > 1)

    async def go() -> int:
        patience = world.patience()

        async def broken() -> int:
            if world.now < 1:
                world.now += 0.1
                raise Busy("HTTP 503: loading")
            raise KeyError

        with pytest.raises(KeyError):
            await patience.outlast(broken)
        return await patience.outlast(world.asking(1))

    assert asyncio.run(go()) == 1


DATE = format_datetime(datetime.fromtimestamp(1_000_120, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "text", "seconds"),
    [
        ({}, "", None),
        ({"Retry-After": "20"}, "", 20),
        ({"retry-after": DATE}, "", 120),
        ({"retry-after": "Wed, 21 Oct 1969 07:28:00 GMT"}, "", 0),
        ({"retry-after-ms": "250", "retry-after": "1"}, "", 0.25),
        ({"retry-after": "soon"}, "Please try again in 6m0.5s.", 360.5),
        ({"retry-after": "-3"}, "", None),
        ({"retry-after": "nan"}, "", None),
        ({}, "Rate limit reached for x on tokens per min. Please try again in 170ms. Visit", 0.17),
        ({}, 'Please retry in 33.245s.", "details": [{"retryDelay": "33s"}]', 33.245),
        ({}, '"retryDelay": "7s"', 7),
        ({}, "Please retry after 40 seconds.", 40),
        ({}, "Please try again in 1h2m3s", 3723),
        ({}, "try again in a few moments", None),
    ],
)
def test_both_forms_of_retry_after_and_the_usual_sentences(
    headers: dict[str, str], text: str, seconds: float | None
) -> None:
    assert retry_after(headers, text, lambda: 1_000_000) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("status", "text", "after", "is_out"),
    [
        (402, "anything", None, True),
        (429, '{"code": "insufficient_quota", "message": "You exceeded your current quota"}', None, True),
        (400, "Your credit balance is too low to access the API", None, True),
        (403, "Key credit limit exceeded", None, True),
        (429, "You exceeded your current quota. Please retry in 33s. GenerateRequestsPerMinute", 33.0, False),
        (429, "You exceeded your current quota. quotaId: GenerateRequestsPerDayPerProject", 33.0, True),
        (429, "Your prepayment credits are depleted. Please go to AI Studio", None, True),
        (429, "Your project has exceeded its monthly spending cap.", 20.0, True),
        (429, "Rate limit exceeded: free-models-per-day", None, True),
        (429, "on tokens per day (TPD): Limit 100000", 432.0, False),
        (429, "Rate limit reached for requests", None, False),
        (429, "on tokens per min (TPM): Limit 30000", None, False),
        (503, "insufficient_quota", None, False),
    ],
)
def test_money_and_a_busy_moment_are_told_apart(status: int, text: str, after: float | None, is_out: bool) -> None:
    assert is_exhausted(status, text, after) == is_out
