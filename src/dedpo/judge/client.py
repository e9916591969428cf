"""A judge: one comparison in, one answer out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import httpx2
from google.genai import errors, types

from dedpo.asking.patience import Busy
from dedpo.contract.model_names import JUDGE
from dedpo.contract.sections import JudgeConfig
from dedpo.errors import UserError, excerpt
from dedpo.judge import dialect, refusals, reply
from dedpo.judge.connection import Connection, Usage, counted, said
from dedpo.judge.protocol import Unusable, body, code, text_of
from dedpo.judge.templates import Question
from dedpo.vision.images import mime_type

# Askings of one comparison by a judge that has answered others: at temperature 0 an answer seldom changes.
TRIES: Final = 2
# Comparisons without a JSON object among them, before any with one, after which a model is given up.
MALFORMED: Final = 3


@dataclass(frozen=True, slots=True)
class Reply:
    """What the judge chose, or an error; never both."""

    reading: reply.Reading | None
    usage: Usage
    error: str | None


class Client:
    """A judge that can be asked; close it when done.

    Until it `has_answered`, put one question at a time: what is wrong with endpoint or settings is found by the first.
    """

    def __init__(self, config: JudgeConfig, tell: Callable[[str], None] | None = None) -> None:
        """Find endpoint and key, without a connection yet; `tell` gets a line on what the run has to do without.

        Raises:
            UserError: no key, or it or the endpoint is malformed.
        """
        self._config = config
        self._server = Connection(config, tell)
        self._malformed = 0
        self.check = self._server.check
        self.close = self._server.close

    @property
    def has_answered(self) -> bool:
        """Whether an answer could be read."""
        return self._server.has_answered

    async def ask(self, prompt: str, first: bytes, second: bytes, *, tries: int = TRIES) -> Reply:
        """Put one comparison; a busy server is waited for, and broken moments with growing pauses.

        An answer that cannot be used is asked for again where that may help, at most `tries` times in all.

        Args:
            first, second: encoded pictures in the order shown.

        Raises:
            UserError: no other question would fare better (key refused, no such model, quota used up, endpoint gone, a
                setting that the model does not take).
        """
        usage = Usage()
        counted.set(usage)
        try:
            _ = mime_type(first), mime_type(second)
        except ValueError as error:
            return Reply(None, usage, f"unaskable: a picture is {error}")
        problem = ""
        for left in reversed(range(tries)):
            try:
                reading = self._read(await self._server.answer(Question(prompt, first, second)), usage)
            except Unusable as error:
                problem = excerpt(str(error))
                if not (left and error.may_change and self._may_do_better(error)):
                    self._give_up_on_form(error)
                    break
            except (errors.APIError, httpx2.TransportError, Busy) as error:
                problem = await self._failed(error)
                break
            else:
                self._server.has_answered = True
                return Reply(reading, usage, None)
        return Reply(None, usage, problem)

    def _read(self, answer: types.GenerateContentResponse, usage: Usage) -> reply.Reading:
        billed = answer.usage_metadata or types.GenerateContentResponseUsageMetadata()
        thoughts = billed.thoughts_token_count or 0
        usage.input_tokens += billed.prompt_token_count or 0
        usage.output_tokens += (billed.candidates_token_count or 0) + thoughts
        text, reason = text_of(answer)
        try:
            reading = reply.read(text)
        except ValueError as error:
            if reason in ("MAX_TOKENS", "LENGTH"):
                raise self._cut(thoughts) from None
            if not text.strip():
                problem = "empty answer: no text" if reason == "STOP" else f"blocked: the answer, {reason}"
                raise Unusable(problem) from None
            raise Unusable(str(error), is_malformed=True) from None
        return reading._replace(rationale=excerpt(reading.rationale, reply.RATIONALE_LENGTH))

    def _cut(self, thoughts: int) -> Exception:
        """What comes before the limit is read, if it is whole; the same question would be cut again."""
        what, remedy = refusals.of_cut(self._config, dialect.token_limit(self._config, self._server.dialect), thoughts)
        if self.has_answered:
            return Unusable(f"cut short: {what}; {remedy}", may_change=False)
        return UserError(f"{self._server.url}: judge '{self._config.model}': {what}; {remedy}")

    def _may_do_better(self, error: Unusable) -> bool:
        """Whether the question is worth putting again: in words, where no answer ever had the form."""
        if self.has_answered:
            return True
        if not error.is_malformed or not self._server.dialect.form:
            return False
        self._server.give_up(replace(self._server.dialect, form=False), excerpt(str(error)))
        return True

    def _give_up_on_form(self, error: Unusable) -> None:
        self._malformed += error.is_malformed
        if self._malformed >= MALFORMED and not self.has_answered:
            raise UserError(
                f"{self._server.url}: model '{self._config.model}' answers in another form than it is asked for "
                f"({excerpt(str(error))}), {self._malformed} times; set judge.model to one that takes a "
                f"response schema, for example to {JUDGE}"
            )

    async def _failed(self, error: Exception) -> str:
        """Why this comparison has no answer.

        Raises:
            UserError: no other would fare better.
        """
        if isinstance(error, Busy):
            return error.reason
        if isinstance(error, errors.APIError):
            refusal = refusals.final(code(error), body(error), self._config.model or "")
            if not self.has_answered:
                refusal = refusal or refusals.first(code(error), body(error), self._config.model or "")
            if refusal:
                raise self._server.fatal(refusal, error) from None
            return f"HTTP {code(error)}: {said(error)}"
        # Either the endpoint has gone, which ends the run, or it cannot bear this one question.
        await self.check()
        if not isinstance(error, httpx2.TimeoutException):
            return f"connection lost: {excerpt(str(error))}"
        if self.has_answered:
            return "no answer in time (judge.timeout)"
        raise UserError(
            f"{self._server.url}: the judge '{self._config.model}' has not answered within {self._config.timeout:g} s; "
            "raise judge.timeout, or let it think less (judge.thinking_budget)"
        )
