"""A scripted stand-in of Gemini's API on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dedpo.world.serve import listening

KEY = "AIzaSy-very-secret-0123456789"
CRITERIA = ("general_preference", "visual_appeal", "prompt_alignment")
Body = dict[str, Any]
Answerer = Callable[[int, Body], Response]


@contextmanager
def scripted(answer: Answerer, model: Response | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server whose n-th answer is answer(n, body); yields its URL and the questions it got."""
    seen: list[dict[str, Any]] = []

    async def generate(request: Request) -> Response:
        body = json.loads(await request.body())
        seen.append({"headers": dict(request.headers), "path": request.url.path, "body": body})
        return answer(len(seen) - 1, body)

    async def describe(request: Request) -> Response:
        return model or JSONResponse({"name": request.url.path.removeprefix("/v1beta/")})

    routes = [
        Route("/v1beta/models/{call}", generate, methods=["POST"]),
        Route("/v1beta/models/{call}", describe, methods=["GET"]),
    ]
    with listening(Starlette(routes=routes)) as url:
        yield url, seen


def says(*choices: str, rationale: str = "It is so.") -> Response:
    """One choice for all criteria, or three."""
    words = choices if len(choices) == 3 else choices * 3
    return writes(json.dumps({"rationale": rationale, **dict(zip(CRITERIA, words, strict=True))}))


def writes(text: str, finish: str = "STOP", **usage: int) -> Response:
    content = {"parts": [{"text": text}], "role": "model"}
    body = {
        "candidates": [{"content": content, "finishReason": finish, "index": 0}],
        "usageMetadata": {"promptTokenCount": 600, "candidatesTokenCount": 20, "totalTokenCount": 620} | usage,
        "modelVersion": "judge-1",
    }
    return JSONResponse(body)


def blocks(reason: str = "SAFETY") -> Response:
    """The answer was stopped: a candidate without content."""
    return JSONResponse({"candidates": [{"finishReason": reason, "index": 0}], "usageMetadata": {}})


def blocks_question(reason: str = "PROHIBITED_CONTENT") -> Response:
    return JSONResponse({"promptFeedback": {"blockReason": reason}})


def refuses(status: int, message: str = "no", reason: str | None = None) -> Response:
    error: dict[str, Any] = {"code": status, "message": message, "status": "SOMETHING"}
    if reason is not None:
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]
    return JSONResponse({"error": error}, status_code=status)


def texts(body: Body) -> list[str]:
    return [p["text"] for p in body["contents"][0]["parts"] if "text" in p]


def prompt_of(body: Body) -> str:
    asked = next(text for text in texts(body) if text.startswith("The prompt: "))
    quoted = asked.removeprefix("The prompt: ").rpartition("\nThe first image:")[0]
    return str(json.loads(quoted))


def pictures(body: Body) -> list[bytes]:
    return [
        base64.urlsafe_b64decode(p["inlineData"]["data"]) for p in body["contents"][0]["parts"] if "inlineData" in p
    ]


def opinion(body: Body) -> Response:
    """A fixed function of prompt and pictures, in the order shown."""
    digest = hashlib.sha256(prompt_of(body).encode() + b"".join(pictures(body))).digest()
    return says(*(("first", "second", "tie")[byte % 3] for byte in digest[:3]), rationale=f"because {digest[3]}")
