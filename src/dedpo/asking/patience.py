"""Waiting for a busy server: all workers of a run wait together, in line, and one of them tries.

    patience = Patience("the annotator 'vlm' at http://…", max_wait=1200, setting="label.max_wait", remedy="lower …")

    async def once() -> Reply:           # one HTTP request
        answer = await post(…)
        if is_exhausted(answer.status, answer.text):
            raise UserError(…)           # no patience helps
        if is_busy(answer.status, answer.text):
            raise Busy(f"HTTP {answer.status}: {said}", retry_after(answer.headers, answer.text))
        return Reply(…)

    reply = await patience.outlast(once)  # in every worker, all with the same `patience`

Nothing here knows a protocol or a client library.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from dedpo.errors import UserError
from dedpo.terminal import note

FIRST_PAUSE: Final = 0.5  # seconds; doubled at every refusal, halved at every answer
LONGEST_PAUSE: Final = 30.0
TELL_SECONDS: Final = 15.0

T = TypeVar("T")


class Busy(Exception):  # noqa: N818
    """The server asks for time: `reason` is what it said, `after` the seconds that it named."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Patience:
    """What the workers of one run know together about a busy server."""

    def __init__(
        self,
        whom: str,
        *,
        max_wait: float,
        setting: str,
        remedy: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tell: Callable[[str], None] = note,
    ) -> None:
        """Wait for `whom` as long as `max_wait` seconds without any answer, which is the value of `setting`.

        `remedy` says what else helps, such as 'lower label.concurrency'. The rest is for tests.
        """
        self._whom, self._max_wait, self._setting, self._remedy = whom, max_wait, setting, remedy
        self._clock, self._sleep, self._tell = clock, sleep, tell
        # Refused questions are asked again one at a time and in their order, so that none starves and a server that
        # counts refused requests is not kept busy by them.
        self._line = asyncio.Lock()
        self._length = FIRST_PAUSE
        self._until = -float("inf")
        self._refusals = 0
        self._silent_since: float | None = None
        self._has_lost = False
        self._told_at = -float("inf")

    async def outlast(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The result of `ask()`, which is called again as long as it raises Busy.

        Raises:
            Busy: the server has refused this question for `max_wait`, and nothing else was asked meanwhile. It may be
                the question's fault; if the next one is refused as well, it was the server's.
            UserError: the server has answered nothing for `max_wait`, or wants a longer pause than that.
        """
        async with self._line:
            pass
        try:
            return await self._once(ask)
        except Busy:
            pass
        async with self._line:
            while True:
                await self._pause()
                try:
                    return await self._once(ask)
                except Busy as busy:
                    if self._silence() >= self._max_wait:
                        if self._has_lost:
                            raise self._given_up(busy) from None
                        self._has_lost = True
                        raise

    async def _once(self, ask: Callable[[], Awaitable[T]]) -> T:
        known = self._refusals
        try:
            answer = await ask()
        except Busy as busy:
            self._refused(busy, is_news=known == self._refusals)
            raise
        self._silent_since, self._has_lost = None, False
        self._length = max(FIRST_PAUSE, self._length / 2)
        return answer

    def _refused(self, busy: Busy, *, is_news: bool) -> None:
        if busy.after is not None and busy.after > self._max_wait:
            raise UserError(
                f"{self._whom} wants a pause of {busy.after:.0f} s ({busy.reason}), longer than {self._setting} "
                f"({self._max_wait:.0f}) allows; run again later, or raise it: what was answered is kept"
            )
        now = self._clock()
        self._silent_since = now if self._silent_since is None else self._silent_since
        if is_news:  # else it was on its way when another was refused
            self._refusals += 1
            # A pause that the server names is believed, but not one of nothing for ever.
            named = None if busy.after is None else max(busy.after, self._length / 16)
            pause = self._length * random.uniform(1, 1.25) if named is None else named  # noqa: S311
            self._length = min(LONGEST_PAUSE, self._length * 2)
            self._until = max(self._until, now + pause)
        elif busy.after is not None:
            self._until = max(self._until, now + busy.after)
        self._report(busy, now)

    def _report(self, busy: Busy, now: float) -> None:
        if now - self._told_at < TELL_SECONDS:
            return
        self._told_at = now
        self._tell(
            f"{self._whom} asks for patience ({busy.reason}): next try in {max(0.0, self._until - now):.0f} s; "
            f"no answer for {self._silence():.0f} s, at most {self._max_wait:.0f} ({self._setting})"
        )

    async def _pause(self) -> None:
        left = self._max_wait - self._silence()
        pause = min(self._until - self._clock(), max(left, 0.0))
        if pause > 0:
            await self._sleep(pause)

    def _silence(self) -> float:
        return 0.0 if self._silent_since is None else self._clock() - self._silent_since

    def _given_up(self, busy: Busy) -> UserError:
        return UserError(
            f"{self._whom} has answered nothing for {self._silence():.0f} s ({busy.reason}); {self._remedy}, or raise "
            f"{self._setting} ({self._max_wait:.0f}), and run again: what was answered is kept"
        )


_UNITS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s?(ms|[dhms])")
# 'Please try again in 6m0.5s' (OpenAI, Groq), 'Please retry in 33.2s' and '"retryDelay": "33s"' (Google).
_HINT: Final = re.compile(
    r"(?:try again in|retry in|retry after|retryDelay\"?:)\s*\"?((?:\d+(?:\.\d+)?\s?(?:ms|[dhms])\s?)+)"
    r"(?:(?=[^a-z])|econds?|inutes?|ours?|$)",
    re.IGNORECASE,
)


def retry_after(headers: Mapping[str, str], text: str = "", now: Callable[[], float] = time.time) -> float | None:
    """For how many seconds a server asks, in its headers (milliseconds, seconds or a date) or in its text; or None."""
    found = {name.lower(): value.strip() for name, value in headers.items()}
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(found[name]) * factor
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        return max(0.0, parsedate_to_datetime(found["retry-after"]).timestamp() - now())
    except (KeyError, ValueError, TypeError, OverflowError):
        pass
    hint = _HINT.search(text)
    return sum(float(n) * _UNITS[unit.lower()] for n, unit in _SPAN.findall(hint[1].lower())) if hint else None


# Of OpenAI, Azure, OpenRouter, Anthropic, DeepSeek, Together, xAI, Mistral, Alibaba and Google.
_PAID_OUT: Final = re.compile(
    r"insufficient[ _](?:quota|balance|credits?|funds)|credit balance|(?:out of|requires? more|not enough) credits?"
    r"|billing[ _](?:hard[ _]limit|not[ _]active)|account (?:is )?not active|payment required|credit limit"
    r"|spend(?:ing)? (?:limit|cap)|credits? (?:are |is |have been )?(?:depleted|exhausted|used up)"
    r"|free (?:tier|quota)\b.{0,40}exhausted|key limit exceeded|arrearage|account is in good standing",
    re.IGNORECASE,
)
_DAILY: Final = re.compile(r"per[ -]day|daily|\((?:RPD|TPD)\)", re.IGNORECASE)


def is_exhausted(status: int, text: str, after: float | None = None) -> bool:
    """Whether a refusal is about money or a day's allowance, which no patience brings back.

    Args:
        text: the whole body; services say 429 to both this and to a busy moment.
        after: what `retry_after` found: a day's allowance that frees itself within minutes is worth the wait.
    """
    if status == 402:
        return True
    if status not in (400, 403, 429):
        return False
    # Google names a quota of minutes and one of days, and a pause of seconds for both.
    if _PAID_OUT.search(text) or "PerDay" in text:
        return True
    is_quota = "exceeded your current quota" in text
    return status == 429 and after is None and bool(is_quota or _DAILY.search(text))
