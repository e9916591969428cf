"""How servers that speak Gemini's generateContent differ from each other; docs/endpoints.md says where it was read.

Each behaviour stands before one that answers: it refuses, or hands on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, Response

from tests.judge.server import Body, opinion, writes

Behaviour = Callable[[int, Body], Response | None]


def google(status: int, message: str, word: str = "INVALID_ARGUMENT", *details: dict[str, Any]) -> Response:
    error: dict[str, Any] = {"code": status, "message": message, "status": word}
    return JSONResponse({"error": error | ({"details": list(details)} if details else {})}, status_code=status)


def exhausted(message: str, *details: dict[str, Any]) -> Response:
    return google(429, message, "RESOURCE_EXHAUSTED", *details)


def denied(message: str) -> Response:
    return google(403, message, "PERMISSION_DENIED")


def failed(message: str) -> Response:
    return google(400, message, "FAILED_PRECONDITION")


def litellm(status: int, kind: str, inner: str) -> Response:
    """A proxy that quotes the service behind it, as JSON within a text."""
    quoted = json.dumps({"error": {"code": status, "message": inner, "status": "INVALID_ARGUMENT"}}, indent=2)
    error = {
        "message": f"litellm.{kind}: VertexAIException - {quoted}",
        "type": None,
        "param": None,
        "code": str(status),
    }
    return JSONResponse({"error": error}, status_code=status)


def pydantic(*where: str) -> Response:
    """FastAPI, where a request's model forbids what it does not know; it repeats the input."""
    detail = {
        "type": "extra_forbidden",
        "loc": ["body", *where],
        "msg": "Extra inputs are not permitted",
        "input": {"x": 0},
    }
    return JSONResponse({"detail": [detail]}, status_code=422)


def config_of(body: Body) -> dict[str, Any]:
    found: dict[str, Any] = body.get("generationConfig", {})
    return found


def thinking_of(body: Body) -> dict[str, Any]:
    """In camel case; Google's client sends some of it in snake case, and Google takes both."""
    found: dict[str, Any] = config_of(body).get("thinkingConfig", {})
    return {
        {"thinking_budget": "thinkingBudget", "thinking_level": "thinkingLevel"}.get(k, k): v for k, v in found.items()
    }


def refusing(has: Callable[[Body], object], refusal: Callable[[], Response]) -> Behaviour:
    return lambda _, body: refusal() if has(body) else None


def unknown_name(*names: str) -> Behaviour:
    """Protobuf's JSON: every name that it does not know, in one message."""

    def behave(_: int, body: Body) -> Response | None:
        inside = [n for n in names if n in config_of(body)]
        outside = [n for n in names if n in body]
        told = [f"Unknown name \"{n}\" at 'generation_config': Cannot find field." for n in inside]
        told += [f'Unknown name "{n}": Cannot find field.' for n in outside]
        return google(400, "Invalid JSON payload received. " + "\n".join(told)) if told else None

    return behave


def deaf(_: int, body: Body) -> Response | None:
    """A proxy that hands on the contents and nothing else: the model answers in prose unless they say how."""
    said = " ".join(p.get("text", "") for c in body["contents"] for p in c["parts"])
    return None if "JSON" in said else writes("I like the first image better, though the second is sharper.")


def dressed(change: Callable[[str], str], finish: str = "STOP") -> Behaviour:
    def behave(_: int, body: Body) -> Response:
        said = json.loads(bytes(opinion(body).body))["candidates"][0]["content"]["parts"][0]["text"]
        return writes(change(said), finish)

    return behave


def thoughts_first(_: int, body: Body) -> Response:
    """A summary of the thought in a part of its own, with a verdict that was thrown away."""
    said = json.loads(bytes(opinion(body).body))
    parts = said["candidates"][0]["content"]["parts"]
    parts.insert(0, {"text": '{"general_preference": "tie"}', "thought": True})
    return JSONResponse(said)


def retry_info(seconds: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": seconds}


def quota(*ids: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": i} for i in ids]}


def at_times(refusals: dict[int, Response]) -> Behaviour:
    """Refuse the n-th requests so."""
    return lambda n, _: refusals.get(n)
