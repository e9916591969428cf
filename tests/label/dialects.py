"""Chat completions as different servers speak them: one opinion about two pictures, in many mouths.

Each function below takes a request's body and says what its kind of server would; docs/endpoints.md names where such
behaviour was read. The opinion is the world's biased annotator, so labels can be compared with the plain server's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dedpo.world import server as world
from dedpo.world.annotators import biased_vlm
from dedpo.world.serve import listening

Body = dict[str, Any]
Server = Callable[[Body], Response]
Tokens = list[tuple[str, dict[str, float]]]


@contextmanager
def speaking(answer: Server, models: Response | None = None) -> Iterator[tuple[str, list[tuple[Body, int]]]]:
    """Serve; yields the base URL, and each request's body with the status that it got."""
    seen: list[tuple[Body, int]] = []

    async def chat(request: Request) -> Response:
        body = json.loads(await request.body())
        response = answer(body)
        seen.append((body, response.status_code))
        return response

    async def list_models(_: Request) -> Response:
        return models or JSONResponse({"object": "list", "data": [{"id": "biased-vlm"}]})

    routes = [Route("/v1/chat/completions", chat, methods=["POST"]), Route("/v1/models", list_models)]
    with listening(Starlette(routes=routes)) as url:
        yield f"{url}/v1", seen


def second(body: Body) -> float:
    """P(second picture) by the opinion."""
    content = body["messages"][-1]["content"]
    text = "\n".join(p["text"] for p in content if p["type"] == "text")
    urls = [p["image_url"]["url"] for p in content if p["type"] == "image_url"]
    return 1 / (1 + math.exp(-biased_vlm(*world._shown(text, urls, "messages"))))


def letter(body: Body) -> str:
    return "B" if second(body) > 0.5 else "A"


def limit(body: Body) -> int:
    return int(body.get("max_completion_tokens") or body.get("max_tokens") or 10_000)


def spread(body: Body, mass: float = 1.0) -> dict[str, float]:
    """The two letters' probabilities, `mass` together."""
    p = second(body)
    return {"A": mass * (1 - p), "B": mass * p}


def says(
    text: str | None, tokens: Tokens | None = None, finish: str = "stop", most: int = 20, **message: Any
) -> Response:
    """A completion; tokens are (text, probabilities of it and of others at its place)."""
    content = [_token(t, p[t]) | {"top_logprobs": [_token(w, q) for w, q in _best(p, most)]} for t, p in tokens or []]
    said = {"role": "assistant", "content": text} | message
    choice = {"index": 0, "message": said, "finish_reason": finish}
    return JSONResponse(
        {
            "id": "c-1",
            "object": "chat.completion",
            "choices": [choice | {"logprobs": {"content": content} if tokens else None}],
        }
    )


def _best(probabilities: dict[str, float], most: int) -> list[tuple[str, float]]:
    return sorted(probabilities.items(), key=lambda item: -item[1])[:most]


def _token(text: str, probability: float) -> dict[str, Any]:
    return {"token": text, "logprob": math.log(max(probability, 1e-300)), "bytes": list(text.encode())}


def error(status: int, message: Any, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """OpenAI's error object."""
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None} | more}
    return JSONResponse(body, status_code=status, headers=headers)


def answers(body: Body, mass: float = 1.0) -> Response:
    """A letter, with log-probabilities where they were asked for."""
    word, p = letter(body), spread(body, mass)
    rest = {} if mass == 1 else {"The": (1 - mass) * 0.7, "**": (1 - mass) * 0.2}
    return says(word, [(word, p | rest), ("<|im_end|>", {"<|im_end|>": 1.0})] if body.get("logprobs") else None)


def cut(body: Body, whole: str, **message: Any) -> Response:
    """A text of words, cut at the limit of tokens (a word each)."""
    words = whole.split(" ")
    if len(words) <= limit(body):
        return says(whole, **message)
    return says(" ".join(words[: limit(body)]), finish="length", **message)


# Servers that take everything, each in its way.


def vllm(body: Body) -> Response:
    return answers(body)


def old_vllm(body: Body) -> Response:
    """It knows guided_choice, and leaves what it does not know aside: the letters are in the tail of the list."""
    if body.get("guided_choice") == ["A", "B"]:
        return answers(body)
    tail = {name: p * 1e-4 for name, p in spread(body).items()}
    here = tail | {"Looking": 0.9, "I": 0.09}
    words = ["Looking", " at", " both", " pictures", ",", " A", " nice", " pair", " of", " them", "."]
    tokens = [(w, here if i == 0 else {w: 0.9}) for i, w in enumerate(words[: limit(body)])]
    return says("".join(words[: limit(body)]), tokens, "length" if limit(body) < len(words) else "stop")


def sglang(body: Body) -> Response:
    """It ignores the constraint, and its model says the letter nearly always."""
    return answers(body, 0.98)


def ollama(body: Body) -> Response:
    """It ignores log-probabilities as well."""
    return says(letter(body))


# Servers that refuse what they do not know.


def openai(body: Body) -> Response:
    if "structured_outputs" in body:
        return error(400, "Unrecognized request argument supplied: structured_outputs")
    return answers(body, 0.99)


def azure(body: Body) -> Response:
    if unknown := [n for n in ("structured_outputs", "top_logprobs", "logprobs") if n in body]:
        return error(400, f"Unrecognized request arguments supplied: {', '.join(unknown)}")
    return says(letter(body))


def mistral(body: Body) -> Response:
    known = {"model", "messages", "max_tokens", "temperature"}
    rows = [
        {"type": "extra_forbidden", "loc": ["body", n], "msg": "Extra inputs are not permitted", "input": body[n]}
        for n in body
        if n not in known
    ]
    if rows:
        refused = {"object": "error", "message": {"detail": rows}, "type": "invalid_request_error", "param": None}
        return JSONResponse(refused, status_code=422)
    return says(letter(body))


def fastapi(body: Body) -> Response:
    """One complaint at a time, each with an echo of the whole request."""
    for name in ("structured_outputs", "top_logprobs"):
        if name in body:
            row = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
            return JSONResponse({"detail": [row | {"input": body}]}, status_code=422)
    p = spread(body)
    return says(letter(body), [(letter(body), {letter(body): p[letter(body)]})])


def pydantic_in_words(body: Body) -> Response:
    """vLLM in 2024: a list written down by Python."""
    if "structured_outputs" in body:
        said = "[{'type': 'extra_forbidden', 'loc': ('body', 'structured_outputs'), 'msg': 'Extra inputs'}]"
        refused = {"object": "error", "message": said, "type": "BadRequestError", "param": None, "code": 400}
        return JSONResponse(refused, status_code=400)
    return answers(body)


def gemini(body: Body) -> Response:
    """Google's: the error is in a list, and each unknown field is in one sentence."""
    unknown = [n for n in ("structured_outputs", "top_logprobs", "logprobs") if n in body]
    if unknown:
        lines = [f'Invalid JSON payload received. Unknown name "{n}": Cannot find field.' for n in unknown]
        return JSONResponse([{"error": {"code": 400, "message": "\n".join(lines), "status": "INVALID_ARGUMENT"}}], 400)
    return says(letter(body))


def groq(body: Body) -> Response:
    if "structured_outputs" in body:
        return error(400, "property 'structured_outputs' is unsupported, did you mean 'response_format'?")
    if body.get("logprobs"):
        return error(400, "`logprobs` is not supported with this model")
    return says(letter(body))


def forbidden_logprobs(body: Body) -> Response:
    if "structured_outputs" in body:
        return error(
            400, "Unknown parameter: 'structured_outputs'.", param="structured_outputs", code="unknown_parameter"
        )
    if body.get("logprobs"):
        return error(403, "You are not allowed to request logprobs from this model.")
    return says(letter(body))


def litellm(body: Body) -> Response:
    if body.get("logprobs"):
        said = (
            "litellm.UnsupportedParamsError: bedrock does not support parameters: ['logprobs', 'top_logprobs'], for "
            "model=some-vlm. To drop these, set `litellm.drop_params=True`."
        )
        return error(400, said, code="400")
    return says(letter(body))


def openrouter(body: Body) -> Response:
    """What the provider said is quoted inside."""
    if "structured_outputs" in body:
        raw = json.dumps({"error": {"message": "Unsupported parameter: structured_outputs", "param": None}})
        metadata = {"raw": raw, "provider_name": "Some"}
        return JSONResponse({"error": {"message": "Provider returned error", "code": 400, "metadata": metadata}}, 400)
    return answers(body)


def few_logprobs(body: Body) -> Response:
    if body.get("top_logprobs", 0) > 5:
        said = "Requested sample logprobs of 20, which is greater than max allowed: 5"
        return JSONResponse({"object": "error", "message": said, "type": "BadRequestError", "code": 400}, 400)
    return answers(body)


def fewer_logprobs(body: Body) -> Response:
    if body.get("top_logprobs", 0) > 8:
        row = {"type": "less_than_equal", "loc": ["body", "top_logprobs"], "ctx": {"le": 8}, "input": 20}
        return JSONResponse({"detail": [row | {"msg": "Input should be less than or equal to 8"}]}, 422)
    return answers(body)


def together(body: Body) -> Response:
    """A number of logprobs, and parallel lists."""
    if body.get("logprobs") is True:
        return error(400, "logprobs: Input should be a valid integer, got true", param="logprobs")
    if body["logprobs"] > 5:
        return error(400, "20 is greater than the maximum of 5 - 'logprobs'", param="logprobs")
    word, p = letter(body), spread(body)
    lists = {
        "tokens": [word],
        "token_logprobs": [math.log(p[word])],
        "top_logprobs": [{w: math.log(q) for w, q in p.items()}],
    }
    choice = {"message": {"role": "assistant", "content": word}, "finish_reason": "stop", "logprobs": lists}
    return JSONResponse({"choices": [choice]})


def not_both(body: Body) -> Response:
    if "structured_outputs" in body and body.get("logprobs"):
        return error(400, "logprobs are not supported together with structured outputs")
    return answers(body)


def gemma(body: Body) -> Response:
    if body["messages"][0]["role"] == "system":
        return JSONResponse({"object": "error", "message": "System role not supported", "code": 400}, 400)
    return answers(body)


# Models that think or speak.


def gpt5(body: Body) -> Response:
    if "structured_outputs" in body:
        return error(400, "Unknown parameter: 'structured_outputs'.", param="structured_outputs")
    if "max_tokens" in body:
        said = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return error(400, said, param="max_tokens", code="unsupported_parameter")
    if "temperature" in body:
        said = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) is supported."
        return error(400, said, param="temperature", code="unsupported_value")
    if body.get("logprobs"):
        return error(403, "You are not allowed to request logprobs from this model")
    if limit(body) < 300:
        said = (
            "Could not finish the message because max_tokens or model output limit was reached. Use higher max_tokens."
        )
        return error(400, said)
    return says(letter(body))


def silent_thinker(body: Body) -> Response:
    """A hosted one that spends its limit on a thought that it does not show."""
    return says(letter(body)) if limit(body) >= 300 else says("", finish="length")


THOUGHT = "A user wants me to compare. Image A is nice. " * 20


def unparsed(body: Body) -> Response:
    return cut(body, f"<think>\n{THOUGHT}\n</think>\n\n{letter(body)}")


def half_parsed(body: Body) -> Response:
    """The template opens the thought, so that only its end is seen."""
    return cut(body, f"{THOUGHT}</think> **{letter(body)}**")


def parsed(body: Body) -> Response:
    """The thought is in a field of its own, and its tokens are among the log-probabilities."""
    if limit(body) < 300:
        tokens = [(" A", {" A": 0.9, " B": 0.05})] * 3
        return says(None, tokens, "length", reasoning_content="Let me see. A")
    thought: Tokens = [("Image", {"Image": 1.0}), (" A", {" A": 0.9, " B": 0.1}), ("</think>", {"</think>": 1.0})]
    word = letter(body)
    return says(word, [*thought, ("\n\n", {"\n\n": 1.0}), (word, spread(body))], reasoning_content="Image A")


def parts(body: Body) -> Response:
    """A thought and an answer as two parts of the content."""
    if limit(body) < 300:
        return says([{"type": "thinking", "thinking": [{"type": "text", "text": "A"}]}], finish="length")  # type: ignore[arg-type]
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "A"}]},
        {"type": "text", "text": letter(body)},
    ]
    return says(content)  # type: ignore[arg-type]


def chatty(body: Body) -> Response:
    """It answers in a sentence, the letter's probabilities where the letter stands."""
    word = letter(body)
    words: Tokens = [(w, {w: 0.95}) for w in ("The", " better", " image", " is")]
    tokens = [*words, (f" {word}", {f" {w}": p for w, p in spread(body).items()}), (".", {".": 1.0})]
    return says(f"The better image is {word}.", tokens if body.get("logprobs") else None)


def long_chatty(body: Body) -> Response:
    word = letter(body)
    return cut(body, f"Both of them show what was asked for, and each has its merits, but on the whole. Answer: {word}")
