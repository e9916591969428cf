"""Gemini's protocol as servers really speak it: errors inside HTTP 200, statuses in words, answers without a text."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import httpx2
from google.genai import errors, types

from dedpo.asking.statuses import meant
from dedpo.errors import excerpt
from dedpo.vision.images import mime_type

# Where the server may do better the next time; every other reason to stop would be there again.
PASSING: Final = ("FINISH_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED", "OTHER", "RECITATION")
# The answer's words count, if they can be read: some gateways have reasons of their own.
_READABLE: Final = ("STOP", "MAX_TOKENS", "LENGTH", "END_TURN", "EOS", "FINISH_REASON_UNSPECIFIED", "OTHER")
_KNOWN: Final = frozenset({"name", "candidates", "promptFeedback", "usageMetadata"})


class Unusable(Exception):  # noqa: N818
    """An answer that came and cannot be used.

    `may_change` says that another asking may end otherwise, `is_malformed` that there are words of another form.
    """

    def __init__(self, reason: str, *, may_change: bool = True, is_malformed: bool = False) -> None:
        super().__init__(reason)
        self.may_change = may_change
        self.is_malformed = is_malformed


class Page(ValueError):  # noqa: N818
    """A body that is no JSON, or of another protocol."""


async def look_into_200(response: httpx2.Response) -> None:
    """Raise the error that stands in a body with status 200, or Page; a hook of the transport."""
    if response.status_code != 200:
        return
    await response.aread()
    try:
        body = response.json()
    except (ValueError, RecursionError):
        raise Page(f"answers with no JSON: {excerpt(response.text, 60)!r}") from None
    inner = body[0] if isinstance(body, list) and len(body) == 1 else body
    error = inner.get("error") if isinstance(inner, dict) else None
    if error and not inner.get("candidates"):
        raise errors.APIError(meant(error, otherwise=200), body, response)
    # A model's description has a name; a verdict has candidates, or the reason why there are none.
    if body and not (isinstance(body, dict) and _KNOWN & body.keys()):
        raise Page(f"answers in another protocol: {excerpt(response.text, 60)!r}")


def code(error: errors.APIError) -> int:
    """The HTTP status, or the one that an error in HTTP 200 names."""
    return error.code if isinstance(error.code, int) else 0


def body(error: errors.APIError) -> str:
    """The whole body as text; quotes as in JSON, also where a gateway has it as a text within a text."""
    return re.sub(r"\\+\"|'", '"', json.dumps(error.details, ensure_ascii=False, default=str))


def text_of(answer: types.GenerateContentResponse) -> tuple[str, str]:
    """The answer's text without thoughts, and the reason why it ends.

    Raises:
        Unusable: it was blocked, or there is none.
    """
    feedback = answer.prompt_feedback
    if feedback and feedback.block_reason:
        reason = _name(feedback.block_reason)
        raise Unusable(f"blocked: the question, {excerpt(reason)}", may_change=reason in PASSING)
    if not answer.candidates:
        raise Unusable("empty answer: no candidates")
    candidate = answer.candidates[0]
    reason = _name(candidate.finish_reason or "STOP")
    if reason not in _READABLE:
        raise Unusable(f"blocked: the answer, {excerpt(reason)}", may_change=reason in PASSING)
    parts = (candidate.content.parts if candidate.content else None) or []
    return "".join(p.text for p in parts if p.text and not p.thought), reason


def _name(reason: Any) -> str:
    return str(getattr(reason, "value", reason)).upper()


def part(piece: str | bytes) -> types.Part:
    """A text or an encoded picture.

    Raises:
        ValueError: bytes that are no picture of a known format.
    """
    if isinstance(piece, str):
        return types.Part.from_text(text=piece)
    return types.Part.from_bytes(data=piece, mime_type=mime_type(piece))
