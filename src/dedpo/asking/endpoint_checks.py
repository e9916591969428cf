"""Whether an endpoint answers, takes the key and knows the model: one request each, nothing is started or spent.

What it says to a real question, which is paid for, is asked by the client that a run would use (label.probe,
judge.probe).
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Final, NamedTuple

from dedpo.asking.endpoints import check_key, check_url, is_loopback, through
from dedpo.contract.sections import AnnotatorConfig, JudgeConfig
from dedpo.errors import UserError, excerpt

SECONDS: Final = 5.0
GOOGLE: Final = "https://generativelanguage.googleapis.com"
GEMINI_KEYS: Final = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


class Finding(NamedTuple):
    """One line of an examination; `state` is 'ok', 'note' (works with limits) or 'missing'."""

    what: str
    state: str
    detail: str


class Words(NamedTuple):
    """How a user names what is to be put right: the annotator's address and name, and where keys belong."""

    url: str
    model: str
    keys: str


HERE: Final = Words("label.base_url", "label.model", "the environment")
ON_KUBEFLOW: Final = Words("annotator_url", "annotator", "the Secret")


class Answer(NamedTuple):
    """What came of a GET: an HTTP status with its body, or the reason why nothing came."""

    status: int | None
    text: str


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: following it would carry the key to an address that nobody named."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def get(url: str, headers: Mapping[str, str] | None = None) -> Answer:
    """One GET request; any failure is an answer, too."""
    try:
        request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 (callers check the scheme)
        with urllib.request.build_opener(NoRedirect).open(request, timeout=SECONDS) as answer:
            return Answer(answer.status, answer.read(1_000_000).decode("utf-8", errors="replace"))
    except urllib.error.HTTPError as error:
        return Answer(error.code, _body(error))
    except (OSError, ValueError, HTTPException) as error:
        return Answer(None, excerpt(str(getattr(error, "reason", None) or error)) + through(url))


def _body(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(10_000).decode("utf-8", errors="replace") or str(error.reason)
    except (OSError, HTTPException):
        return str(error.reason)


def found(what: str, look: Callable[[], tuple[bool, str]], extra: str = "all") -> Finding:
    """What came of a look: whether all is well, and what was seen; a UserError says what is missing.

    Args:
        extra: of dedpo, which brings the package that the look may lack.
    """
    try:
        is_well, detail = look()
    except ModuleNotFoundError as error:
        return Finding(what, "note", f"not asked: the package '{error.name}' is missing; pip install 'dedpo[{extra}]'")
    except UserError as error:
        return Finding(what, "missing", str(error))
    return Finding(what, "ok" if is_well else "note", detail)


def annotator(config: AnnotatorConfig, words: Words) -> Finding:
    """The annotator's endpoint: GET /models with $OPENAI_API_KEY."""
    return found("annotator", lambda: _annotator(config, words))


def _annotator(config: AnnotatorConfig, words: Words) -> tuple[bool, str]:
    given = config.base_url or os.environ.get("OPENAI_BASE_URL")
    url = _checked(given, words.url, "http://annotator:8000/v1", words)
    key = _secret("OPENAI_API_KEY")
    answer = get(f"{url}/models", {"Authorization": f"Bearer {key}"} if key else {})
    if answer.status is None:
        raise UserError(f"{url}: {answer.text}; start it, or put {words.url} right")
    if answer.status in (401, 403):
        how = f"refuses $OPENAI_API_KEY ({answer.status})" if key else f"asks for a key ({answer.status})"
        raise UserError(f"{url}: {how}; put OPENAI_API_KEY into {words.keys}")
    if not key and not is_loopback(url):
        raise UserError(f"$OPENAI_API_KEY: not set; put any word into {words.keys} where none is asked")
    if answer.status != 200:
        return False, f"{url} answers {answer.status} to /models; whether it has '{config.model}' is not known"
    known = _model_ids(answer)
    # Google lists its models as 'models/<name>' and takes the name alone.
    if known and not {config.model, f"models/{config.model}"} & set(known):
        shown = excerpt(", ".join(known[:10]))
        raise UserError(f"{url}: no model '{config.model}' there; it has {shown}: set {words.model}")
    return True, f"{url} has '{config.model}'"


def judge(config: JudgeConfig, words: Words) -> Finding:
    """The judge's endpoint: GET the model's description with $GEMINI_API_KEY."""
    return found("judge", lambda: _judge(config, words))


def _judge(config: JudgeConfig, words: Words) -> tuple[bool, str]:
    url = _checked(config.base_url or os.environ.get("GEMINI_BASE_URL") or GOOGLE, "judge.base_url", GOOGLE, words)
    key = _secret(*GEMINI_KEYS)
    if not key:
        raise UserError(f"$GEMINI_API_KEY: not set, and '{config.model}' asks for it; put it into {words.keys}")
    answer = get(f"{url.removesuffix('/v1beta')}/v1beta/models/{config.model}", {"x-goog-api-key": key})
    if answer.status is None:
        raise UserError(f"{url}: {answer.text}; put judge.base_url right, or set judge='' for none")
    if answer.status in (401, 403) or (answer.status == 400 and "API key" in answer.text):
        raise UserError(f"{url}: refuses $GEMINI_API_KEY ({answer.status}); put it right in {words.keys}")
    if answer.status == 404:
        raise UserError(f"{url}: no model '{config.model}' there (404); set judge")
    return answer.status == 200, f"{url} answers {answer.status} for '{config.model}'"


def oracle(address: str, words: Words) -> Finding:
    """The scoring endpoint: GET /health."""
    return found("oracle", lambda: _oracle(address, words))


def _oracle(address: str, words: Words) -> tuple[bool, str]:
    url = _checked(address, "score.oracle_url", "http://world:8000", words)
    answer = get(f"{url}/health")
    if answer.status is None:
        raise UserError(f"{url}: {answer.text}; start it, or put score.oracle_url right")
    return answer.status == 200, f"{url} answers {answer.status}"


def _secret(*names: str) -> str:
    """The first of these variables that is set; '' if none."""
    name = next((n for n in names if os.environ.get(n, "").strip()), names[0])
    return check_key(os.environ.get(name, "").strip(), name)


def _checked(url: str | None, setting: str, example: str, words: Words) -> str:
    """The address without a slash at its end."""
    instead = f"; keys belong into {words.keys}"
    return check_url(url or "", setting=setting, example=example, instead=instead).removesuffix("/chat/completions")


def _model_ids(answer: Answer) -> list[str]:
    try:
        return [str(m["id"]) for m in json.loads(answer.text)["data"]]
    except (ValueError, TypeError, KeyError):
        return []
