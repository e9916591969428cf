"""Addresses and keys: what is refused, and that a key is never shown."""

from __future__ import annotations

import pytest

from dedpo.asking.endpoints import check_key, check_url, is_loopback, through
from dedpo.errors import UserError

HOW = {"setting": "label.base_url", "example": "http://host/v1", "instead": "; leave it out"}


def test_a_good_address_loses_its_last_slash_only() -> None:
    assert check_url("http://127.0.0.1:8000/v1/", **HOW) == "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize("url", ["ftp://host", "host:8000", "http://", "http://[", ""])
def test_what_is_no_http_address_names_setting_and_example(url: str) -> None:
    with pytest.raises(UserError, match="label.base_url: '.*' is no endpoint; write it like http://host/v1"):
        check_url(url, **HOW)


@pytest.mark.parametrize("tail", ["?api-version=1", "#x"])
def test_what_nothing_can_follow_is_refused(tail: str) -> None:
    with pytest.raises(UserError, match=r"label.base_url: .* nothing can follow; write it like http://host/v1"):
        check_url(f"http://host/v1{tail}", **HOW)


def test_a_proxy_in_between_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert "through the proxy http://proxy:3128" in through("http://127.0.0.1:8000/v1")
    assert through("https://127.0.0.1/v1") == ""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert through("http://127.0.0.1:8000/v1") == ""


def test_a_password_is_refused_unshown() -> None:
    with pytest.raises(UserError, match="holds a user name or password; leave it out") as caught:
        check_url("http://me:s3cret@host/v1", **HOW)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "schlüssel", "line\nbreak"])
def test_a_malformed_key_is_refused_unshown(key: str) -> None:
    with pytest.raises(UserError, match=r"\$A_KEY: holds characters that a key cannot have") as caught:
        check_key(key, "A_KEY")
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://localhost/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.0.0.2/v1", True),
        ("http://[::1]/v1", True),
        ("http://localhost.example/v1", False),
        ("http://10.0.0.1/v1", False),
    ],
)
def test_an_endpoint_on_this_machine_is_known_by_its_address(url: str, is_here: bool) -> None:
    assert is_loopback(url) == is_here
