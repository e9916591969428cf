"""What the labels were worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dedpo.contract.records.targets import Targets
from dedpo.contract.sections import ReportConfig
from dedpo.report import stage
from dedpo.report.labels import place, worth
from tests.records import record
from tests.report.run_folder import write

PROBE, REFERENCE = {"n_eff": 80.0, "regime": "probe"}, {"n_eff": 80.0, "regime": "reference"}


@pytest.mark.parametrize(
    ("found", "beginning", "end"),
    [
        ([PROBE, PROBE], "the residuals of a probe", "the human labels teach"),
        ([REFERENCE], "the reference, where training begins", "where training begins"),
        ([PROBE, REFERENCE], "the residuals of a probe", "or without a probe at the reference, where training begins"),
        ([PROBE, {"n_eff": None, "regime": "reference"}], "the residuals of a probe", "the human labels teach"),
        ([], "the reference", "where training begins"),
    ],
)
def test_it_is_said_where_effective_labels_are_counted(found: list[dict[str, Any]], beginning: str, end: str) -> None:
    said = place(worth({("dedpo", seed): record(Targets, **facts) for seed, facts in enumerate(found)}))
    assert said.startswith(beginning)
    assert said.endswith(end)


def test_the_page_and_the_markdown_say_it(tmp_path: Path) -> None:
    stage.run(ReportConfig(metric="human_oracle", grid_prompts=1), **write(tmp_path), out=tmp_path / "report")
    for name in ("report.html", "report.md"):
        text = (tmp_path / "report" / name).read_text(encoding="utf-8")
        assert "would give a gradient as precise, at the residuals of a probe" in text, name
