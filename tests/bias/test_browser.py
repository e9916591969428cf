"""The pages and the dashboard in a real browser."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dedpo.bias import stage
from dedpo.contract.sections import BiasConfig
from dedpo.world.annotators import biased_vlm
from tests.bias import world_tables

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, so that the dashboard has lines to draw."""
    root: Path = tmp_path_factory.mktemp("bias-browser")
    inputs = world_tables.write(root / "in", biased_vlm, n=600, rename=lambda t: f"<script>alert(1)</script> {t}")
    for _ in range(2):
        config = BiasConfig(workspace=str(root / "workspace"), permutations=1000)
        stage.run(config, **inputs, out=root / "out")
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        # Containers run as root, where Chromium refuses its sandbox; the pages are our own.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Visit:
    """One page with what it complained of and asked for."""

    def __init__(self, browser: Any, url: str, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url, wait_until="load")

    def from_outside(self, home: str) -> list[str]:
        return [u for u in self.requests if not u.startswith(("data:", "blob:", home))]


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (320, "dark"), (1280, "light")])
def test_the_page_opens_quietly_and_fits(browser: Any, folder: Path, width: int, scheme: str) -> None:
    url = (folder / "out/bias.html").as_uri()
    visit = Visit(browser, url, width, scheme)
    assert visit.complaints == []
    assert visit.from_outside(url) == []
    assert visit.page.evaluate("document.querySelectorAll('svg').length") == 4
    assert visit.page.evaluate(
        "[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 80)"
    )
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert "painting" in visit.page.inner_text("h1")
    visit.context.close()


def test_evidently_s_page_is_self_contained_and_drawn(browser: Any, folder: Path) -> None:
    url = (folder / "out/evidently.html").as_uri()
    visit = Visit(browser, url)
    visit.page.get_by_text("agreement with people").first.wait_for(timeout=120_000)
    assert visit.page.get_by_text("Cohen's κ").count() >= 1
    assert visit.complaints == []
    assert visit.from_outside(url) == []
    visit.context.close()


@pytest.fixture
def dashboard(folder: Path, tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "dedpo", "dashboard", "--workspace", str(folder / "workspace"), "--port", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().split()[0]
    with socket.socket() as elsewhere:
        assert elsewhere.connect_ex(("127.0.0.2", int(url.rsplit(":", 1)[1]))) != 0, "it listens beyond 127.0.0.1"
    yield url
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    process.stdout.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1]))) != 0, "the child is still there"


def test_the_dashboard_draws_every_panel_and_stops(browser: Any, dashboard: str) -> None:
    with urllib.request.urlopen(f"{dashboard}/api/projects", timeout=120) as answer:
        project = json.load(answer)[0]["id"]
    visit = Visit(browser, f"{dashboard}/projects/{project}")
    titles = ["Agreement, latest run", "Cohen's κ, latest run", "Agreement with people", "Order of the two images"]
    for title in [*titles, "Agreement where the prompt says “painting”"]:
        visit.page.get_by_text(title, exact=True).first.wait_for(timeout=120_000)
    # Attached, not visible: two equal runs make a flat line, whose box has no height.
    visit.page.wait_for_selector("svg path.MuiLineElement-root", state="attached", timeout=120_000)
    assert visit.page.locator("svg path.MuiLineElement-root").count() == 5
    assert visit.complaints == []
    assert visit.from_outside(dashboard) == []
    visit.context.close()


def test_a_taken_port_a_foreign_host_and_no_workspace_are_one_line(folder: Path, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        workspace = ["--workspace", str(folder / "workspace")]
        cases = [
            ([*workspace, "--port", port], "--port"),
            ([*workspace, "--host", "192.0.2.1"], "--host"),
            ([], "no Evidently workspace"),
        ]
        for arguments, message in cases:
            command = [sys.executable, "-m", "dedpo", "dashboard", *arguments]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
            assert done.returncode == 2
            assert message in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1
