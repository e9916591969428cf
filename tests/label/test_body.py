"""Bodies as servers send them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from dedpo.label.body import decoded, is_completion
from dedpo.label.reply import read

ANSWER: dict[str, Any] = {"choices": [{"message": {"content": "B"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize("text", ["{}", "\ufeff{}", "\r\n\n {}", "[{}]"])
def test_a_mark_lines_and_a_list_around_it_are_taken_off(text: str) -> None:
    assert decoded(text.replace("{}", json.dumps(ANSWER))) == ANSWER


@pytest.mark.parametrize("text", ["", "<html>", "data: <html>", "data: 3", "[" * 100_000, '{"choices": [', "null"])
def test_what_is_none_is_no_completion(text: str) -> None:
    assert not is_completion(decoded(text))


def stream(*events: Any) -> str:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


def delta(finish: str | None = None, logprobs: Any = None, **said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish, "logprobs": logprobs}]}


def test_a_stream_that_nobody_asked_for_is_read_with_its_probabilities() -> None:
    top = [{"token": t, "logprob": math.log(p)} for t, p in (("B", 0.75), ("A", 0.25))]
    body = decoded(
        stream(
            delta(role="assistant", content=""),
            delta(reasoning_content="A?"),
            delta(content="B", logprobs={"content": [{**top[0], "top_logprobs": top}]}),
            delta("stop"),
            {"choices": [], "usage": {"total_tokens": 3}},
        )
    )
    assert read(body, ("A", "B")) == (pytest.approx(0.75), pytest.approx(1.0))
    assert body["choices"][0]["message"]["reasoning_content"] == "A?"


def test_an_error_in_a_stream_is_the_error() -> None:
    assert decoded(stream({"error": {"code": 429}})) == {"error": {"code": 429}}
