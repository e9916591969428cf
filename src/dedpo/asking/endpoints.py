"""Addresses and keys of servers, checked the same way wherever one is asked; a key is never shown."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from dedpo.errors import UserError


def check_url(url: str, *, setting: str, example: str, instead: str) -> str:
    """`url` without a slash at its end.

    Args:
        setting: where it came from, such as 'label.base_url'.
        example: how to write it.
        instead: what to do rather than put a password into it.

    Raises:
        UserError: it is no http(s) URL, or it carries a password (which the manifest would keep).
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.username or parts.password:
        raise UserError(f"{setting}: holds a user name or password{instead}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{setting}: '{url}' is no endpoint; write it like {example}")
    if parts.query or parts.fragment:
        raise UserError(f"{setting}: '{url}' has a '?' or '#', which nothing can follow; write it like {example}")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine, where a server seldom asks for a key."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def through(url: str) -> str:
    """The proxy of the environment that stands between, in words for a message; '' if there is none."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme) or getproxies().get("all")
    if not proxy or not parts.hostname or proxy_bypass(parts.hostname):
        return ""
    return f", through the proxy {proxy} of the environment, which $NO_PROXY={parts.hostname} leaves out"


def address(
    given: str | None, variable: str, *, setting: str, kind: str, example: str, instead: str, otherwise: str = ""
) -> str:
    """Where a server answers: `given` by `setting`, else $`variable`, else `otherwise`; without a slash at its end.

    Args:
        kind: what is to be named, such as 'a scoring endpoint'.
        example, instead: see `check_url`.

    Raises:
        UserError: none of them is set, or it is no http(s) URL, or it carries a password (which the manifest would
            keep).
    """
    url = (given or os.environ.get(variable, "")).strip() or otherwise
    if not url:
        raise UserError(f"{setting}: not set, nor is ${variable}; name {kind} such as {example}")
    return check_url(url, setting=setting, example=example, instead=instead)


def unreachable(url: str, whom: str, reason: str, *, setting: str, variable: str) -> UserError:
    """The end of a run whose endpoint, named by `setting` or $`variable`, gives no answer at all."""
    return UserError(
        f"{url}: {whom} cannot be reached ({reason}{through(url)}); start it, or put {setting} (or ${variable}) right, "
        "and run again: what was answered is kept"
    )


def unproxied(host: str) -> dict[str, str]:
    """The variables that keep a proxy of the house from being asked for `host` too, such as this machine itself."""
    listed = [name for name in (os.environ.get("NO_PROXY") or os.environ.get("no_proxy", "")).split(",") if name]
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(dict.fromkeys([*listed, host])))


@contextmanager
def announced(variables: Mapping[str, str]) -> Iterator[None]:
    """Within: these variables are in the environment, by which clients find a server that lives as long as this."""
    former = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in former.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def check_key(key: str, variable: str) -> str:
    """`key` itself.

    Raises:
        UserError: it holds characters that a header cannot carry; names `variable`, not the key.
    """
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(f"${variable}: holds characters that a key cannot have; copy it again")
    return key
