"""The page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dedpo.contract.sections import ReportConfig
from dedpo.report import stage
from tests.report import run_folder

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
]


@pytest.fixture(scope="module")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    root: Path = tmp_path_factory.mktemp("browser")
    inputs = run_folder.write(root, seeds=(0, 1), prompts=[*run_folder.HOSTILE, *run_folder.PLAIN])
    stage.run(ReportConfig(metric="human_oracle", grid_prompts=16), **inputs, out=root / "report")
    return (root / "report/report.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        # Containers run as root, where Chromium refuses its sandbox; the page is our own.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (320, "dark"), (1280, "light")])
def test_the_page_opens_quietly_and_fits(browser: Any, page_url: str, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_url, wait_until="load")
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [page_url]
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("document.images.length") == 16 * 6
    assert page.evaluate("[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 50)")
    bars = page.evaluate("[...document.querySelectorAll('.split')].map(s => s.getBoundingClientRect().width)")
    assert len(bars) == 5 + 3 * (3 + 1), "of the metric against each rival; of the judge, and the metric again"
    assert min(bars) > 100
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_it_prints(browser: Any, page_url: str) -> None:
    page = browser.new_page()
    page.goto(page_url)
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
