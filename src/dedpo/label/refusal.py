"""What a server says no to, in the words of many servers: pure functions of a body that is not to be trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from dedpo.asking.statuses import meant

_LIMIT: Final = r"max(?:imum)?[ _-]?(?:completion[ _-]?|output[ _-]?|new[ _-]?)?tokens|output limit"
# Our field → how servers speak of it, where they do not use its name.
_SPOKEN: Final = {
    "logprobs": r"log[ _-]?prob(?:s|abilit(?:y|ies))|response_?logprobs",
    "top_logprobs": r"top[ _-]?log[ _-]?probs",
    "max_tokens": _LIMIT,
    "max_completion_tokens": _LIMIT,
    "structured_outputs": r"structured[ _-]?outputs?",
    "guided_choice": r"guided[ _-]?(?:choice|decoding)",
}
_LOC: Final = re.compile(r"['\"]loc['\"]\s*:\s*[\[(]([^\])]*)[\])]")
_PARAM: Final = re.compile(r"['\"]param['\"]\s*:\s*['\"]([\w.\[\]-]+)['\"]")
_CODE: Final = re.compile(r"['\"]code['\"]\s*:\s*['\"]([A-Za-z_]+)['\"]")
# What is echoed of the question is no complaint: 'input' of pydantic, 'messages = […]' of llama.cpp.
_ECHO: Final = re.compile(r"(?:['\"]input['\"]\s*:|messages\s*=\s*\[).*", re.DOTALL)
_UNKNOWN: Final = re.compile(
    r"unrecogni[sz]ed|unknown (?:name|field|argument|parameter|key)|unexpected|extra_forbidden"
    r"|extra (?:inputs|param|field)|extraneous|not permitted|additional propert"
    r"|cannot find field|unsupported_parameter|property .{0,60}unsupported",
    re.IGNORECASE,
)
_UPPER: Final = re.compile(
    r"(?:<=|≤|less than or equal to|at most|no more than|up to|max(?:imum)?(?: allowed| value| number)?(?: is| of|:)?"
    r"|between [01] and|limit(?:ed)? (?:of|to|is)|\[[01], ?|[01][-–])\s*(\d+)",
    re.IGNORECASE,
)
_LOWER: Final = re.compile(
    r"(?:>=|≥|greater than or equal to|at least|minimum(?: value)?(?: is| of|:)?|no less than)\s*(\d+)", re.IGNORECASE
)

Kind = Literal["key", "model", "path", "images", "two images", "system role", "too large", "other"]
_SUPPORT: Final = (
    r"(?:not|n't|no|cannot|unable|without|only supported|unsupported|unknown variant|invalid content type)"
)
_PATTERNS: Final[dict[Kind, str]] = {
    "two images": r"(?:at most|only|maximum(?: of)?|more than|exceeds?|limit\w* (?:of|to)?) ?(?:1|one|single)\b"
    r".{0,20}(?:images?|pictures?)|(?:multiple|two|several) (?:images?|pictures?)"
    r"|(?:images?|pictures?).{0,30}(?:at most|limit(?:ed)? (?:of|to)|maximum(?: of)?) ?(?:1|one)\b",
    "images": r"at most 0 image|not a (?:multi-?modal|vision)|mmproj|image[_ ]?(?:url|input)?s?\b.{0,40}"
    rf"{_SUPPORT}\b|{_SUPPORT}\b.{{0,60}}\b(?:images?|image_url|vision|multi-?modal|visual|pictures?)\b"
    r"|data required for image|content.{0,20}must be a string|support image input"
    r"|content.{0,40}expected (?:a )?string",
    "system role": r"system.{0,20}\brole|\brole.{0,60}\bsystem\b|roles? must alternate"
    r"|(?:system|developer) (?:message|prompt|instruction)s?\b.{0,40}\bnot\b",
    "key": r"api[ _-]?key|access token|credential|authenticat|authoriz(?:ation|ed)\b|unauthori[sz]ed|bearer"
    r"|permission|invalid_token|signature",
    "model": r"model_not_found|(?:model|deployment)\b.{0,120}\bnot (?:exist|found|available|loaded|a valid|have access)"
    r"|(?:model|deployment)\b.{0,120}\b(?:does ?n[o']t exist|no such|unknown|invalid|unavailable|not supported)"
    r"|(?:no such|unknown|invalid|no|unsupported|find(?: the)?|access to) (?:model|deployment)|a valid model",
}
# One picture, or one question, is at fault, and not what the model takes.
_ONE_PICTURE: Final = re.compile(
    r"(?:format|mime|media[ _]type|webp|too large|too big|exceed\w*|dimension|resolution|pixels|corrupt|decod|download"
    r"|process|size|moderat|flagged|policy|safety|content_filter)",
    re.IGNORECASE,
)
_TOO_LONG: Final = re.compile(
    r"context (?:length|window|size)|maximum context|too many tokens|prompt is too long", re.IGNORECASE
)
_NO_PATH: Final = re.compile(
    r"<html|<!doctype|404 page not found|^\W*$|^\W*(?:detail\W+)?not found\W*$|invalid url"
    r"|(?:url|path|route|resource|endpoint)\b.{0,80}not found|method not allowed",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Refusal:
    """A refused request: its HTTP status (or the one that a body within a 200 names) and its body.

    With status 200 the body names no error and is no answer either, such as a page.
    """

    status: int
    body: str

    @property
    def text(self) -> str:
        """The body with its quotes unescaped, as far as it is no echo of the question."""
        return " ".join(_ECHO.sub("", _unescaped(part)) for part in (self.body, self.said))

    @property
    def said(self) -> str:
        """What the server says, in its own words."""
        return " / ".join(dict.fromkeys(_messages(_decoded(self.body)))) or self.body

    @property
    def is_stray(self) -> bool:
        """It came with HTTP 200 from somebody who does not speak the protocol, perhaps a gateway for a moment."""
        return self.status == 200

    @property
    def is_unknown(self) -> bool:
        """It does not know a field (rather than its value)."""
        return bool(_UNKNOWN.search(self.text))

    def named(self, fields: Collection[str]) -> set[str]:
        """The fields of ours that it objects to: those that it points at, else those that it speaks of."""
        plain = _unescaped(self.body)
        pointed = [re.findall(r"[\w-]+", loc) for loc in _LOC.findall(plain)]
        pointed += [re.findall(r"[\w-]+", param) for param in _PARAM.findall(plain)]
        if found := {field for names in pointed for field in fields if field in names}:
            return found
        if any({"messages", "model", "prompt"} & set(names) for names in pointed):
            return set()
        return {
            f for f in fields if re.search(rf"(?<![a-z_]){_SPOKEN.get(f, re.escape(f))}(?![a-z_])", self.text, re.I)
        }

    def at_most(self, below: int) -> int | None:
        """The upper limit that it names, if that is less than `below`."""
        found = [int(n) for n in _UPPER.findall(self.text)]
        return next((n for n in found if 1 <= n < below), None)

    def at_least(self, above: int) -> int | None:
        """The lower limit that it names, if that is more than `above`."""
        found = [int(n) for n in _LOWER.findall(self.text)]
        return next((n for n in found if n > above), None)

    def speaks_of(self, pattern: str) -> bool:
        return bool(re.search(pattern, self.text, re.IGNORECASE | re.DOTALL))

    @property
    def kind(self) -> Kind:
        """What the refusal is about, if that is no field."""
        if self.status == 401:
            return "key"
        if 300 <= self.status < 400 or (self.status in (404, 405) and _NO_PATH.search(self.said)):
            return "path"
        if self.status == 413 or _TOO_LONG.search(self.text):
            return "too large"
        # Not the whole body: its 'type' is often 'invalid_request_error', whatever the matter.
        words = " ".join([_ECHO.sub("", _unescaped(self.said)), *_CODE.findall(self.body)])
        for kind, pattern in _PATTERNS.items():
            if re.search(pattern, words, re.IGNORECASE | re.DOTALL) and self._may_be(kind):
                return kind
        return "path" if self.is_stray else "other"

    def _may_be(self, kind: Kind) -> bool:
        if kind == "images":
            return not _ONE_PICTURE.search(self.said)
        if kind == "key":
            return self.status == 403 or (self.status == 400 and self.speaks_of(r"api[ _-]?key"))
        return kind != "model" or self.status in (200, 400, 403, 404)


def within_200(body: Any, text: str) -> Refusal | None:
    """The refusal that a body holds, although HTTP said 200: an 'error' in it or in its first choice."""
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    error = body.get("error") or first.get("error")
    if not error and body.get("object") == "error":
        error = body
    if not error and first.get("finish_reason") == "error":
        error = first
    message = first.get("message")
    has_answer = isinstance(message, dict) and bool(message.get("content")) and first.get("finish_reason") != "error"
    return Refusal(meant(error), text) if error and not has_answer else None


def _unescaped(text: str) -> str:
    return re.sub(r"\\+[nrt]", " ", text).replace("\\", "")


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _messages(tree: Any, depth: int = 0) -> Iterator[str]:
    if depth > 8:
        return
    if isinstance(tree, str) and tree.strip():
        inner = _decoded(tree) if tree.lstrip()[:1] in "{[" else None
        yield from _messages(inner, depth + 1) if inner else iter([tree])
    elif isinstance(tree, list):
        for item in tree:
            yield from _messages(item, depth + 1)
    elif isinstance(tree, dict):
        if "loc" in tree and "msg" in tree:
            yield f"{'.'.join(str(p) for p in tree['loc'])}: {tree['msg']}"
            return
        for name in ("error", "message", "msg", "detail", "details", "metadata", "raw", "title", "errors", "choices"):
            if name in tree and not (name == "detail" and "message" in tree):
                yield from _messages(tree[name], depth + 1)
