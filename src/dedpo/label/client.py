"""The OpenAI-compatible endpoint of an annotator: one question in, one reading out. The only importer of openai."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import openai

from dedpo.asking.endpoints import address, check_key, is_loopback, unreachable
from dedpo.asking.patience import Busy, Patience, is_exhausted, retry_after
from dedpo.asking.statuses import BROKEN, is_busy, meant
from dedpo.contract.sections import AnnotatorConfig
from dedpo.errors import UserError, excerpt
from dedpo.label import fatal, reply
from dedpo.label.body import decoded, is_completion
from dedpo.label.dialect import NO_LOGPROBS, Dialect
from dedpo.label.refusal import Refusal, within_200
from dedpo.label.templates import Message, without_system

# vLLM, OpenAI and Gemini endpoints answer or refuse a connection in far less.
CONNECT_SECONDS: Final = 10.0
LONGEST_PAUSE: Final = 8.0
# Of one question; there are five fields, and an endpoint that objects more often contradicts itself.
MOST_OBJECTIONS: Final = 12


@dataclass(frozen=True, slots=True)
class Reply:
    """P(second choice) with the probability that both choices had together, or an error; never both.

    `attempts` counts the HTTP requests it took. Of an error, `advice` says what to do if many end so.
    """

    p_second: float | None
    on_answer_mass: float | None
    attempts: int
    error: str | None
    advice: str = ""


class _Answer(NamedTuple):
    status: int
    text: str
    headers: dict[str, str]


class Client:
    """An annotator that can be asked; close it when done."""

    def __init__(self, config: AnnotatorConfig, choices: tuple[str, str]) -> None:
        """Find endpoint and key, without a connection yet.

        Raises:
            UserError: no endpoint, no key for a remote one, or either is malformed.
        """
        self.url = base_url(config)
        self.model = config.model
        self._choices = choices
        self._retries = config.max_retries
        self._key = _api_key(self.url)
        self._models: list[str] = []
        self._dialect = Dialect(choices, config.request)
        self._told = 0
        self._has_answered = False
        self._patience = Patience(
            f"{self.url}: the annotator '{self.model}'",
            max_wait=config.max_wait,
            setting="label.max_wait",
            remedy="lower label.concurrency",
        )
        self._openai = openai.AsyncOpenAI(
            base_url=self.url,
            api_key=self._key,
            max_retries=0,
            timeout=openai.Timeout(config.timeout, connect=min(config.timeout, CONNECT_SECONDS)),
            # A redirect would carry key and pictures to an address that nobody named.
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )
        self._timeout = config.timeout

    async def check(self) -> None:
        """Make sure that something answers at the endpoint and takes the key, before many requests go out.

        Raises:
            UserError: it does not.
        """
        try:
            found = await self._openai.models.with_raw_response.list()
            self._models = [str(m["id"]) for m in json.loads(found.text)["data"]]
        except openai.AuthenticationError as error:
            raise self._fatal(Refusal(error.status_code, error.response.text)) from None
        except openai.APIConnectionError as error:
            raise self._unreachable(error) from None
        except (openai.APIError, ValueError, TypeError, KeyError):
            # A list of models is a courtesy: an endpoint without one may still answer questions.
            return

    async def ask(self, messages: list[Message], *, again: bool = True) -> Reply:
        """Put one question, with other fields if the endpoint refuses those sent; a busy one is waited for.

        Args:
            again: after an answer without an answer, ask once more with room to think, if that was not tried yet.

        Raises:
            UserError: no other question would fare better (key refused, no such model, endpoint gone or out of money).
        """
        attempts = 0

        async def once(fields: dict[str, Any], asked: list[Message]) -> _Answer:
            nonlocal attempts
            attempts += 1
            return self._unless_busy(await self._post(fields, asked))

        failures = objections = 0
        advice = ""
        while True:
            fields, has_system = dict(self._dialect.fields), self._dialect.has_system_role
            asked = messages if has_system else without_system(messages)
            try:
                answer = await self._patience.outlast(lambda f=fields, a=asked: once(f, a))  # type: ignore[misc]
            except Busy as busy:
                return Reply(None, None, attempts, f"{busy.reason} (label.max_wait)")
            except openai.APIConnectionError as error:
                problem, advice = await self._lost(error, is_last=failures >= self._retries), ""
            else:
                refusal = self._refusal(answer)
                if refusal is None:
                    found = self._read(answer, fields, attempts, again=again)
                    if found is not None:
                        return found
                    continue
                objections += 1
                is_new = objections <= MOST_OBJECTIONS
                if is_new and self._dialect.heed(fields, refusal, with_system_role=has_system):
                    continue
                problem, advice = self._failed(refusal), fatal.advice(refusal)
                if not (refusal.status in BROKEN or refusal.is_stray):
                    return Reply(None, None, attempts, problem, advice)
            if failures >= self._retries:
                return Reply(None, None, attempts, problem, advice)
            await asyncio.sleep(min(LONGEST_PAUSE, 0.5 * 2**failures))
            failures += 1

    @property
    def given_up(self) -> tuple[str, ...]:
        """What this endpoint does not take or give, as far as it is known."""
        return tuple(self._dialect.losses)

    def losses(self) -> str | None:
        """One line of what is given up at this endpoint, if that is news since it was last asked for."""
        if len(self.given_up) == self._told:
            return None
        self._told = len(self.given_up)
        return f"{self.url} ('{self.model}'): {'; '.join(self.given_up)}"

    async def close(self) -> None:
        """Close the connections."""
        await self._openai.close()

    async def _post(self, fields: dict[str, Any], messages: list[Message]) -> _Answer:
        try:
            # Not chat.completions.create, which walks through every part of every message: 17 ms a question.
            body = {"model": self.model, "messages": messages} | fields
            raw = await self._openai.post("/chat/completions", cast_to=openai.HttpxBinaryResponseContent, body=body)
        except openai.APIStatusError as error:
            return _Answer(error.status_code, error.response.text, dict(error.response.headers))
        return _Answer(200, raw.response.text, dict(raw.response.headers))

    def _unless_busy(self, answer: _Answer) -> _Answer:
        """The answer itself.

        Raises:
            Busy: the endpoint asks for time.
            UserError: it is out of money.
        """
        refusal = self._refusal(answer)
        if refusal is None:
            return answer
        after = retry_after(answer.headers, refusal.text)
        if is_exhausted(refusal.status, refusal.text, after):
            raise self._fatal(refusal, fatal.MONEY)
        # A question that is larger than a minute's allowance will never be taken.
        if is_busy(refusal.status, refusal.text) and not refusal.speaks_of("request too large"):
            raise Busy(f"HTTP {refusal.status}: {excerpt(refusal.said)}", after)
        return answer

    def _refusal(self, answer: _Answer) -> Refusal | None:
        if 300 <= answer.status < 400:
            return Refusal(answer.status, f"it redirects to {answer.headers.get('location', 'nowhere')}")
        if answer.status >= 400:
            return Refusal(answer.status, answer.text)
        body = decoded(answer.text)
        if is_completion(body):
            return within_200(body, answer.text)
        # Of a page single words say little.
        is_words = isinstance(body, str) and "<" not in body
        return within_200(body, answer.text) or Refusal(meant(body if is_words else "", otherwise=200), answer.text)

    def _read(self, answer: _Answer, fields: dict[str, Any], attempts: int, *, again: bool) -> Reply | None:
        """The reading; None: the question is worth asking again."""
        try:
            reading = reply.read(decoded(answer.text), self._choices)
        except reply.Unread as error:
            if again and self._dialect.make_room(fields, error.why):
                return None
            said = excerpt(str(error)) + ("" if again else fatal.ADVICE.get(error.why, ""))
            return Reply(None, None, attempts, said, fatal.UNREAD_REMEDY if error.why in fatal.ADVICE else "")
        self._has_answered = True
        if reading.mass is None and "logprobs" in fields:
            self._dialect.note(NO_LOGPROBS)
        return Reply(reading.p_second, self._dialect.measured(reading.mass), attempts, None)

    async def _lost(self, error: openai.APIConnectionError, *, is_last: bool) -> str:
        if isinstance(error, openai.APITimeoutError):
            if not self._has_answered:
                # It may be billed all the same, and the next one would be as slow.
                raise UserError(
                    f"{self.url}: the annotator '{self.model}' has not answered within {self._timeout:g} s; raise "
                    "label.timeout, or let it think less (label.request), and run again"
                )
            return "no answer in time (label.timeout)"
        if is_last:
            # Either the endpoint has gone, which ends the run, or it cannot bear this one question.
            await self.check()
        return f"connection lost: {excerpt(_cause(error))}"

    def _failed(self, refusal: Refusal) -> str:
        """What to say of a question that was refused.

        Raises:
            UserError: every question would be.
        """
        if fatal.is_for_all(refusal, has_answered=self._has_answered):
            raise self._fatal(refusal)
        return f"HTTP {refusal.status}: {excerpt(refusal.said)}"

    def _fatal(self, refusal: Refusal, remedy: str | None = None) -> UserError:
        said = excerpt(refusal.said)
        return UserError(fatal.message(refusal, said, self.url, self.model, self._models, remedy))

    def _unreachable(self, error: openai.APIConnectionError) -> UserError:
        reason = "no answer in time" if isinstance(error, openai.APITimeoutError) else excerpt(_cause(error))
        whom = f"the annotator '{self.model}'"
        return unreachable(self.url, whom, reason, setting="label.base_url", variable="OPENAI_BASE_URL")


def base_url(config: AnnotatorConfig) -> str:
    """Where the annotator answers: label.base_url, else $OPENAI_BASE_URL; UserError as `endpoints.address`."""
    return address(
        config.base_url,
        "OPENAI_BASE_URL",
        setting="label.base_url",
        kind="an OpenAI-compatible endpoint",
        example="http://127.0.0.1:8000/v1",
        instead="; give the key in $OPENAI_API_KEY instead",
    ).removesuffix("/chat/completions")


def _api_key(url: str) -> str:
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key:
        if is_loopback(url):
            return "EMPTY"
        raise UserError(
            f"$OPENAI_API_KEY: not set, and {url} is another machine; export it (any word will do where none is asked)"
        )
    return check_key(key, "OPENAI_API_KEY")


def _cause(error: openai.APIConnectionError) -> str:
    return str(error.__cause__ or error) or type(error.__cause__).__name__
