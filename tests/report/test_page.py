from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dedpo.contract.sections import ReportConfig
from dedpo.outputs.manifest import write_json
from dedpo.report import page, pictures, stage
from tests.report import run_folder


class Tags(HTMLParser):
    """Every tag with its attributes, and the text of <title>, captions and the like."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    inputs = run_folder.write(root, seeds=(0,), prompts=run_folder.HOSTILE)
    write_json(
        root / "bias/bias.json",
        run_folder.bias(word="<img src=x onerror=alert(4)>" + "w" * 10_000)
        | {"annotator": "<script>alert(5)</script>"},
    )
    stage.run(ReportConfig(metric="human_oracle"), **inputs, out=root / "report")
    return root / "report"


def test_hostile_prompts_are_inert(hostile: Path) -> None:
    html = (hostile / "report.html").read_text()
    tags = parse(html)
    assert not [tag for tag, _ in tags.found if tag in ("script", "iframe", "object", "embed", "form", "base")]
    assert not [name for _, attributes in tags.found for name in attributes if name.startswith("on")]
    for text in ("<script>alert(1)</script>", "<script>alert(2)</script>", "=cmd()", "{{ 7*7 }}", "<b>weak</b>"):
        assert text in tags.text
    assert "<img src=x" in tags.text
    assert "alert(3)" not in html
    assert "w" * 1_000 not in html
    assert "x" * 10_000 not in html
    assert "(10,000 characters)" in tags.text


def test_nothing_is_fetched(hostile: Path) -> None:
    html = (hostile / "report.html").read_text()
    for tag, attributes in parse(html).found:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value[:80])
    assert not re.search(r"@import|url\((?!#)", html)
    assert "default-src 'none'" in html


def test_markdown_is_inert(hostile: Path) -> None:
    text = (hostile / "report.md").read_text()
    assert "<script" not in text
    assert "&lt;script\\>" in text
    assert "\\[a\\](http\\://evil" in text
    assert "x" * 10_000 not in text
    assert "<img" not in text
    assert "w" * 1_000 not in text
    assert "\\|" in text


def test_every_picture_has_an_alternative_text(hostile: Path) -> None:
    tags = parse((hostile / "report.html").read_text())
    pictures = [attributes for tag, attributes in tags.found if tag == "img"]
    assert len(pictures) == 4 * 6
    assert all(p["alt"] for p in pictures)
    drawn = [attributes for tag, attributes in tags.found if tag == "svg"]
    assert len(drawn) == 8
    assert all(d["role"] == "img" and d["aria-label"] for d in drawn)


def test_big_pictures_become_thumbnails_within_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PICTURE_BUDGET", 1_500_000)
    inputs = run_folder.write(tmp_path, seeds=(0,), side=300)
    stage.run(ReportConfig(metric="human_oracle", grid_prompts=12), **inputs, out=tmp_path / "report")
    html = (tmp_path / "report/report.html").read_text()
    assert len(html) < 2_000_000
    assert "data:image/jpeg" in html
    # The budget drops prompts and the page says how many are left.
    shown = html.count('<figure class="row">')
    assert 0 < shown < 12
    assert f"{shown} prompts, picked by hash" in parse(html).text


@pytest.mark.parametrize(("dollars", "text"), [(None, "–"), (0, "$0.00"), (0.00825, "$0.0083"), (1234.5, "$1,234.50")])
def test_money(dollars: float | None, text: str) -> None:
    assert page.money(dollars) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (12.4, "12 s"), (59.9, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert page.duration(seconds) == text
