"""Refusals that end a run: which they are, and the one line for the user. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from dedpo.label.refusal import Kind, Refusal
from dedpo.label.reply import Why

MONEY: Final = "its quota or credit is used up: top it up, or wait until it is renewed"
# What to do about an answer that was none, where the question is put once only.
ADVICE: Final[Mapping[Why, str]] = {
    "thought": "; `dedpo label` gives it room to think, or set label.request.max_completion_tokens",
    "cut": "; `dedpo label` tries other fields, or set label.request",
    "no letter": "; `dedpo label` tries other fields, or set label.request",
}
# Seen of many questions: what to set.
UNREAD_REMEDY: Final = (
    "its answers are not one letter: give it room to think (label.request.max_completion_tokens=4000), switch its "
    "thinking off (label.request.reasoning_effort=low, label.request.chat_template_kwargs.enable_thinking=false), or "
    'hold it to the letters by its own constraint, such as label.request.guided_choice=["A","B"] (docs/endpoints.md)'
)
_FOR_ALL: Final[frozenset[Kind]] = frozenset({"key", "model", "path"})
_REMEDIES: Final[Mapping[Kind, str]] = {
    "key": "put $OPENAI_API_KEY right",
    "path": "put label.base_url right: it usually ends in /v1",
    "images": "it takes no pictures: set label.model to one that sees (or start its server with its vision part)",
    "two images": "it takes one picture a question, and a pair has two: set label.model to one that takes several, or "
    "start vLLM with --limit-mm-per-prompt '{\"image\":2}'",
    "too large": "the question does not fit: raise the server's context length, or lower its pixels a picture",
    "system role": "it takes no system message",
}


def advice(refusal: Refusal) -> str:
    """What to do if many questions are refused so."""
    return _REMEDIES.get(refusal.kind, "")


def is_for_all(refusal: Refusal, *, has_answered: bool) -> bool:
    """Whether every other question would be refused as well.

    A key or model that a refusal names is refused for all. What else is forbidden or not found may be one question's
    (a filter of pictures, a limit of size), but not at the very first.
    """
    kind = refusal.kind
    if has_answered and refusal.is_stray:
        return False
    if kind in _FOR_ALL:
        return True
    if has_answered:
        return False
    if kind in ("images", "two images"):
        return True
    is_filter = refusal.speaks_of("moderat|flagged|content.?(?:filter|policy|management)|safety")
    return refusal.status in (403, 404, 405, 451) and kind == "other" and not is_filter


def message(refusal: Refusal, said: str, url: str, model: str, models: Sequence[str], remedy: str | None = None) -> str:
    """One line: what was refused, in the server's words, and what to do."""
    kind = refusal.kind
    where = f"HTTP {refusal.status}: {said}"
    kept = "run again: what was answered is kept"
    if remedy is not None:
        return f"{url}: the annotator '{model}' is refused ({where}); {remedy}, and {kept}"
    if kind == "model":
        known = f"it has {', '.join(models[:10])}" if models else "name one that it serves"
        return f"{url}: no model '{model}' there ({where}); set label.model: {known}"
    if kind == "key":
        return f"{url}: refused the key for model '{model}' ({where}); {_REMEDIES['key']} and {kept}"
    if kind == "path":
        return f"{url}: no chat completion comes from {url}/chat/completions ({where}); {_REMEDIES['path']}"
    what = _REMEDIES.get(kind, "its own words say what it forbids: address, region, key or model")
    return f"{url}: the annotator '{model}' refuses questions ({where}); {what}, and {kept}"
