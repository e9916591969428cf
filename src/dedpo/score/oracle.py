"""The client of a scoring endpoint: POST /v1/score with a batch of prompts and pictures, numbers back."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any, Self

import httpx

from dedpo.asking.endpoints import address
from dedpo.asking.patience import Busy, Patience, retry_after
from dedpo.asking.statuses import is_busy
from dedpo.contract.sections import ScoreConfig
from dedpo.errors import UserError, excerpt
from dedpo.score import plan

# Tries of one request in broken moments, with pauses of 0.25, 0.5, 1 and 2 s between them; a busy server is outlasted.
ATTEMPTS = 5
FIRST_PAUSE = 0.25
CONNECT_SECONDS = 10.0
FAILED = 500
# A redirect is not followed: the pictures go to the address that was named.
_ADDRESS = "; put score.oracle_url (or $DEDPO_ORACLE_URL) right: the address without /v1/score"
_KEY = "; it asks for a key, and dedpo sends it none: name an address that asks for none in score.oracle_url"
_REMEDIES = dict.fromkeys((301, 302, 307, 308, 404, 405), _ADDRESS) | dict.fromkeys((401, 403), _KEY)


@dataclass(frozen=True)
class Item:
    """One sample to score, its picture as a data URL; `key` (model, prompt_id, seed) names it in messages only."""

    key: tuple[str, str, int]
    prompt: str
    image: str


class Oracle:
    """An open connection to the endpoint; an async context manager."""

    def __init__(self, config: ScoreConfig) -> None:
        """Find the endpoint, without a connection yet.

        Raises:
            UserError: neither score.oracle_url nor $DEDPO_ORACLE_URL is set, or it is no http(s) URL.
        """
        self.url = oracle_url(config)
        self.metrics = plan.oracle_metrics(config)
        timeout = httpx.Timeout(config.timeout, connect=min(config.timeout, CONNECT_SECONDS))
        self._http = httpx.AsyncClient(timeout=timeout)
        self._max_wait = config.max_wait
        self._patience = Patience(
            f"the oracle at {self.url}",
            max_wait=config.max_wait,
            setting="score.max_wait",
            remedy="lower score.concurrency",
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def score(self, items: list[Item]) -> list[dict[str, float]]:
        """Each item's values of `metrics`, in order; retried on lost connections and 5xx, 429 and 503 are outlasted.

        Raises:
            UserError: the endpoint cannot be reached or refuses, or an answer is missing or not finite (names the
                model, the prompt and the seed).
        """
        body = {"items": [{"prompt": i.prompt, "image": i.image} for i in items]}
        answer = await self._post(body, items[0])
        if not isinstance(answer, list) or len(answer) != len(items):
            raise UserError(
                f"{self.url}: expected a list of {len(items)} scores from POST /v1/score, got "
                f"{excerpt(json.dumps(answer))}; is this a scoring endpoint?"
            )
        return [self._checked(scores, item) for scores, item in zip(answer, items, strict=True)]

    async def _post(self, body: dict[str, Any], first: Item) -> Any:
        for attempt in range(ATTEMPTS):
            is_last = attempt == ATTEMPTS - 1
            try:
                response = await self._patience.outlast(lambda: self._once(body))
            except Busy as busy:
                raise UserError(
                    f"{self.url}: {busy.reason} to samples from {_named(first)} on, for {self._max_wait:.0f} s "
                    "(score.max_wait); run again later"
                ) from None
            except httpx.TransportError as error:
                if is_last:
                    raise UserError(
                        f"{self.url}: the oracle cannot be reached ({str(error) or type(error).__name__}); start it, "
                        "or put score.oracle_url (or $DEDPO_ORACLE_URL) right"
                    ) from None
            else:
                status = _status(response)
                if status < 300:
                    return self._decoded(response)
                if is_last or status < FAILED:
                    raise UserError(
                        f"{self.url}: HTTP {status} for {len(body['items'])} samples from {_named(first)} on: "
                        f"{_said(response)}{_REMEDIES.get(status, '')}"
                    )
            await asyncio.sleep(FIRST_PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, body: dict[str, Any]) -> httpx.Response:
        response = await self._http.post(f"{self.url}/v1/score", json=body)
        if is_busy(_status(response), response.text):
            raise Busy(f"HTTP {_status(response)}: {_said(response)}", retry_after(response.headers, response.text))
        return response

    def _decoded(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise UserError(
                f"{self.url}: POST /v1/score did not answer in JSON ({excerpt(response.text)}); is this a scoring "
                "endpoint?"
            ) from None

    def _checked(self, scores: object, item: Item) -> dict[str, float]:
        values: dict[str, float] = {}
        for metric in self.metrics:
            value = scores.get(metric) if isinstance(scores, dict) else None
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UserError(
                    f"{self.url}: '{metric}' of {_named(item)} is {excerpt(repr(value))}, not a number; "
                    "look at that picture, or ask whoever runs the oracle"
                )
            values[metric] = float(value)
        return values


def oracle_url(config: ScoreConfig) -> str:
    """Where the oracle answers: score.oracle_url, else $DEDPO_ORACLE_URL; UserError as `endpoints.address`."""
    return address(
        config.oracle_url,
        "DEDPO_ORACLE_URL",
        setting="score.oracle_url",
        kind="a scoring endpoint",
        example="http://127.0.0.1:8765",
        instead=", which would be written down; leave it out",
    )


def _named(item: Item) -> str:
    model, prompt_id, seed = item.key
    return f"model '{model}', prompt {prompt_id} ('{excerpt(item.prompt)}'), seed {seed}"


def _status(response: httpx.Response) -> int:
    """The status, or that of an error in HTTP 200."""
    if response.status_code != httpx.codes.OK:
        return response.status_code
    try:
        code = response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return response.status_code
    return int(code) if str(code).isdecimal() else response.status_code


def _said(response: httpx.Response) -> str:
    try:
        return excerpt(str(response.json()["error"]["message"]))
    except (ValueError, KeyError, TypeError):
        return excerpt(response.text)
