"""OpenAI's chat-completions protocol, as far as a comparison of two pictures needs it."""

from __future__ import annotations

import math
import random
import time
import uuid
from dataclasses import dataclass
from typing import Any

MAX_TOP_LOGPROBS = 20
# vLLM's stand-in for minus infinity, which JSON lacks.
LOWEST_LOGPROB = -9999.0


class Refusal(Exception):  # noqa: N818
    """A request that cannot be served, with what OpenAI's error object needs."""

    def __init__(self, message: str, status: int = 400, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


@dataclass(frozen=True)
class ChatRequest:
    """A checked request.

    `text` is that of all messages, in order; `choices` are the words for the first and the second picture;
    `top_logprobs` is None where no log-probabilities were asked for.
    """

    model: str
    text: str
    image_urls: list[str]
    choices: tuple[str, str]
    top_logprobs: int | None
    max_tokens: int | None
    temperature: float
    seed: int | None


def parse_request(body: dict[str, Any]) -> ChatRequest:
    """Read and check a request's body; fields that are not known are ignored, as vLLM does.

    Raises:
        Refusal: a field is missing, has a wrong value or asks for something that is not offered.
    """
    model = body.get("model")
    if not isinstance(model, str):
        raise Refusal("model must be a text", param="model")
    if body.get("stream"):
        raise Refusal("streaming is not offered", param="stream")
    if _integer(body, "n", 1, 1) != 1:
        raise Refusal("n: one completion a request is offered", param="n")
    text, urls = _read_messages(body.get("messages"))
    return ChatRequest(
        model=model,
        text=text,
        image_urls=urls,
        choices=_choices(body),
        top_logprobs=_top_logprobs(body),
        max_tokens=_integer(body, "max_completion_tokens", _integer(body, "max_tokens", None, 1), 1),
        temperature=_temperature(body),
        seed=_integer(body, "seed", None, None),
    )


def _read_messages(messages: object) -> tuple[str, list[str]]:
    if not isinstance(messages, list) or not messages:
        raise Refusal("messages must be a list that is not empty", param="messages")
    texts: list[str] = []
    urls: list[str] = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts if isinstance(parts, list) else [None]:
            kind, value = _part(part)
            (texts if kind == "text" else urls).append(value)
    return "\n".join(texts), urls


def _part(part: object) -> tuple[str, str]:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(part, dict) and kind == "text" and isinstance(part.get("text"), str):
        return "text", part["text"]
    if isinstance(part, dict) and kind == "image_url" and isinstance(part.get("image_url"), dict):
        url = part["image_url"].get("url")
        if isinstance(url, str):
            return "image_url", url
    raise Refusal("a message's content must be a text, or a list of text and image_url parts", param="messages")


def _choices(body: dict[str, Any]) -> tuple[str, str]:
    wanted = body.get("structured_outputs")
    if wanted is None:
        return "A", "B"
    choice = wanted.get("choice") if isinstance(wanted, dict) else None
    is_pair = isinstance(choice, list) and len(choice) == 2 and all(isinstance(c, str) and c for c in choice)
    if not is_pair or not isinstance(choice, list) or choice[0] == choice[1]:
        raise Refusal(
            "structured_outputs.choice must be two different texts: for the first image, for the second",
            param="structured_outputs",
        )
    return choice[0], choice[1]


def _top_logprobs(body: dict[str, Any]) -> int | None:
    top = _integer(body, "top_logprobs", 0, 0)
    assert top is not None
    if top > MAX_TOP_LOGPROBS:
        raise Refusal(f"top_logprobs is {top}; at most {MAX_TOP_LOGPROBS} are offered", param="top_logprobs")
    if not body.get("logprobs"):
        if top:
            raise Refusal("top_logprobs needs logprobs: true", param="top_logprobs")
        return None
    return top


def _integer(body: dict[str, Any], name: str, default: int | None, least: int | None) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
        raise Refusal(f"{name} must be a whole number{'' if least is None else f' from {least} up'}", param=name)
    return value


def _temperature(body: dict[str, Any]) -> float:
    value = body.get("temperature")
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2:
        raise Refusal("temperature must lie between 0 and 2", param="temperature")
    return float(value)


def completion(asked: ChatRequest, logit: float) -> dict[str, Any]:
    """A chat.completion of one token, one of the two choices.

    Args:
        logit: of 'the second picture is better'; temperature 0 picks the likelier choice (the first in a tie).
    """
    logprobs = {asked.choices[0]: _log_sigmoid(-logit), asked.choices[1]: _log_sigmoid(logit)}
    word = asked.choices[_picks_second(asked, logit)]
    prompt_tokens = len(asked.text.split()) + len(asked.image_urls)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": word},
        "logprobs": _logprobs(word, logprobs, asked.top_logprobs),
        "finish_reason": "length" if asked.max_tokens == 1 else "stop",
    }
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": [choice],
        # A word is a token here, and so is a picture.
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 1, "total_tokens": prompt_tokens + 1},
    }


def _picks_second(asked: ChatRequest, logit: float) -> bool:
    if asked.temperature == 0:
        return logit > 0
    draw = random.Random(asked.seed).random()  # noqa: S311
    return draw < math.exp(_log_sigmoid(logit / asked.temperature))


def _log_sigmoid(x: float) -> float:
    return max(LOWEST_LOGPROB, -math.log1p(math.exp(-x)) if x > -700 else x)


def _logprobs(word: str, logprobs: dict[str, float], top: int | None) -> dict[str, Any] | None:
    if top is None:
        return None
    best = sorted(logprobs, key=lambda w: -logprobs[w])[:top]
    chosen = _token(word, logprobs[word]) | {"top_logprobs": [_token(w, logprobs[w]) for w in best]}
    return {"content": [chosen]}


def _token(word: str, logprob: float) -> dict[str, Any]:
    return {"token": word, "logprob": logprob, "bytes": list(word.encode())}
