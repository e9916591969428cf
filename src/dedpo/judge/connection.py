"""One server that speaks Gemini's protocol, and what it takes of a question; the only user of google-genai's client."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx2
from google import genai
from google.genai import errors, types

from dedpo.asking.endpoints import unreachable
from dedpo.asking.patience import Busy, Patience, is_exhausted, retry_after
from dedpo.asking.statuses import BROKEN, is_busy
from dedpo.contract.sections import JudgeConfig
from dedpo.errors import UserError, excerpt
from dedpo.judge import dialect, refusals
from dedpo.judge.dialect import Dialect
from dedpo.judge.endpoint import API_VERSION, api_key, base_url
from dedpo.judge.protocol import Page, Unusable, body, code, look_into_200, part
from dedpo.judge.refusals import Refusal
from dedpo.judge.templates import Question
from dedpo.terminal import note

FIRST_PAUSE: Final = 1.0  # seconds
# What google-genai raises where a body is not the protocol's, or JSON too deep for it.
_NOT_THE_PROTOCOL: Final = (ValueError, TypeError, AttributeError, KeyError, RecursionError)


@dataclass(slots=True)
class Usage:
    """HTTP requests and tokens (thoughts are answered tokens) of one comparison."""

    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


counted: ContextVar[Usage | None] = ContextVar("counted", default=None)
"""Whose requests are counted."""


class Connection:
    """A server and what is known about it; close it when done.

    `has_answered` says that it has given an answer that could be read; `dialect` is what it takes.
    """

    def __init__(self, config: JudgeConfig, tell: Callable[[str], None] | None) -> None:
        """As `Client`, which opens it."""
        assert config.model is not None
        self.url = base_url(config)
        self.model = config.model
        self.has_answered = False
        self.dialect = Dialect()
        self._config = config
        self._tell = tell or note
        self._key = api_key()
        self._patience = Patience(
            f"the judge '{self.model}' at {self.url}",
            max_wait=config.max_wait,
            setting="judge.max_wait",
            remedy="lower judge.concurrency",
            tell=self._tell,
        )
        # An explicit transport is the same one whatever else is installed (the SDK takes aiohttp if it is there), its
        # hooks count requests and see errors in HTTP 200, and it carries the key to no address that a redirect names.
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [_count], "response": [look_into_200]}
        self._http = httpx2.AsyncClient(event_hooks=hooks, follow_redirects=False)
        # The SDK warns of reasons to stop that are newer than itself; they are told as the answer's error.
        warnings.filterwarnings("ignore", message=r".* is not a valid \w+Reason")
        self._genai = genai.Client(
            api_key=self._key,
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=self.url,
                api_version=API_VERSION,
                timeout=int(config.timeout * 1000),
                retry_options=types.HttpRetryOptions(attempts=1),
                httpx_async_client=self._http,
            ),
        )

    async def check(self) -> None:
        """Make sure that something answers and takes the key; the model's description is a courtesy.

        Raises:
            UserError: it does not.
        """
        try:
            await self._genai.aio.models.get(model=self.model)
        except errors.APIError as error:
            refusal = refusals.final(code(error), body(error), self.model)
            if refusal and code(error) not in (404, 410):
                raise self.fatal(refusal, error) from None
        except httpx2.TransportError as error:
            reason = "no answer in time" if isinstance(error, httpx2.TimeoutException) else excerpt(str(error))
            whom = f"the judge '{self.model}'"
            raise unreachable(self.url, whom, reason, setting="judge.base_url", variable="GEMINI_BASE_URL") from None
        except _NOT_THE_PROTOCOL:
            return

    async def answer(self, question: Question) -> types.GenerateContentResponse:
        """What comes back, after a busy server and broken moments.

        Raises:
            Unusable: something that is not the protocol's.
            errors.APIError, httpx2.TransportError, Busy: nothing, after the retries of the settings.
            UserError: no other question would fare better.
        """
        for retry in range(self._config.max_retries + 1):
            try:
                return await self._patience.outlast(lambda: self._once(question))
            except (errors.APIError, httpx2.TransportError) as error:
                # A slow answer may have been billed, and the next one would be as slow.
                is_late = isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout)
                is_broken = code(error) in BROKEN if isinstance(error, errors.APIError) else not is_late
                if not is_broken or retry == self._config.max_retries:
                    raise
                await asyncio.sleep(FIRST_PAUSE * 2**retry)
        raise AssertionError("the last try returns or raises")

    async def _once(self, question: Question) -> types.GenerateContentResponse:
        """One request, and further ones as long as the server refuses parts of it that can be left out."""
        while True:
            spoken = self.dialect
            try:
                return await self._put(question, spoken)
            except errors.APIError as error:
                after = retry_after(error.response.headers, body(error))
                if is_exhausted(code(error), body(error), after):
                    raise self.fatal(refusals.EXHAUSTED, error) from None
                if is_busy(code(error), said(error)):
                    raise Busy(f"HTTP {code(error)}: {said(error)}", after) from None
                if code(error) not in (400, 422) or not await self._gives_way(question, spoken, error):
                    raise

    async def _put(self, question: Question, spoken: Dialect) -> types.GenerateContentResponse:
        parts = [part(piece) for piece in dialect.parts(question, spoken)]
        settings = types.GenerateContentConfig(**dialect.settings(self._config, spoken))
        try:
            return await self._genai.aio.models.generate_content(
                model=self.model, contents=[types.Content(role="user", parts=parts)], config=settings
            )
        except Page as error:
            if self.has_answered:
                raise Unusable(f"malformed answer: it {error}") from None
            raise UserError(f"{self.url}: {excerpt(str(error))}; {refusals.ADDRESS}") from None
        except _NOT_THE_PROTOCOL as error:
            raise Unusable(f"malformed answer: {error}") from None

    async def _gives_way(self, question: Question, spoken: Dialect, error: errors.APIError) -> bool:
        """Whether the question can be put again with less."""
        if spoken != self.dialect:  # another question has found it out meanwhile
            return True
        whole = refusals.said(error.details)
        is_suspect = not self.has_answered and "thinking_config" in dialect.settings(self._config, spoken)
        if is_suspect and (refusal := refusals.of_thinking(whole, self._config)):
            raise self.fatal(refusal, error) from None
        known = spoken.without(whole)
        if known == spoken:
            if is_suspect and refusals.speaks_of_thinking(whole) and await self._passes_without(question, spoken):
                raise self.fatal(refusals.thinking(whole.casefold(), self._config), error) from None
            return False
        self.give_up(known, f"HTTP {code(error)}: {said(error)}")
        return True

    async def _passes_without(self, question: Question, spoken: Dialect) -> bool:
        """Whether the question passes without the thinking settings."""
        try:
            await self._put(question, replace(spoken, thinking=False))
        except (errors.APIError, Unusable):
            return False
        return True

    def give_up(self, known: Dialect, why: str) -> None:
        """Speak another dialect from now on, and say so."""
        told = known.given_up(self.dialect)
        self.dialect = known
        self._tell(
            f"{self.url}: '{self.model}' does not do all that the judge is asked for ({why}); it now gets {told}"
        )

    def fatal(self, refusal: Refusal, error: errors.APIError) -> UserError:
        """The one line that ends a run."""
        return UserError(f"{self.url}: {refusal.what} (HTTP {code(error)}: {said(error)}); {refusal.remedy}")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        self._genai.close()


def said(error: errors.APIError) -> str:
    """What a refusal says, to be shown."""
    return excerpt(refusals.said(error.details))


async def _count(request: httpx2.Request) -> None:
    usage = counted.get()
    if usage is not None and request.method == "POST":
        usage.attempts += 1
