"""The client against real loopback servers: the world's, and scripted ones that misbehave."""

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

from dedpo.contract.sections import LabelConfig
from dedpo.errors import UserError
from dedpo.label.client import Client, Reply
from dedpo.label.templates import messages, template
from dedpo.world.serve import listening

QUESTION = template("pairwise-v1")
MESSAGES = messages(QUESTION, "a cat", "data:image/png;base64,AA==", "data:image/png;base64,BB==")
KEY = "sk-very-secret-0123456789"
Answerer = Callable[[int, dict[str, Any]], Response]


@contextmanager
def endpoint(answer: Answerer, models: Response | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server whose n-th chat completion is answer(n, body); yields its base URL and the requests it got."""
    seen: list[dict[str, Any]] = []

    async def chat(request: Request) -> Response:
        body = json.loads(await request.body())
        seen.append({"headers": dict(request.headers), "body": body})
        return answer(len(seen) - 1, body)

    async def list_models(_: Request) -> Response:
        return models or JSONResponse({"object": "list", "data": [{"id": "vlm-7b"}]})

    routes = [Route("/v1/chat/completions", chat, methods=["POST"]), Route("/v1/models", list_models)]
    with listening(Starlette(routes=routes)) as url:
        yield f"{url}/v1", seen


def says(text: str) -> Response:
    return JSONResponse({"choices": [{"message": {"content": text}}]})


def refuses(status: int, message: str = "no") -> Response:
    return JSONResponse({"error": {"message": message}}, status_code=status, headers={"retry-after-ms": "1"})


def ask(url: str | None, **settings: Any) -> Reply:
    async def go() -> Reply:
        client = Client(LabelConfig(base_url=url, model="vlm-7b", **settings), QUESTION.choices)
        try:
            await client.check()
            return await client.ask(MESSAGES)
        finally:
            await client.close()

    return asyncio.run(go())


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def test_the_request_is_what_vllm_expects() -> None:
    with endpoint(lambda *_: says("B")) as (url, seen):
        assert ask(url) == Reply(1.0, None, 1, None)
    body = seen[0]["body"]
    assert body.pop("messages") == MESSAGES
    assert body == {
        "model": "vlm-7b",
        "max_tokens": 16,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 20,
        "structured_outputs": {"choice": ["A", "B"]},
    }
    assert seen[0]["headers"]["authorization"] == f"Bearer {KEY}"


def test_busy_and_broken_moments_are_waited_out_and_counted() -> None:
    with endpoint(lambda n, _: [refuses(429), refuses(500), says("A")][n]) as (url, _):
        assert ask(url) == Reply(0.0, None, 3, None)


def test_a_request_that_keeps_failing_is_an_error_with_its_attempts() -> None:
    with endpoint(lambda *_: refuses(500, "broken\nby \x1b[1mfar")) as (url, seen):
        assert ask(url, max_retries=2) == Reply(None, None, 3, "HTTP 500: broken by [1mfar")
    assert len(seen) == 3


def test_a_bad_request_is_not_repeated() -> None:
    with endpoint(lambda *_: refuses(400, "image too large")) as (url, _):
        assert ask(url) == Reply(None, None, 1, "HTTP 400: image too large")


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"[]", b'{"choices": [', b"\xff"])
def test_what_is_no_chat_completion_is_said_at_the_first(body: bytes) -> None:
    with (
        endpoint(lambda *_: Response(body, media_type="application/json")) as (url, seen),
        pytest.raises(UserError, match="no chat completion comes from .*label.base_url"),
    ):
        ask(url)
    assert len(seen) == 1


def test_a_first_answer_that_is_slow_names_the_setting() -> None:
    async def dawdle(_: Request) -> Response:
        await asyncio.sleep(0.6)
        return says("A")

    async def list_models(_: Request) -> Response:
        return JSONResponse({"data": []})

    routes = [Route("/v1/chat/completions", dawdle, methods=["POST"]), Route("/v1/models", list_models)]
    with (
        listening(Starlette(routes=routes)) as url,
        pytest.raises(UserError, match=r"not answered within 0.2 s; raise label.timeout"),
    ):
        ask(f"{url}/v1", timeout=0.2)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_run_without_repeating_the_key(status: int) -> None:
    with (
        endpoint(lambda *_: refuses(status, f"Incorrect API key: {KEY}")) as (url, seen),
        pytest.raises(UserError, match=rf"refused the key for model 'vlm-7b' \(HTTP {status}") as caught,
    ):
        ask(url)
    assert KEY not in str(caught.value)
    assert url in str(caught.value)
    assert len(seen) == 1


def test_a_key_refused_at_the_door_costs_no_question() -> None:
    with (
        endpoint(lambda *_: says("A"), models=refuses(401)) as (url, seen),
        pytest.raises(UserError, match=r"put \$OPENAI_API_KEY right"),
    ):
        ask(url)
    assert seen == []


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with (
        endpoint(lambda *_: refuses(404, "no such model")) as (url, _),
        pytest.raises(UserError, match=r"no model 'vlm-7b' there .* set label.model: it has vlm-7b"),
    ):
        ask(url)


@pytest.mark.parametrize("models", [refuses(404), refuses(500), Response(b"?"), JSONResponse([1])])
def test_an_endpoint_need_not_list_its_models(models: Response) -> None:
    with endpoint(lambda *_: says("A"), models=models) as (url, _):
        assert ask(url).error is None


def test_an_unreachable_endpoint_is_said_at_once() -> None:
    with listening(Starlette()) as url:
        pass
    with pytest.raises(UserError, match=rf"{url}/v1: the annotator 'vlm-7b' cannot be reached .*run again") as caught:
        ask(f"{url}/v1")
    assert "\n" not in str(caught.value)


def test_the_endpoint_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(lambda *_: says("A")) as (url, _):
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/")
        assert ask(None).error is None
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    with pytest.raises(UserError, match=r"label.base_url: not set, nor is \$OPENAI_BASE_URL"):
        ask(None)


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://x/v1", "http://[/v1", "localhost"])
def test_a_malformed_endpoint_is_shown_how_to_write_it(url: str) -> None:
    with pytest.raises(UserError, match=r"label.base_url: .* write it like http://127.0.0.1:8000/v1"):
        ask(url)


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    with pytest.raises(UserError, match="holds a user name or password") as caught:
        ask("https://me:hunter2@host/v1")
    assert "hunter2" not in str(caught.value)


def test_only_loopback_does_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with endpoint(lambda *_: says("A")) as (url, seen):
        assert ask(url).error is None
    assert seen[0]["headers"]["authorization"] == "Bearer EMPTY"
    for host in ("localhost", "[::1]", "127.0.0.2"):
        assert Client(LabelConfig(base_url=f"http://{host}:8000/v1"), QUESTION.choices).model
    with pytest.raises(UserError, match=r"\$OPENAI_API_KEY: not set"):
        ask("https://api.example.com/v1")


def test_a_key_from_a_file_may_end_in_a_newline_but_not_hold_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    with endpoint(lambda *_: says("A")) as (url, seen):
        ask(url)
    assert seen[0]["headers"]["authorization"] == f"Bearer {KEY}"
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(UserError, match="copy it again") as caught:
        ask(url)
    assert KEY not in str(caught.value)
