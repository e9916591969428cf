"""Whether an endpoint answers, takes the key and knows the model: one request each, nothing is started or spent.

What it says to a real question, which is paid for, is asked last, by the client that a run would use.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from dedpo.asking.endpoints import check_key, check_url, through
from dedpo.asking.probe import Answered
from dedpo.contract.config import Config
from dedpo.errors import UserError, excerpt

SECONDS: Final = 5.0
GOOGLE: Final = "https://generativelanguage.googleapis.com"
GEMINI_KEYS: Final = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
ASKED_OF_ORACLE: Final = frozenset({"human_oracle", "adherence"})


class Finding(NamedTuple):
    """One line of an examination; `state` is 'ok', 'note' (works with limits) or 'missing'."""

    what: str
    state: str
    detail: str


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


def annotator(config: Config) -> Finding:
    """The annotator's endpoint: GET /models with $OPENAI_API_KEY."""
    what, model = "annotator", config.label.model
    url, problem = _checked(config.label.base_url, "annotator_url", "http://annotator:8000/v1")
    if problem:
        return Finding(what, "missing", problem)
    key, problem = secret("OPENAI_API_KEY")
    if problem:
        return Finding(what, "missing", problem)
    answer = get(f"{url}/models", {"Authorization": f"Bearer {key}"} if key else {})
    if answer.status is None:
        return Finding(what, "missing", f"{url}: {answer.text}; start it, or put annotator_url right")
    if answer.status in (401, 403):
        how = f"refuses $OPENAI_API_KEY ({answer.status})" if key else f"asks for a key ({answer.status})"
        return Finding(what, "missing", f"{url}: {how}; put OPENAI_API_KEY into the Secret")
    if not key and not _is_here(url):
        return Finding(what, "missing", "$OPENAI_API_KEY: not set; put any word into the Secret where none is asked")
    known = _model_ids(answer)
    # Google lists its models as 'models/<name>' and takes the name alone.
    if answer.status == 200 and known and not {model, f"models/{model}"} & set(known):
        shown = excerpt(", ".join(known[:10]))
        return Finding(what, "missing", f"{url}: no model '{model}' there; it has {shown}: set annotator")
    if answer.status != 200:
        return Finding(what, "note", f"{url} answers {answer.status} to /models; whether it has '{model}' is not known")
    return Finding(what, "ok", f"{url} has '{model}'")


def annotation(config: Config) -> Finding:
    """One real question to the annotator, as a run would put it: its reading, mass, seconds, and what is given up."""

    def ask() -> Answered:
        from dedpo.label import probe

        return probe.ask(config.label)

    return _answered("annotator's answer", ask, extra="label")


def judge(config: Config) -> Finding:
    """The judge's endpoint: GET the model's description with $GEMINI_API_KEY."""
    what, model = "judge", config.judge.model
    given = config.judge.base_url or os.environ.get("GEMINI_BASE_URL") or GOOGLE
    url, problem = _checked(given, "judge.base_url", GOOGLE)
    if problem:
        return Finding(what, "missing", problem)
    key, problem = secret(*GEMINI_KEYS)
    if problem:
        return Finding(what, "missing", problem)
    if not key:
        return Finding(what, "missing", f"$GEMINI_API_KEY: not set, and '{model}' asks for it; put it into the Secret")
    answer = get(f"{url.removesuffix('/v1beta')}/v1beta/models/{model}", {"x-goog-api-key": key})
    if answer.status is None:
        return Finding(what, "missing", f"{url}: {answer.text}; put judge.base_url right, or set judge='' for none")
    if answer.status in (401, 403) or (answer.status == 400 and "API key" in answer.text):
        return Finding(what, "missing", f"{url}: refuses $GEMINI_API_KEY ({answer.status}); put it right in the Secret")
    if answer.status == 404:
        return Finding(what, "missing", f"{url}: no model '{model}' there (404); set judge")
    state = "ok" if answer.status == 200 else "note"
    return Finding(what, state, f"{url} answers {answer.status} for '{model}'")


def judgement(config: Config) -> Finding:
    """One real comparison by the judge, as a run would put it: its reading, seconds, tokens and dollars."""

    def ask() -> Answered:
        from dedpo.judge import probe

        return probe.ask(config.judge)

    return _answered("judge's answer", ask, extra="judge")


def _answered(what: str, ask: Callable[[], Answered], *, extra: str) -> Finding:
    try:
        answered = ask()
    except ModuleNotFoundError as error:
        return Finding(what, "note", f"not asked: the package '{error.name}' is missing; pip install 'dedpo[{extra}]'")
    except UserError as error:
        return Finding(what, "missing", str(error))
    return Finding(what, "ok" if answered.is_right else "note", answered.detail)


def oracle(config: Config) -> Iterator[Finding]:
    """The scoring endpoint, if a metric asks for it: GET /health."""
    asked = sorted(ASKED_OF_ORACLE & set(config.score.metrics))
    if not asked:
        return
    given = config.score.oracle_url or os.environ.get("DEDPO_ORACLE_URL")
    if not given:
        yield Finding(
            "oracle",
            "missing",
            f"score.metrics asks for {', '.join(asked)}, which an endpoint measures, and score.oracle_url is not set; "
            'set it, or other metrics: {"score.metrics": ["clipscore"], "report.metric": "clipscore"}',
        )
        return
    url, problem = _checked(given, "score.oracle_url", "http://world:8000")
    answer = get(f"{url}/health") if not problem else Answer(None, "")
    if problem or answer.status is None:
        yield Finding("oracle", "missing", problem or f"{url}: {answer.text}; start it, or put score.oracle_url right")
    else:
        yield Finding("oracle", "ok" if answer.status == 200 else "note", f"{url} answers {answer.status}")


def secret(*names: str) -> tuple[str, str]:
    """The first of these variables that is set ('' if none), and what is wrong with it."""
    name = next((n for n in names if os.environ.get(n, "").strip()), names[0])
    try:
        return check_key(os.environ.get(name, "").strip(), name), ""
    except UserError as error:
        return "", str(error)


def _checked(url: str | None, setting: str, example: str) -> tuple[str, str]:
    """The address without a slash at its end, and what is wrong with it."""
    try:
        checked = check_url(url or "", setting=setting, example=example, instead="; keys belong into the Secret")
        return checked.removesuffix("/chat/completions"), ""
    except UserError as error:
        return "", str(error)


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _model_ids(answer: Answer) -> list[str]:
    try:
        return [str(m["id"]) for m in json.loads(answer.text)["data"]]
    except (ValueError, TypeError, KeyError):
        return []
