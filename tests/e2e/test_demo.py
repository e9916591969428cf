"""The whole loop at reduced size, by the commands of the README: dvc repro, whose stages start the world's servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).parent.parent.parent
ARMS = ["sft", "dpo_human", "dpo_synthetic", "dedpo_tuned"]
SMALL = {
    "arms": f"[{', '.join(ARMS)}]",
    "seeds": "[0, 1]",
    "world.pairs": 60,
    "data.labelled": 15,
    "train.steps": 3,
    "train.snapshots": [1, 2],
    "train.batch_size": 8,
    "train.warmup_steps": 1,
    "sample.prompts": "prompts.txt",
    "sample.validation_prompts": "others.txt",
    "sample.seeds": "[0]",
    "sample.steps": 2,
    "report.grid_prompts": 2,
}
PROMPTS = ["a photo of a red circle on white", "a painting of a blue cross on navy , 8k"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the project's own dvc.yaml, params.yaml and base model, made small."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("dvc.yaml", "params.yaml", ".dvc", "human", "models"):
        source = REPOSITORY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        ignore = {"ignore": shutil.ignore_patterns("cache", "tmp")} if source.is_dir() else {}
        copy(source, folder / name, **ignore)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    (folder / "others.txt").write_text("a photo of a blue square on white\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    sets = [part for k, v in SMALL.items() for part in ("--set", f"{k}={v}")]
    _run(folder, "dedpo", "config", *sets, "--write")
    return folder


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "DVC_SITE_CACHE_DIR": str(folder / ".cache"),
        "DVC_NO_ANALYTICS": "1",
    }
    done = subprocess.run(
        [str(binaries / command[0]), *command[1:]],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=1000, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def finished(workspace: Path) -> Path:
    _run(workspace, "dvc", "repro")
    return workspace


@pytest.mark.timeout(1100)
def test_the_metrics_hold_every_arm_the_reference_and_both_metrics(finished: Path) -> None:
    metrics = json.loads((finished / "reports" / "metrics.json").read_text())
    assert metrics["seeds"] == [0, 1]
    assert set(metrics["methods"]) == {*ARMS, "reference"}
    for method in metrics["methods"].values():
        for metric in ("human_oracle", "adherence"):
            assert set(method[metric]) >= {"mean", "low", "high", "n"}
            assert method[metric]["low"] <= method[metric]["mean"] <= method[metric]["high"]


@pytest.mark.timeout(1100)
def test_arms_are_compared_at_their_best_and_at_one_drift(finished: Path) -> None:
    found = json.loads((finished / "reports" / "metrics.json").read_text())["frontier"]
    drawn = {"dpo_human", "dpo_synthetic", "dedpo_tuned"}
    assert set(found["best_step"]) == drawn
    assert set(found["best_step"].values()) <= {1, 2, 3}
    assert found["drift"] > 0
    assert set(found["at_best"]) == set(found["at_drift"]) == drawn - {"dedpo_tuned"}


@pytest.mark.timeout(1100)
def test_no_server_outlives_its_stage(finished: Path) -> None:
    assert not [p for p in psutil.process_iter(["cmdline"]) if "dedpo.world.serve" in (p.info["cmdline"] or [])]


@pytest.mark.timeout(1100)
def test_the_report_is_one_page_with_its_pictures(finished: Path) -> None:
    page = (finished / "reports" / "report.html").read_text()
    assert len(page) < 8_000_000
    assert page.count("data:image/") >= 2 * (len(ARMS) + 1)
    assert "dedpo_tuned" in page
    assert (finished / "reports" / "report.md").read_text().startswith("#")


@pytest.mark.timeout(1100)
def test_a_second_run_does_nothing_and_says_so(finished: Path) -> None:
    done = _run(finished, "dvc", "repro")
    assert "Data and pipelines are up to date" in done.stdout + done.stderr
    assert "Running stage" not in done.stdout


@pytest.mark.timeout(1100)
def test_changing_a_late_setting_repeats_late_stages_only(finished: Path) -> None:
    _run(finished, "dedpo", "config", "--set", "report.grid_prompts=1", "--write")
    done = _run(finished, "dvc", "repro")
    ran = [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]
    # Its numbers are the same, so the decision comes from the cache.
    assert ran == ["report"]


@pytest.mark.timeout(1100)
def test_metrics_and_plots_are_there_for_dvc(finished: Path) -> None:
    shown = _run(finished, "dvc", "metrics", "show", "--json").stdout
    assert "human_oracle" in shown
    header = (finished / "reports" / "training.csv").read_text().splitlines()[0]
    assert header == "arm,seed,step,loss"
