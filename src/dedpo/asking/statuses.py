"""What the HTTP statuses of models' servers mean, whichever protocol they speak: pure functions."""

from __future__ import annotations

import json
import re
from typing import Any, Final

# Too early, too many requests, bad gateway (the server behind it restarts), loading or overloaded; 498 is Groq's, 529
# Anthropic's.
BUSY: Final = frozenset({425, 429, 498, 502, 503, 529})
# It may be one question's fault: asked again a few times. 520 to 530 are Cloudflare's.
BROKEN: Final = frozenset({408, 409, 500, 504, 520, 521, 522, 523, 524, 530})
# Some servers give other statuses to it; 'failed loading the model' is no promise.
_LOADING: Final = re.compile(
    r"(?<!error )(?<!failed )(?:\bloading (?:the |a )?(?:model|weights|checkpoint)\b"
    r"|\b(?:model|weights|server|instance)\b[^.{}]{0,60}(?<!error )(?<!failed )\b(?:loading|warming up|starting up)\b"
    r"(?! (?:error|failed|the image|image)))",
    re.IGNORECASE,
)
_RATE: Final = re.compile(r"rate.?limit|too.?many.?requests|RESOURCE_EXHAUSTED|throttl", re.IGNORECASE)
_FULL: Final = re.compile(r"overload|unavailable|\bbusy\b|at capacity", re.IGNORECASE)
_WORDS: Final = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "INTERNAL": 500, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip


def is_busy(status: int, text: str) -> bool:
    """Whether a refusal asks for time: by its status, or by saying that a model is loading."""
    return status in BUSY or (status in (400, 404, 409, 500) and bool(_LOADING.search(text)))


def meant(error: Any, otherwise: int = 500) -> int:
    """The status that an error inside HTTP 200 stands for: by its numbers, by its words, or `otherwise`."""
    if isinstance(error, dict):
        named = [error.get(name) for name in ("code", "status", "status_code", "http_status", "type")]
        for value in named:
            if isinstance(value, int | str) and re.fullmatch(r"[45]\d\d", str(value)):
                return int(value)
            # FastChat numbers its errors 4xxyy and 5xxyy.
            if isinstance(value, int) and 40_000 <= value < 60_000:
                return value // 100
            if isinstance(value, str) and value in _WORDS:
                return _WORDS[value]
        words = " ".join(str(value) for value in [*named, error.get("message"), error.get("msg")] if value)
    else:
        words = json.dumps(error, ensure_ascii=False, default=str)
    if _RATE.search(words):
        return 429
    return 503 if _FULL.search(words) or _LOADING.search(words) else otherwise
