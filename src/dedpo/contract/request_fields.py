"""Fields of a chat completion's request that a user may set: `label.request`, which the manifest keeps."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import AfterValidator, JsonValue

# Ours: the question itself, and how its answer comes.
_OURS = frozenset({"model", "messages", "stream", "stream_options", "n", "extra_body", "extra_headers", "headers"})
_SECRET = re.compile(r"api[_-]?key|secret|password|authorization|credential|bearer|(?:access|auth|id)[_-]?token")


def _check(given: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: _field(name, value) for name, value in given.items()}


def _field(name: str, value: JsonValue) -> JsonValue:
    if name in _OURS or not re.fullmatch(r"[A-Za-z_][\w-]*", name):
        raise ValueError(f"'{name}' cannot be set: write fields of the request such as max_completion_tokens")
    if _SECRET.search(name.lower()):
        raise ValueError(f"'{name}' looks like a secret, which the manifest would keep: the key is $OPENAI_API_KEY")
    return _whole(name, value)


def _whole(name: str, value: JsonValue) -> JsonValue:
    """Whole numbers as such: Kubeflow hands all of them over as floats."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"'{name}' is {value}, which JSON lacks")
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {
            key: _field(key, inner) if _SECRET.search(key.lower()) else _whole(key, inner)
            for key, inner in value.items()
        }
    return [_whole(name, inner) for inner in value] if isinstance(value, list) else value


# By name; null: left out. Refused: what is dedpo's own, what looks like a secret, and what JSON lacks.
RequestFields = Annotated[dict[str, JsonValue], AfterValidator(_check)]
