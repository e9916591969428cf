from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dedpo.contract import tables
from dedpo.contract.sections import ReportConfig
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest, write_json
from dedpo.report import stage
from tests.report import run_folder


@pytest.mark.parametrize(("seeds", "kind", "n"), [((0,), "over prompts only", 12), ((0, 1, 2, 3, 4), "over seeds", 5)])
def test_a_complete_run(seeds: tuple[int, ...], kind: str, n: int, tmp_path: Path) -> None:
    inputs = run_folder.write(tmp_path, seeds=seeds)
    metrics = stage.run(ReportConfig(metric="human_oracle"), **inputs, out=tmp_path / "report")
    assert metrics == json.loads((tmp_path / "report/metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["seeds"] == list(seeds)
    assert metrics["interval"] == kind
    assert metrics["verdict"] == "better"
    assert set(metrics["methods"]) == {"reference", *run_folder.ARMS}
    mine = metrics["methods"]["dedpo_tuned"]["human_oracle"]
    assert set(mine) == {"mean", "low", "high", "n"}
    assert mine["n"] == n
    assert metrics["differences"]["dpo_human"]["human_oracle"]["mean"] == pytest.approx(0.3, abs=0.1)
    assert metrics["win_rates"]["dedpo_tuned"]["sft"]["mean"] > 0.9
    assert metrics["labels"]["n_eff"] == 80
    assert metrics["labels"]["power"] == pytest.approx(0.6 + sum(seeds) / len(seeds) / 10)
    html = (tmp_path / "report/report.html").read_text()
    assert "not available" not in html
    assert "DeDPO tuned beats DPO + synthetic by" in html
    assert re.search(r"<th scope=\"row\">together</th><td>83\u00a0% \(71\u00a0% to 91\u00a0%\)</td><td>–</td>", html)
    assert ("over prompts only</b>" in html) == (len(seeds) == 1)
    assert len(html) < 1_000_000
    agreement = run_folder.bias()["agreement"]
    assert metrics["bias"] == {"agreement": {key: agreement[key] for key in ("value", "low", "high", "kappa", "n")}}
    assert set(metrics["judge"]) == {"dpo_synthetic", "dpo_human", "reference"}
    shares = metrics["judge"]["dpo_human"]["general_preference"]
    assert (shares["win"], shares["tie"], shares["loss"], shares["n"]) == (0.5, 0.25, 0.25, 12)
    assert shares["low"] < shares["win_rate"] == 0.625 < shares["high"]
    assert "vlm errs on prompts with “painting”" in html
    assert f"<code>{tmp_path / 'bias/bias.html'}</code>" in html
    assert "comparisons in which both name a winner" in html
    assert "$0.0083" in html
    assert "4,004" in html
    text = (tmp_path / "report/report.md").read_text()
    assert "# DeDPO tuned beats DPO + synthetic by" in text
    assert "not available" not in text
    assert "| DPO human | General Preference | 50" in text


def test_without_judge_and_bias(tmp_path: Path) -> None:
    inputs = run_folder.write(tmp_path, seeds=(0,))
    del inputs["bias"], inputs["verdicts"]
    metrics = stage.run(ReportConfig(metric="human_oracle"), **inputs, out=tmp_path / "report")
    assert (metrics["judge"], metrics["bias"]) == ({}, {})
    html = (tmp_path / "report/report.html").read_text()
    assert "Verdicts of a judge: not available." in html
    assert "The bias report: not available." in html
    assert not {"bias", "verdicts"} & set(read_manifest(tmp_path / "report")["inputs"])


def test_a_bias_without_a_property_shows_words(tmp_path: Path) -> None:
    inputs = run_folder.write(tmp_path, seeds=(0,))
    facts = run_folder.bias() | {"picture": None, "agreement": None}
    write_json(tmp_path / "bias/bias.json", facts)
    metrics = stage.run(ReportConfig(metric="human_oracle"), **inputs, out=tmp_path / "report")
    assert metrics["bias"] == {}
    assert "Agreement on prompts with a word: painting 0.640" in (tmp_path / "report/report.html").read_text()


def test_the_manifest_names_what_the_report_was_made_from(tmp_path: Path) -> None:
    inputs = run_folder.write(tmp_path, seeds=(3,))
    stage.run(ReportConfig(metric="human_oracle"), **inputs, out=tmp_path / "report")
    named = read_manifest(tmp_path / "report")["inputs"]
    assert {"scores", "samples", "data", "labels", "bias", "verdicts", "targets, seed 3", "policy sft, seed 3"} <= set(
        named
    )


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    inputs = run_folder.write(tmp_path, seeds=(0, 1))
    for name in ("a", "b"):
        stage.run(ReportConfig(metric="human_oracle"), **inputs, out=tmp_path / name)
    assert read_manifest(tmp_path / "a")["outputs"] == read_manifest(tmp_path / "b")["outputs"]


@pytest.mark.parametrize(
    "gone",
    [
        ["samples"],
        ["policies"],
        ["targets"],
        ["labels"],
        ["data"],
        ["bias"],
        ["verdicts"],
        ["samples", "policies", "targets", "labels", "data", "bias", "verdicts"],
    ],
)
def test_missing_pieces_are_said_to_be_missing(gone: list[str], tmp_path: Path) -> None:
    inputs = run_folder.write(tmp_path, seeds=(0,))
    for name in gone:
        shutil.rmtree(tmp_path / name)
    metrics = stage.run(ReportConfig(metric="human_oracle"), **inputs, out=tmp_path / "report")
    assert metrics["verdict"] == "better"
    assert (metrics["labels"]["n_eff"] is None) == ("targets" in gone)
    assert "not available" in (tmp_path / "report/report.html").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        '{"drift": NaN, "accuracy": 3, "n_eff": "many", "warnings": 3}',
        '{"headline": "h", "agreement": [], "words": [{}], "picture": {"property": 2, "panels": [{"bins": [3]}]}}',
    ],
)
def test_broken_pieces_do_not_break_the_page(text: str, tmp_path: Path) -> None:
    inputs = run_folder.write(tmp_path, seeds=(0,))
    for path in (
        *tmp_path.glob("policies/0/*/metrics.json*"), *tmp_path.glob("targets/0/**/t*.json"),
        tmp_path / "labels/summary.json", tmp_path / "data/summary.json", tmp_path / "bias/bias.json",
        tmp_path / "verdicts/summary.json", tmp_path / "verdicts/verdicts.parquet",
    ):  # fmt: skip
        path.write_text(text)
    metrics = stage.run(ReportConfig(metric="human_oracle"), **inputs, out=tmp_path / "report")
    assert metrics["labels"]["n_eff"] is None
    assert metrics["judge"] == {}


def rescore(inputs: dict[str, Any], keep: Any) -> None:
    rows = [r for r in tables.read(inputs["scores"], tables.SCORES).to_pylist() if keep(r)]
    tables.write(
        pa.Table.from_pylist(rows, schema=tables.SCORES.schema), tables.SCORES, inputs["scores"] / "scores.parquet"
    )


def test_an_arm_without_one_seed_is_compared_on_the_others(tmp_path: Path) -> None:
    inputs = run_folder.write(tmp_path)
    rescore(inputs, lambda r: r["model"] != "dpo_human-1")
    metrics = stage.run(ReportConfig(metric="human_oracle"), **inputs, out=tmp_path / "report")
    assert metrics["methods"]["dpo_human"]["human_oracle"]["n"] == 2
    assert metrics["differences"]["dpo_human"]["human_oracle"]["n"] == 2
    assert metrics["differences"]["sft"]["human_oracle"]["n"] == 3


def test_two_methods_one_prompt(tmp_path: Path) -> None:
    inputs = run_folder.write(tmp_path, seeds=(0,), prompts=["one"])
    rescore(inputs, lambda r: r["model"] in ("reference", "dedpo_tuned-0") and r["metric"] == "human_oracle")
    metrics = stage.run(ReportConfig(metric="human_oracle"), **inputs, out=tmp_path / "report")
    assert metrics["methods"]["dedpo_tuned"]["human_oracle"]["low"] is None
    assert "untouched reference alone" in (tmp_path / "report/report.html").read_text()


def test_user_errors(tmp_path: Path) -> None:
    inputs = run_folder.write(tmp_path, seeds=(0,))
    with pytest.raises(UserError, match=r"report\.metric: 'beauty' was not scored.*adherence, human_oracle"):
        stage.run(ReportConfig(metric="beauty"), **inputs, out=tmp_path / "report")
    with pytest.raises(UserError, match="arm 'dpo_all_human' was not scored"):
        stage.run(ReportConfig(metric="human_oracle"), **inputs | {"primary": "dpo_all_human"}, out=tmp_path / "report")
    (tmp_path / "scores/manifest.json").unlink()
    with pytest.raises(UserError, match="not a finished output"):
        stage.run(ReportConfig(metric="human_oracle"), **inputs, out=tmp_path / "report")
    assert not (tmp_path / "report").exists()
