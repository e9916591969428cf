"""The decision to promote: from the report's numbers, never an error, and always with reasons."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.contract.records.report import Report, RivalShares
from dedpo.contract.sections import PromoteConfig
from dedpo.decide import promotion
from dedpo.errors import UserError
from dedpo.outputs.manifest import fingerprint
from tests.records import record


def difference(mean: float | None, low: float | None) -> dict[str, Any]:
    return {"mean": mean, "low": low, "high": None if low is None or mean is None else 2 * mean - low, "n": 20}


def metrics(**changes: Any) -> dict[str, Any]:
    differences = {
        "reference": {"pickscore": difference(0.3, 0.1), "clipscore": difference(-0.01, -0.02)},
        "dpo_human": {"pickscore": difference(0.1, -0.05)},
    }
    judged = {"reference": {"general_preference": record(RivalShares, win_rate=0.6, low=0.52, high=0.68)}}
    known = {"primary": "dedpo_tuned", "metric": "pickscore", "differences": differences, "judge": judged}
    return record(Report, **known | changes)


def decide(folder: Path, found: dict[str, Any], **config: Any) -> dict[str, Any]:
    (folder / "metrics.json").write_text(json.dumps(found))
    return promotion.run(PromoteConfig(**config), metrics=folder / "metrics.json", policy=None, out=folder / "out")


def test_a_sure_gain_is_promoted(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "weights").write_text("w")
    (tmp_path / "metrics.json").write_text(json.dumps(metrics()))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("stays")
    found = promotion.run(
        PromoteConfig(), metrics=tmp_path / "metrics.json", policy=tmp_path / "policy", out=tmp_path / "out"
    )
    assert found["promoted"]
    assert found["report_sha256"] == fingerprint(tmp_path / "metrics.json")
    assert found["policy_sha256"] == fingerprint(tmp_path / "policy")
    assert promotion.describe(found) == (
        "dedpo_tuned: promoted; pickscore against reference: the difference is 0.300, lower end 0.100, which must be "
        "above 0; pickscore: not proven worse than dpo_human"
    )
    assert json.loads((tmp_path / "out" / "promotion.json").read_text()) == found
    assert (tmp_path / "out" / "promotion.md").read_text().startswith("# Promoted: `dedpo_tuned`")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["promotion.json", "promotion.md", "report.html"]


def test_who_lost_to_another_arm_is_not_promoted_and_the_text_names_whom(tmp_path: Path) -> None:
    lost = metrics()
    lost["differences"] |= {
        "dpo_human": {"pickscore": difference(-0.283, -0.4)},
        "dpo_synthetic": {"pickscore": difference(0.1, 0.05)},
        "dpo_all_human": {"pickscore": difference(-0.1, -0.3), "clipscore": difference(-0.2, -0.3)},
    }
    found = decide(tmp_path, lost)
    assert not found["promoted"]
    assert "it lost to dpo_human by 0.283" in promotion.describe(found)
    assert "dpo_all_human" not in promotion.describe(found), "its interval holds 0"
    assert "it lost to dpo_human by 0.283" in (tmp_path / "out" / "promotion.md").read_text()
    assert decide(tmp_path, lost, not_worse=["dpo_synthetic"])["promoted"]
    assert decide(tmp_path, lost, not_worse=[])["promoted"]
    gained = {"reference": lost["differences"]["reference"], "dpo_human": {"pickscore": difference(None, None)}}
    assert decide(tmp_path, lost | {"differences": gained})["promoted"], "no interval proves nothing"


@pytest.mark.parametrize(
    ("config", "promoted", "reason"),
    [
        (
            {"over": ["reference", "dpo_human"]},
            False,
            "pickscore against dpo_human: the difference is 0.100, lower end",
        ),
        ({"min_gain": 0.1}, False, "lower end 0.100, which must be above 0.1"),
        ({"min_gain": 0.09}, True, "above 0.09"),
        ({"min_win_rate": 0.5}, True, "judge against reference: the win rate is 0.600, lower end 0.520"),
        ({"min_win_rate": 0.55}, False, "which must reach 0.55"),
        ({"max_loss": {"clipscore": 0.03}}, True, "lower end -0.020, which must be above -0.03"),
        ({"max_loss": {"clipscore": 0.02}}, False, "lower end -0.020, which must be above -0.02"),
        ({"max_loss": {"aesthetic": 1}}, False, "aesthetic against reference: the difference is not in the report"),
        ({"over": ["cdpo"]}, False, "pickscore against cdpo: the difference is not in the report"),
        ({"over": ["dpo_human"], "min_win_rate": 0.1}, False, "judge against dpo_human: the win rate is not in the re"),
    ],
)
def test_each_limit_decides(config: dict[str, Any], promoted: bool, reason: str, tmp_path: Path) -> None:
    found = decide(tmp_path, metrics(), **config)
    assert found["promoted"] is promoted
    assert reason in promotion.describe(found)
    assert "\n" not in promotion.describe(found)


def test_a_number_without_an_interval_is_no_gain(tmp_path: Path) -> None:
    found = decide(tmp_path, metrics(differences={"reference": {"pickscore": difference(0.5, None)}}))
    assert not found["promoted"]
    assert "is 0.500 without an interval" in promotion.describe(found)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"primary": "x"}'])
def test_what_is_no_reports_metrics_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=r"metrics\.json"):
        promotion.run(PromoteConfig(), metrics=tmp_path / "metrics.json", policy=None, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.dictionaries(st.sampled_from(["reference", "pickscore", "low", "mean", "x"]), inner, max_size=4),
    max_leaves=8,
)


@given(differences=JSON, judged=JSON)
def test_whatever_the_report_holds_there_is_an_answer_or_its_key_is_named(differences: Any, judged: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = decide(Path(folder), metrics(differences=differences, judge=judged), min_win_rate=0.5)
            told = "".join(r["text"] for r in found["reasons"])
        except UserError as error:
            told = str(error)
    assert re.search(r"^pickscore against|metrics.json: (says nothing of )?'(differences|judge)\b.*dedpo report", told)
