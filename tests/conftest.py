"""What every test gets: no network outside loopback, one thread, quiet libraries."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import socket
import tempfile

import hypothesis
import pytest

# A busy machine is not a failing test.
hypothesis.settings.register_profile("dedpo", deadline=None)
hypothesis.settings.load_profile("dedpo")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DVC_NO_ANALYTICS"] = "1"
# make puts temporary folders into the checkout; a test's folder is outside git all the same.
os.environ["GIT_CEILING_DIRECTORIES"] = tempfile.gettempdir()


def _is_loopback(host: object) -> bool:
    host = host.decode() if isinstance(host, bytes) else host
    if host in ("localhost", "", None):
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection or look-up beyond loopback fails the test."""
    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):  # type: ignore[index]
            raise AssertionError(f"the test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    def guarded_getaddrinfo(host: object, *arguments: object, **options: object) -> object:
        if not _is_loopback(host):
            raise AssertionError(f"the test tried to look up {host}")
        return getaddrinfo(host, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only versions of data need git: where there is none, what runs it is skipped."""
    if shutil.which("git"):
        return
    runs = {path: bool(re.search(r"['\"]git['\"]|\bgit\(", path.read_text())) for path in {item.path for item in items}}
    for item in items:
        if runs[item.path]:
            item.add_marker(pytest.mark.skip(reason="no git on the PATH"))
