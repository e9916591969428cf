"""The body of an answer as servers really send it, decoded: a pure function of text that is not to be trusted."""

from __future__ import annotations

import json
from typing import Any


def decoded(text: str) -> Any:
    """The JSON in it, out of a list of one; a stream's pieces (nobody asked for one) put together; or the text."""
    plain = text.lstrip("\ufeff \r\n")
    try:
        found = _together(plain) if plain.startswith("data:") else json.loads(plain)
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return text
    return found[0] if isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict) else found


def is_completion(body: Any) -> bool:
    """Whether it is a chat completion, perhaps without an answer, and no page or another protocol's."""
    return isinstance(body, dict) and "choices" in body


def _together(stream: str) -> dict[str, Any]:
    """One completion out of the chunks of a stream of events; an event without choices stands for all."""
    events = [line.removeprefix("data:").strip() for line in stream.splitlines() if line.startswith("data:")]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    if odd := next((chunk for chunk in chunks if "choices" not in chunk and "error" in chunk), None):
        return dict(odd)
    pieces = [chunk["choices"][0] for chunk in chunks if chunk.get("choices")]
    deltas = [piece.get("delta") or piece.get("message") or {} for piece in pieces]
    message = {
        name: "".join(str(delta[name]) for delta in deltas if delta.get(name))
        for name in ("content", "reasoning_content", "reasoning", "refusal")
    }
    tokens = [token for piece in pieces for token in (piece.get("logprobs") or {}).get("content") or []]
    finish = next((piece["finish_reason"] for piece in reversed(pieces) if piece.get("finish_reason")), None)
    return {"choices": [{"message": message, "finish_reason": finish, "logprobs": {"content": tokens}}]}
