"""Keys and passwords are blotted out of whatever leaves the program: messages, logs, pages, manifests.

Two ways lead to a secret: its value stands in the environment ($OPENAI_API_KEY, $HF_TOKEN, any variable that is called
a key, token, password or secret), or its form gives it away (user:password@host, ?key=…, Authorization: Bearer …). The
exits call this: `errors.UserError` and `errors.excerpt`, the standard streams, `manifest.write_json` and `write_text`.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, TextIO, cast
from urllib.parse import quote, quote_plus, unquote

MARK: Final = "[key]"
PASSWORD: Final = "[password]"  # noqa: S105
# Shorter values are no secrets ('EMPTY', '1'), and blotting them out would garble messages; passwords may be short.
SHORTEST: Final = 8
SHORTEST_PASSWORD: Final = 6
# Below this length a value may be part of an ordinary word: it is blotted out where it stands alone.
_ALONE: Final = 16
# Form of a secret → its pattern, the longest first.
Known = tuple[tuple[str, re.Pattern[str]], ...]
# What people write where a client wants a key and the server asks for none, and defaults that everybody knows: blotted
# out, they would hide nothing but words and numbers of our messages.
_PLACEHOLDERS: Final = {
    "12345678", "123456789", "1234567890", "anonymous", "anything", "api-key", "api_key", "changeme", "default",
    "disabled", "dummy-key", "dummy_key", "dummykey", "enabled", "example", "fake-key", "fake_key", "lm-studio",
    "local-key", "localhost", "minioadmin", "no-key-required", "not-needed", "not-required", "not-used", "optional",
    "password", "placeholder", "postgres", "reference", "required", "sk-no-key-required", "test-key", "test_key",
    "testing", "token-abc123", "undefined", "unlimited", "your-api-key", "your_api_key",
}  # fmt: skip
_SECRET_WORD: Final = re.compile(
    r"\w*(KEY|TOKEN|SECRET|CREDENTIAL)\d*|(API|ACCESS)?KEYS|SECRETS|CREDENTIALS|PAT|AUTHORIZATION|COOKIE"
)
_PASSWORD_WORD: Final = re.compile(r"\w*(PASSWORD|PASSWD|PASSPHRASE)|PASS|PWD|REDISCLI")
# $AWS_WEB_IDENTITY_TOKEN_FILE and its like say where a secret lies, or what it is called.
_PLACE_WORD: Final = re.compile(r"FILE|PATH|DIR|SOCK|NAME|ID|URL|URI|ENDPOINT")
_PATH: Final = re.compile(r"(~?/|\.\.?/)(.*\.\w{1,6}|\S*/)?")
_CONNECTION_WORD: Final = re.compile(r"\w*(URL|URI|DSN|STRING|CONNECTION|CONN)")
_CONNECTION_KEY: Final = re.compile(r"(?:key|password|pwd|token|secret|signature|sig)=([^;&\s]+)", re.IGNORECASE)

_IN_URL: Final = re.compile(
    # The second form is a password with a '/' in it, told from host:port/path@revision by the port.
    r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}://)"
    r"([^/\s<>\"]{0,300}@|[^/\s@:\[\]<>\"]{0,100}:(?!\d{1,5}(?:[/\s]|$))[^\s@<>\"]{1,300}@)"
)
_BARE: Final = re.compile(
    r"(?<![\w@/.%+:-])(?!mailto:|\d+:)[\w.%+~$!-]{1,100}:(?!//)"
    r"(?:[^\s/<>\"{}]{1,300}@(?!sha256:|media\b|import\b|supports\b|font-face)(?=[\w\[])|"
    r"[^\s<>\"{}@]{1,300}@(?=localhost|[\w-]{1,63}\.[a-z]{2,}))"
)
# What each form cannot be without, which is quick to look for; its pattern; what takes its place.
_FORMS: Final = [
    (needles, re.compile(pattern, re.IGNORECASE), rf"\1{MARK}")
    for needles, pattern in (
        (
            ("?", "&", ";"),
            r"([?&;](?:(?:x-)?(?:goog-|amz-)?(?:api[_-]?|access[_-]?)?key|(?:[a-z-]{1,20}[_-])?token|sig|password|"
            r"x-(?:amz|goog)-(?:signature|credential)|signature|passwd|pwd|(?:client[_-])?secret|auth)=)[^&\s'\"#<>]+",
        ),
        (
            ("key=", "token=", "secret=", "passwd=", "password="),
            r"((?:(?:api|access|account|secret)[_-]?key|token|secret|passwd|password)=['\"]?)"
            r"(?!empty\b|[$=[])[^\s'\",;&<>]{4,300}?(?=[:.)]?(?:[\s'\",;&<>]|$))",
        ),
        (
            ("key'", 'key"', "token'", 'token"', "secret'", 'secret"', "password'", 'password"'),
            r"(['\"](?:[a-z_-]{0,40}(?:api[_-]?key|token|secret|password))['\"]\s?:\s?b?['\"])(?!empty\b|\[)[^'\"]{4,}",
        ),
        (
            # As in DVC's and AWS's settings.
            ("key = ", "password = ", "secret = "),
            r"((?:(?:account|secret[_-]access|secret)[_-]?key|password|client_secret) = )(?!null\b|none\b|\[)\S+",
        ),
        (("authorization",), r"(authorization['\"]?\s?[:=,]\s?b?['\"]?(?:bearer|basic|token)\s+)[^\s'\",\\]+"),
        (("bearer",), r"(\bbearer\s+)(?=[^\s\d]{0,200}\d)[a-z0-9._~+/=-]{12,}"),
        (("basic",), r"(\bbasic\s+)(?=[^\s\d=]{0,200}[\d=])[a-z0-9+/=]{8,}"),
        (("api-key",), r"(api-key['\"]?\s?[:=,]\s?b?['\"]?)(?=[^\s\d]{0,200}\d)[^\s'\",}\\]{8,}"),
        (
            (".com/", "telegram.org/"),
            r"((?:hooks\.slack\.com|discord(?:app)?\.com/api/webhooks|[\w-]{1,63}\.webhook\.office\.com|"
            r"outlook\.office\.com/webhook|chat\.googleapis\.com/v1/spaces|api\.telegram\.org)/)[^\s'\"<>]+",
        ),
    )
]
# Keys that are known by their first letters. What precedes them is no base64: an image in a page is left as it is.
_SHAPES: Final = re.compile(
    r"(?<![\w+/=-])(?:sk-(?=[^\s\d]{0,200}\d)[\w-]{16,}|AIza[\w-]{30,}|hf_[A-Za-z0-9]{16,}|gh[pousr]_\w{20,}|"
    r"github_pat_\w{20,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|nvapi-[\w-]{20,}|"
    r"gsk_\w{20,}|r8_\w{20,}|xai-\w{20,}|npm_\w{30,}|dckr_pat_[\w-]{20,}|pypi-[\w-]{20,}|AQ\.[\w-]{30,}|ya29\.[\w-]{20,}|"
    r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*)"
)


def text(value: str) -> str:
    """`value` with every key and password in it blotted out."""
    return _blotted(value, _known())


def known(value: str) -> str:
    """`value` with the environment's secrets alone blotted out: for programs, in which much looks like a secret."""
    for form, pattern in _known():
        if form in value:
            value = pattern.sub(MARK, value)
    return value


def values(tree: Any) -> Any:
    """The same for every text in nested mappings, lists and tuples; what is none of these stays as it is."""
    return _each(tree, _known())


def without_userinfo(value: str) -> str:
    """`value` without the passwords and tokens in its addresses: what remains still says where something lies."""
    return _BARE.sub(f"{PASSWORD}@", _IN_URL.sub(_address, value))


def _each(tree: Any, known: Known) -> Any:
    if isinstance(tree, str):
        return _blotted(tree, known)
    if isinstance(tree, Mapping):
        return {_each(key, known): _each(value, known) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_each(value, known) for value in tree]
    return tree


def _blotted(value: str, known: Known) -> str:
    for form, pattern in known:
        if form in value:
            value = pattern.sub(MARK, value)
    if "@" in value:
        value = without_userinfo(value)
    low = value.lower()
    for needles, pattern, mark in _FORMS:
        if any(needle in low for needle in needles):
            value = pattern.sub(mark, value)
    return _SHAPES.sub(MARK, value)


def _address(match: re.Match[str]) -> str:
    """Of https://token@host nothing is left; ssh://git@host needs its user."""
    scheme, user = match[1], match[2][:-1].split(":")[0]
    return scheme if scheme.lower().startswith("http") or not user else f"{scheme}{user}@"


def _known() -> Known:
    """How the environment's secrets look in a text, the longest first."""
    return _patterns(tuple(os.environ.items()))


@lru_cache(maxsize=4)
def _patterns(environment: tuple[tuple[str, str], ...]) -> Known:
    found = {secret for name, value in environment for secret in _secrets(name, value)}
    # A client may have quoted, escaped or encoded it by the time it is shown.
    plain = {form: _plain(form) for secret in found for form in _written(secret)}
    encoded = {form: re.compile(re.escape(form)) for secret in found for form in _encoded(secret)}
    return tuple(sorted((encoded | plain).items(), key=lambda item: -len(item[0])))


def _plain(form: str) -> re.Pattern[str]:
    alone = rf"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])){re.escape(form)}(?![A-Za-z0-9])"
    return re.compile(alone if len(form) < _ALONE else re.escape(form))


def _secrets(name: str, value: str) -> Iterator[str]:
    """The secrets that one variable holds."""
    words = re.split(r"[^A-Z0-9]+", name.upper())
    shortest = SHORTEST
    if any(_PASSWORD_WORD.fullmatch(word) for word in words):
        shortest = SHORTEST_PASSWORD
    elif "WEBHOOK" in words:
        yield from _long([value, "/" + value.partition("://")[2].partition("/")[2]], 12)
    is_place = bool(_PLACE_WORD.fullmatch(words[-1])) or name in ("PWD", "OLDPWD") or bool(_PATH.fullmatch(value))
    if not is_place and (shortest == SHORTEST_PASSWORD or any(_SECRET_WORD.fullmatch(word) for word in words)):
        yield from _long(_parts(value), shortest)
    if "@" in value:
        yield from _long(_passwords(value), SHORTEST_PASSWORD)
    if any(_CONNECTION_WORD.fullmatch(word) for word in words):
        yield from _long(_CONNECTION_KEY.findall(value), SHORTEST)


def _long(found: Iterable[str], shortest: int) -> Iterator[str]:
    for value in (secret.strip() for secret in found):
        if len(value) >= shortest and value.lower() not in _PLACEHOLDERS:
            yield value


def _parts(value: str) -> Iterator[str]:
    """A value as a whole, its lines (a private key), its items (a list of keys), or its secrets (a JSON object)."""
    yield value
    yield from value.splitlines() if "\n" in value.strip() else ()
    yield from value.split(",") if "," in value else ()
    if value.lstrip().startswith("{"):
        try:
            found = json.loads(value)
        except ValueError:
            return
        for name, inner in found.items():
            if isinstance(inner, str):
                yield from _secrets(str(name), inner)


def _passwords(value: str) -> Iterator[str]:
    """The passwords in an address, such as that of a proxy, as written and as meant."""
    for match in _IN_URL.finditer(value):
        user, colon, password = match[2][:-1].partition(":")
        secret = password if colon else user if match[1].lower().startswith("http") else ""
        yield from (secret, unquote(secret))
    for match in _BARE.finditer(value):
        secret = match[0][:-1].partition(":")[2]
        yield from (secret, unquote(secret))


def _written(secret: str) -> set[str]:
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    low = {re.sub("%..", lambda match: match[0].lower(), form) for form in quoted}
    raw = repr(secret.encode("utf-8", errors="surrogateescape"))[2:-1]
    return {secret, repr(secret)[1:-1], raw, json.dumps(secret)[1:-1], html.escape(secret), *quoted, *low}


def _encoded(secret: str) -> Iterator[str]:
    """In the base64 of 'user:password' it begins at any of three offsets; letters that it shares are left out."""
    raw = secret.encode("utf-8", errors="surrogateescape")
    for offset in range(3 if len(secret) >= SHORTEST else 0):
        letters = base64.b64encode(b"\0" * offset + raw).decode()
        yield letters[(0, 2, 3)[offset] : (offset + len(raw)) * 8 // 6]


class _Stream:
    """A text stream that blots out secrets in what is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, written: str) -> int:
        self._stream.write(text(written))
        return len(written)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def streams() -> Iterator[None]:
    """Within: nothing that is printed, logged or warned of shows a secret, also by handlers that were there before."""
    before = sys.stdout, sys.stderr
    shown = tuple(cast("TextIO", _Stream(stream)) for stream in before)
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)]
    moved = [(h, h.stream) for h in handlers if h.stream in before]
    sys.stdout, sys.stderr = shown
    for handler, stream in moved:
        handler.setStream(shown[before.index(stream)])
    try:
        yield
    finally:
        # Somebody may have put others there for the rest of the program, as typer does where a pipe has closed.
        sys.stdout, sys.stderr = (
            old if now is new else now for old, new, now in zip(before, shown, (sys.stdout, sys.stderr), strict=True)
        )
        for handler, stream in moved:
            handler.setStream(stream)
