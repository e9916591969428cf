"""What a refusal of Gemini's API or of a gateway to it means, and what puts it right: pure functions of its text.

The wordings are collected in docs/endpoints.md.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from dedpo.contract.model_names import JUDGE
from dedpo.contract.sections import JudgeConfig


class Refusal(NamedTuple):
    """What is the matter, and what the user can do."""

    what: str
    remedy: str


EXHAUSTED: Final = Refusal(
    "the quota or the credit is used up",
    "raise it (aistudio.google.com, or the gateway's), set another judge.model, or run again when it is renewed: what "
    "was answered is kept",
)
ADDRESS: Final = (
    "put judge.base_url (or $GEMINI_BASE_URL) right: where Gemini's generateContent is spoken (not OpenAI's protocol), "
    "without /v1beta"
)
# Tokens of thought by ai.google.dev/gemini-api/docs/thinking; the longest name that a model's begins with counts.
_BUDGETS: Final = {
    "gemini-2.5-pro": "128 to 32768",
    "gemini-2.5-flash": "0 to 24576",
    "gemini-2.5-flash-lite": "0, or 512 to 24576",
}
_RANGE: Final = re.compile(r"(?:between|from|range|\[)\D{0,10}?(-?\d+)\s*(?:and|to|through|-|–|,)\s*(-?\d+)")
_NO_SUCH_FIELD: Final = re.compile(r"unknown name|cannot find field|extra inputs|extra_forbidden|unrecogni[sz]ed")
_VALUE: Final = re.compile(
    r"is invalid|invalid value|only works in thinking|(?:can't|cannot|can not) (?:be|set|disable|turn)|setting thinking"
    r"|out of range|between|supported values|only one of|level|at least|(?:greater|less) than|minimum|maximum"
    r"|disabling|requires (?:thinking|reasoning)|mandatory|must (?:not )?be|not in \[|(?:=|:|of|value) ?0\b|\bzero\b"
)
_THINKING: Final = re.compile("think|thought|reasoning")
_IMAGES: Final = re.compile(
    r"image input modality|(?:not|n't) (?:support|accept|allow)\w* (?:\w+ )?(?:image|vision|multimodal|picture)"
    r"|(?:image|vision|picture)s?(?:[ _]\w+)? (?:is|are) not (?:supported|enabled|allowed|accepted)"
    r"|(?:at most|only|more than|maximum of) (?:1|one) image|multiple images|too many images"
)
_ADDRESS: Final = re.compile(r"\S*/v\d\w*/\S*")


def said(body: Any) -> str:
    """The message in a body that tells of an error, whatever form it has."""
    if isinstance(body, list) and body and all(isinstance(d, dict) and "msg" in d for d in body):
        return "; ".join(f"{'.'.join(map(str, d.get('loc') or ()))}: {d['msg']}" for d in body)
    if isinstance(body, list) and len(body) == 1:
        return said(body[0])
    if isinstance(body, dict):
        for name in ("error", "detail", "message", "status"):
            if body.get(name):
                return said(body[name])
    if isinstance(body, str):
        return _unwrapped(body)
    return json.dumps(body, ensure_ascii=False, default=str)


def _unwrapped(text: str) -> str:
    """Gateways quote what the service behind them said, as JSON in their own message; proxies send pages."""
    if title := re.search(r"<title>(.*?)</title>", text, re.DOTALL | re.IGNORECASE):
        return title[1].strip()
    if inner := re.search(r'"message":\s*("(?:[^"\\]|\\.)*")', text):
        try:
            return _unwrapped(json.loads(inner[1]))
        except ValueError:
            return text
    return text


def final(status: int, text: str, model: str) -> Refusal | None:
    """What no other question would change, whenever it comes; None: it may be this question's own fault.

    Args:
        text: the whole body.
    """
    low = text.casefold()
    if status in (400, 403) and "location is not supported" in low:
        return Refusal(
            "does not serve the country that this machine's address is in",
            "run it elsewhere, or set judge.base_url to a gateway",
        )
    if status == 403 and ("has not been used in project" in low or "service_disabled" in low):
        return Refusal(
            "the key's project has not enabled the API", "enable it as the message says, wait, and run again"
        )
    if status in (400, 403) and "billing" in low:
        return Refusal("asks for billing", "enable it for the key's project, or set another $GEMINI_API_KEY")
    if status == 401 or (status == 400 and re.search(r"api[ _]?key", low)) or (status == 403 and _is_key(low)):
        return Refusal(
            f"refused the key for model '{model}'",
            "put $GEMINI_API_KEY right and run again: what was answered is kept",
        )
    if status in (404, 410) and "model" in _ADDRESS.sub("", low):
        return Refusal(f"no model '{model}' there", f"set judge.model, for example to {JUDGE}")
    return None


def _is_key(low: str) -> bool:
    # Google's status of every 403 is PERMISSION_DENIED.
    return bool(re.search(r"\bkey\b|api_key|credential|authenticat|\btoken\b|scope|permission[ '](?!_)", low))


def first(status: int, text: str, model: str) -> Refusal | None:
    """What is the whole endpoint's fault if it comes before any answer, and else perhaps one question's."""
    low = text.casefold()
    if status in (400, 404, 415, 422) and _IMAGES.search(low):
        return Refusal(f"model '{model}' takes no two pictures", "set judge.model to one that sees")
    if status in (404, 405, 410) or 300 <= status < 400:
        return Refusal(f"no model '{model}' there, or another protocol", f"put judge.model right, or {ADDRESS}")
    if status == 403:
        return Refusal(
            "refused, with no word about the key", "put right what it says, or judge.base_url, and run again"
        )
    return None


def of_thinking(text: str, config: JudgeConfig) -> Refusal | None:
    """A value of the thinking settings is refused; None: something else is, or the field itself."""
    low = text.casefold()
    if not speaks_of_thinking(low) or _NO_SUCH_FIELD.search(low) or not _VALUE.search(low):
        return None
    return thinking(low, config)


def speaks_of_thinking(text: str) -> bool:
    """Whether thinking is what a refusal is about, or may be: Gemini 3 names nothing where it refuses a budget of 0."""
    low = text.casefold()
    return bool(_THINKING.search(low)) or "request contains an invalid argument" in low


def thinking(text: str, config: JudgeConfig) -> Refusal:
    """The remedy where the thinking settings, some of which are sent, are refused."""
    if config.thinking_level is not None:
        return Refusal(
            f"refuses judge.thinking_level: {config.thinking_level}",
            "set it to another level (Gemini 3 Pro takes low and high), or to null for a model that takes a "
            "judge.thinking_budget (Gemini 2.5)",
        )
    what = f"refuses judge.thinking_budget: {config.thinking_budget}"
    name = (config.model or "").rpartition("/")[2]
    if "level" in text or re.match(r"gemini-(?:[3-9]|\d\d)", name):
        remedy = "set judge.thinking_level: low (or minimal, where the model has it), which is sent instead of a budget"
        return Refusal(
            what, f"{remedy}; or judge.thinking_budget: null, and it thinks as it likes; thoughts are billed"
        )
    if named := _RANGE.search(text):
        values = f"{named[1]} to {named[2]}"
    else:
        known = max((n for n in _BUDGETS if name.startswith(n)), key=len, default="")
        values = _BUDGETS.get(known, "128 or more")
    return Refusal(what, f"set it to {values}, to -1 (as the model likes) or to null (not sent); thoughts are billed")


def of_cut(config: JudgeConfig, limit: int | None, thoughts: int) -> Refusal:
    """Answers end at a limit of tokens.

    Args:
        limit: the one that was sent.
        thoughts: tokens of thought, as far as the server counts them.
    """
    spent = f", {thoughts} of them thought" if thoughts else ""
    if limit is None:
        return Refusal(
            f"cut the answer short at its own limit of tokens (MAX_TOKENS{spent})",
            "set judge.thinking_budget to a number such as 512, which bounds the thought and sends a limit of its own",
        )
    what = f"the answer is cut short at {limit} tokens (MAX_TOKENS{spent})"
    if config.thinking_budget:
        return Refusal(what, f"raise judge.thinking_budget ({config.thinking_budget}), or set it to null for no limit")
    thinks = "it thinks although judge.thinking_budget is 0: " if thoughts else ""
    return Refusal(what, f"{thinks}set judge.thinking_budget: null, which sends no limit (thoughts are billed)")
