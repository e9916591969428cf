"""The oracle's client against scripted loopback servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dedpo.contract.sections import ScoreConfig
from dedpo.errors import UserError
from dedpo.score.oracle import ATTEMPTS, Item, Oracle, oracle_url
from dedpo.world.serve import listening

ITEMS = [Item(("dedpo-0", f"p{i}", i), f"a cat {i}", "data:image/png;base64,AA==") for i in range(3)]
GOOD = {"human_oracle": 1.5, "adherence": -0.25}


@contextmanager
def endpoint(answer: Callable[[int], Response]) -> Iterator[tuple[str, list[Any]]]:
    """A server whose n-th reply is answer(n); yields its URL and the bodies it got."""
    seen: list[Any] = []

    async def score(request: Request) -> Response:
        seen.append(json.loads(await request.body()))
        return answer(len(seen) - 1)

    with listening(Starlette(routes=[Route("/v1/score", score, methods=["POST"])])) as url:
        yield url, seen


def score(url: str) -> list[dict[str, float]]:
    async def go() -> list[dict[str, float]]:
        async with Oracle(ScoreConfig(metrics=["human_oracle", "adherence"], oracle_url=url)) as oracle:
            return await oracle.score(ITEMS)

    return asyncio.run(go())


def test_one_request_scores_a_batch() -> None:
    with endpoint(lambda _: JSONResponse([GOOD | {"more": "ignored"}] * 3)) as (url, seen):
        assert score(f"{url}/") == [GOOD] * 3
    assert seen == [{"items": [{"prompt": i.prompt, "image": i.image} for i in ITEMS]}]


def test_busy_and_broken_moments_are_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dedpo.score.oracle.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("dedpo.asking.patience.FIRST_PAUSE", 0.01)
    loading = JSONResponse({"error": {"code": 503, "message": "loading"}})
    replies = [*[Response(status_code=429)] * ATTEMPTS, Response(status_code=500), loading, JSONResponse([GOOD] * 3)]
    with endpoint(lambda n: replies[n]) as (url, seen):
        assert score(url) == [GOOD] * 3
    assert len(seen) == len(replies)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Response("who are you", 401), r"HTTP 401 .*who are you; it asks for a key"),
        (JSONResponse({"detail": "Not Found"}, 404), r"HTTP 404 .*score.oracle_url .*without /v1/score"),
        (Response(status_code=307, headers={"location": "https://else.where/"}), r"HTTP 307 .*score.oracle_url"),
        (Response("slow down", 429, headers={"retry-after": "7200"}), r"wants a pause of 7200 s .*score.max_wait"),
    ],
)
def test_a_refusal_names_what_to_put_right(answer: Response, message: str) -> None:
    with endpoint(lambda _: answer) as (url, seen), pytest.raises(UserError, match=message):
        score(url)
    assert len(seen) == 1


def test_what_stays_broken_is_said_with_the_servers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dedpo.score.oracle.FIRST_PAUSE", 0.01)
    with (
        endpoint(lambda _: JSONResponse({"error": {"message": "no\nGPU"}}, 500)) as (url, seen),
        pytest.raises(
            UserError, match=rf"{url}: HTTP 500 .* model 'dedpo-0', prompt p0 \('a cat 0'\), seed 0 .* no GPU"
        ),
    ):
        score(url)
    assert len(seen) == ATTEMPTS


def test_a_refusal_is_not_repeated() -> None:
    with (
        endpoint(lambda _: Response("too large", 413)) as (url, seen),
        pytest.raises(UserError, match="HTTP 413 .* too large"),
    ):
        score(url)
    assert len(seen) == 1


def test_an_unreachable_oracle_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dedpo.score.oracle.FIRST_PAUSE", 0.01)
    with listening(Starlette()) as url:
        pass
    with pytest.raises(UserError, match=rf"{url}: the oracle cannot be reached .* \$DEDPO_ORACLE_URL") as caught:
        score(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "null", '"3"', "true", "[]", "1e999"])
def test_a_value_that_is_no_number_names_its_sample(value: str) -> None:
    body = f'[{json.dumps(GOOD)}, {{"human_oracle": 1, "adherence": {value}}}, {json.dumps(GOOD)}]'
    with (
        endpoint(lambda _: Response(body, media_type="application/json")) as (url, _),
        pytest.raises(UserError, match=r"'adherence' of model 'dedpo-0', prompt p1 \('a cat 1'\), seed 1 is"),
    ):
        score(url)


def test_a_missing_value_names_its_sample() -> None:
    with (
        endpoint(lambda _: JSONResponse([GOOD, GOOD, {"adherence": 1}])) as (url, _),
        pytest.raises(UserError, match=r"'human_oracle' of model 'dedpo-0', prompt p2 .* seed 2 is None"),
    ):
        score(url)


@pytest.mark.parametrize("body", ["[]", "{}", "null", "<html>", ""])
def test_another_kind_of_answer_is_no_oracles(body: str) -> None:
    with endpoint(lambda _: Response(body)) as (url, _), pytest.raises(UserError, match="is this a scoring endpoint"):
        score(url)


def test_where_the_oracle_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDPO_ORACLE_URL", "http://env:1/")
    assert oracle_url(ScoreConfig()) == "http://env:1"
    assert oracle_url(ScoreConfig(oracle_url="https://here")) == "https://here"
    monkeypatch.delenv("DEDPO_ORACLE_URL")
    with pytest.raises(UserError, match=r"score.oracle_url: not set, nor is \$DEDPO_ORACLE_URL"):
        oracle_url(ScoreConfig())


@pytest.mark.parametrize("url", ["127.0.0.1:1", "http://[", "file:///x"])
def test_a_malformed_url_is_shown_how_to_write_it(url: str) -> None:
    with pytest.raises(UserError, match="write it like http://"):
        oracle_url(ScoreConfig(oracle_url=url))


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    with pytest.raises(UserError, match="user name or password") as caught:
        oracle_url(ScoreConfig(oracle_url="http://me:hunter2@host"))
    assert "hunter2" not in str(caught.value)
