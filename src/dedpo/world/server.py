"""The world behind HTTP: annotators speak OpenAI's chat completions, the judge Gemini's API, and there is the oracle.

It looks at the prompt and the pixels it was sent and at nothing else; it keeps no state and fetches nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dedpo.vision import images
from dedpo.world import chat, gemini, judges, oracle, prompts
from dedpo.world.annotators import ANNOTATORS
from dedpo.world.render import SIZE, Images

MAX_PIXELS = 1_000_000


def app(key: str | None = None) -> Starlette:
    """The ASGI application.

    GET /health and /v1/models; POST /v1/chat/completions and /v1/score; GET /v1beta/models/{model} and POST
    /v1beta/models/{model}:generateContent (/v1beta1, too).

    Args:
        key: what 'Authorization: Bearer …' must carry under /v1, x-goog-api-key under /v1beta; None: anything goes.
    """
    # The measures' calibration takes a moment: before the first request, not during it.
    oracle.human_reward([prompts.every_prompt()[0]], np.zeros((1, SIZE, SIZE, 3), np.uint8))
    return Starlette(
        routes=[
            Route("/health", _health),
            Route("/v1/models", _models),
            Route("/v1/chat/completions", _chat_completions, methods=["POST"]),
            Route("/v1/score", _score, methods=["POST"]),
            *(Route(f"/{v}/models/{{call}}", _gemini, methods=["GET", "POST"]) for v in ("v1beta", "v1beta1")),
        ],
        middleware=[] if key is None else [Middleware(_KeyCheck, key=key)],
        exception_handlers={HTTPException: _http_error, chat.Refusal: _refusal},
    )


class _KeyCheck:
    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self.bearer = f"Bearer {key}".encode()
        self.key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        headers = dict(scope["headers"]) if path else {}
        refusal = None
        if path.startswith("/v1/") and not hmac.compare_digest(headers.get(b"authorization", b""), self.bearer):
            refusal = chat.Refusal("Incorrect API key provided.", 401, "invalid_api_key")
        elif _is_gemini(path) and not hmac.compare_digest(headers.get(b"x-goog-api-key", b""), self.key):
            message = "API key not valid. Please pass a valid API key."
            refusal = chat.Refusal(message, 400, gemini.API_KEY_INVALID)
        if refusal is not None:
            await _error(refusal, path)(scope, receive, send)
            return
        await self.app(scope, receive, send)


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _models(_: Request) -> Response:
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "dedpo"} for name in ANNOTATORS]
    return JSONResponse({"object": "list", "data": models})


async def _chat_completions(request: Request) -> Response:
    asked = chat.parse_request(await _body(request))
    annotator = ANNOTATORS.get(asked.model)
    if annotator is None:
        raise chat.Refusal(f"The model `{asked.model}` does not exist.", 404, "model_not_found", "model")
    return JSONResponse(chat.completion(asked, annotator(*_shown(asked.text, asked.image_urls, "messages"))))


async def _gemini(request: Request) -> Response:
    model, colon, method = request.path_params["call"].partition(":")
    if model not in judges.JUDGES:
        raise chat.Refusal(f"models/{model} is not found for API version v1beta.", 404)
    if not colon and request.method == "GET":
        return JSONResponse(gemini.description(model))
    if method != "generateContent" or request.method != "POST":
        raise chat.Refusal(f"{request.method} {request.url.path}: this model offers POST :generateContent", 404)
    asked = gemini.parse_request(await _body(request))
    prompt, first, second = _shown(asked.text, asked.image_urls, "contents")
    said = gemini.answer(asked, judges.compare(prompt, first, second))
    return JSONResponse(gemini.response(model, asked, said))


def _shown(text: str, urls: list[str], where: str) -> tuple[prompts.Prompt, Images, Images]:
    """The prompt and the two pictures of a request.

    Raises:
        Refusal: it holds something else.
    """
    prompt = prompts.parse(text)
    if prompt is None:
        raise chat.Refusal(f"{where} hold no prompt of this world, such as 'a photo of a red circle on white'")
    if len(urls) != 2:
        raise chat.Refusal(f"{where} hold {len(urls)} images; this model compares exactly two")
    return prompt, _picture(urls[0]), _picture(urls[1])


async def _score(request: Request) -> Response:
    body = await _body(request)
    is_batch = "items" in body
    items = body["items"] if is_batch else [body]
    if not isinstance(items, list):
        raise chat.Refusal("items must be a list of {prompt, image}", param="items")
    scores = _scores(items) if items else []
    return JSONResponse(scores if is_batch else scores[0])


def _scores(items: list[Any]) -> list[dict[str, float]]:
    asked, pictures = [], []
    for i, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("prompt"), str):
            raise chat.Refusal(f"item {i}: prompt is missing")
        prompt = prompts.parse(item["prompt"])
        if prompt is None:
            raise chat.Refusal(f"item {i}: {item['prompt'][:80]!r} is no prompt of this world")
        try:
            pictures.append(_picture(item.get("image")))
        except chat.Refusal as refusal:
            raise chat.Refusal(f"item {i}: {refusal}") from None
        asked.append(prompt)
    shown = np.stack(pictures)
    liked, adherence = oracle.human_reward(asked, shown), oracle.measure(asked, shown)["adherence"]
    return [{"human_oracle": float(h), "adherence": float(a)} for h, a in zip(liked, adherence, strict=True)]


def _picture(url: object) -> Images:
    """The pixels of a data URL, shape (16, 16, 3); of a larger square their means.

    Raises:
        Refusal: not such a URL, or not such a picture.
    """
    if not isinstance(url, str) or not url.startswith("data:image/"):
        raise chat.Refusal("images must be sent as data URLs (data:image/png;base64,…); nothing is fetched")
    header, _, payload = url.partition(",")
    if not header.endswith(";base64"):
        raise chat.Refusal("data URLs must be base64")
    try:
        image = images.decode(base64.b64decode(payload, validate=True), MAX_PIXELS)
    except (binascii.Error, ValueError) as error:
        raise chat.Refusal(f"an image cannot be decoded: {error}") from None
    if image.width != image.height or image.width % SIZE:
        raise chat.Refusal(f"an image is {image.width}×{image.height} pixels; this world's are {SIZE}×{SIZE}")
    return np.asarray(image.reduce(image.width // SIZE))


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise chat.Refusal("the body is no valid JSON") from None
    if not isinstance(body, dict):
        raise chat.Refusal("the body must be a JSON object")
    return body


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _is_gemini(path: str) -> bool:
    return path.startswith(("/v1beta/", "/v1beta1/"))


def _error(refusal: chat.Refusal, path: str) -> JSONResponse:
    if _is_gemini(path):
        return JSONResponse(gemini.error(refusal), status_code=refusal.status)
    kind = "invalid_request_error" if refusal.status < 500 else "server_error"
    error = {"message": str(refusal), "type": kind, "param": refusal.param, "code": refusal.code}
    return JSONResponse({"error": error}, status_code=refusal.status)


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, chat.Refusal)
    return _error(error, request.url.path)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = chat.Refusal(f"{request.method} {request.url.path}: {error.detail}", error.status_code)
    return _error(refusal, request.url.path)
