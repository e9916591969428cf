"""The committed YAML itself, run on this machine at reduced size. A test a run: they share nothing but their source."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dedpo.contract.sections import DataConfig, LabelConfig, WorldConfig
from dedpo.data import stage as data
from dedpo.label import stage as label
from dedpo.outputs.manifest import read_manifest
from dedpo.world.pairs import write_pairs
from dedpo.world.serve import listening
from dedpo.world.server import app
from tests.pipelines.local import ARMS, SMALL, outputs, quick, ran, run

PAIRS = 40
VLLM = """
import argparse
from dedpo.world.serve import serve
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
serve(parser.parse_known_args()[0].port, [])
"""
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:You may be attemping to run a task that uses custom:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Task .* settings .* have no effect in the current local runner:UserWarning"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: pairs, and one prompt to draw."""
    folder = tmp_path_factory.mktemp("world") / "my-pairs"
    write_pairs(WorldConfig(pairs=PAIRS), out=folder)
    (folder / "manifest.json").unlink()
    (folder / "prompts.txt").write_text("a photo of a red circle on white\n")
    return folder


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with listening(app()) as url:
        yield url


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory, world: Path, endpoint: str) -> Path:
    """Labels that somebody has bought already."""
    folder = tmp_path_factory.mktemp("labels")
    data.import_pairs(DataConfig(), source=world, out=folder / "data")
    config = LabelConfig(base_url=f"{endpoint}/v1", model="biased-vlm")
    label.run(config, pairs=folder / "data" / "pairs", out=folder / "labels")
    return folder / "labels"


class Hook:
    """A chat's webhook: what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/secret", self._post, methods=["POST"])])

    async def _post(self, request: Request) -> Response:
        self.told.append((await request.json())["text"])
        return Response("ok")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    hook = Hook()
    with listening(hook.app()) as url:
        monkeypatch.setenv("DEDPO_WEBHOOK_URL", f"{url}/secret")
        yield hook


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    monkeypatch.setenv("GEMINI_API_KEY", "EMPTY")
    return quick(monkeypatch, tmp_path)


def _broken_annotator() -> Starlette:
    """It names its model and then answers nothing: what doctor cannot foresee."""

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "biased-vlm", "object": "model"}]})

    async def refuse(_: Request) -> Response:
        return JSONResponse({"error": {"message": "CUDA out of memory"}}, 500)

    return Starlette(
        routes=[Route("/v1/models", models), Route("/v1/chat/completions", refuse, methods=["POST"])],
    )


def test_the_whole_loop(tmp_path: Path, world: Path, endpoint: str, hook: Hook, pauses: list[float]) -> None:
    overrides = SMALL | {"judge.base_url": endpoint, "score.oracle_url": endpoint, "data.shard_rows": 16}
    given = {"annotator_url": f"{endpoint}/v1", "judge": "shapes-judge", "revision": "monday"}
    run(tmp_path, source=str(world), overrides=overrides, **given)
    assert not pauses, "nothing was tried again"
    assert {"doctor", "label", "merge-labels", "gate", "train", "judge", "report", "promote"} <= ran(tmp_path)
    assert len(list(tmp_path.rglob("label/executor_output.json"))) == 3, "a pod for each list of shards"
    _check_report(outputs(tmp_path, "report"))
    _check_bias(outputs(tmp_path, "bias"))
    _check_facts(tmp_path)
    decided = "is promoted" if outputs(tmp_path, "promote")["decision"]["metadata"]["promoted"] else "is not promoted"
    (told,) = hook.told
    assert told.startswith(f"dedpo: local-pipeline-exit-handler-1 succeeded; dedpo_tuned {decided}; run ")
    kept = list((tmp_path / "cache" / "work").glob("*"))
    assert len(kept) == 3 + len(ARMS) + 1, "labels, policies and verdicts stay on the volume until a week has passed"


def _check_report(artefacts: dict[str, Any]) -> None:
    page = Path(artefacts["page"]["uri"]).read_text()
    assert page.lower().startswith("<!doctype html>")
    assert "dedpo_tuned" in page
    assert page.count("data:image/") >= len(ARMS) + 1
    assert Path(artefacts["summary"]["uri"]).read_text().startswith("#")
    assert set(artefacts["metrics"]["metadata"]) == {*ARMS, "reference"}
    files = Path(artefacts["files"]["uri"])
    assert set(json.loads((files / "metrics.json").read_text())["methods"]) == {*ARMS, "reference"}
    inputs = set(read_manifest(files)["inputs"])
    assert {f"policy {arm}, seed 0" for arm in ARMS} < inputs
    assert {"data", "labels", "samples", "scores", "targets, seed 0", "bias", "verdicts"} < inputs


def _check_bias(artefacts: dict[str, Any]) -> None:
    for name in ("page", "evidently"):
        assert "<html" in Path(artefacts[name]["uri"]).read_text()[:500].lower()
    agreement = artefacts["metrics"]["metadata"]
    assert 0 <= agreement["low"] <= agreement["value"] <= agreement["high"] <= 1
    matrix = artefacts["choices"]["metadata"]["confusionMatrix"]
    assert sum(sum(row["row"]) for row in matrix["rows"]) == agreement["n"]
    assert artefacts["choices"]["metadata"]["confidenceMetrics"], "the ROC curve"


def _check_facts(root: Path) -> None:
    """What the UI shows of each artefact."""
    pairs = outputs(root, "import-pairs")["pairs"]["metadata"]
    assert (pairs["rows"], pairs["data_revision"], len(pairs["sha256"])) == (PAIRS, "monday", 64)
    splits = outputs(root, "prepare")["splits"]["metadata"]
    assert (splits["labelled"], splits["seed"]) == (10, 0)
    merged = outputs(root, "merge-labels")
    assert merged["metrics"]["metadata"]["requests"] == 2 * PAIRS
    assert (merged["labels"]["metadata"]["annotators"], merged["labels"]["metadata"]["rows"]) == (["biased-vlm"], PAIRS)
    policy = outputs(root, "train")["policy"]["metadata"]
    assert policy["arm"] in ARMS
    assert policy["seed"] == 0
    assert outputs(root, "judge")["metrics"]["metadata"]["answered"] == 1
    assert outputs(root, "promote")["decision"]["metadata"]["promoted"] in (True, False)
    decision = json.loads(Path(outputs(root, "promote")["decision"]["uri"], "promotion.json").read_text())
    assert decision["primary"] == "dedpo_tuned"
    assert len(decision["policy_sha256"]) == 64


def test_versioned_data_with_labels_and_without_judge_or_baselines(
    tmp_path: Path, world: Path, labels: Path, endpoint: str, pauses: list[float]
) -> None:
    commit = _repository(tmp_path / "repository", world)
    source, overrides = f"{tmp_path / 'repository'}@v1:pairs", SMALL | {"score.oracle_url": endpoint}
    run(tmp_path, source=source, labels=str(labels), baselines=False, overrides=overrides)
    assert "README.md" in _files(outputs(tmp_path, "label")["part"]), "a note: nobody was asked"
    assert (labels / "labels.parquet").read_bytes() == _file(
        outputs(tmp_path, "merge-labels")["labels"], "labels.parquet"
    )
    assert "README.md" in _files(outputs(tmp_path, "judge")["verdicts"]), "a note: there is no judge"
    assert len(list(tmp_path.rglob("train/executor_output.json"))) == 1
    report = outputs(tmp_path, "report")
    assert set(report["metrics"]["metadata"]) == {"dedpo_tuned", "reference"}
    assert outputs(tmp_path, "import-pairs")["pairs"]["metadata"]["data_commit"] == commit
    assert commit[:7] in Path(report["page"]["uri"]).read_text(), "the report says which data it is about"
    assert not pauses


def _files(artefact: dict[str, Any]) -> set[str]:
    return {path.name for path in Path(artefact["uri"]).iterdir()}


def _file(artefact: dict[str, Any], name: str) -> bytes:
    return Path(artefact["uri"], name).read_bytes()


def _repository(folder: Path, world: Path) -> str:
    """A git repository with the world's folder at the tag v1; returns the commit."""
    import shutil

    shutil.copytree(world, folder / "pairs")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "pairs"], ["tag", "v1"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    done = subprocess.run(["git", "-C", str(folder), "rev-parse", "v1"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_stage_that_fails_is_tried_again_and_ends_in_the_exit_task(
    tmp_path: Path, hook: Hook, pauses: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    offline = {"label.max_retries": 0, "score.metrics": ["clipscore"], "report.metric": "clipscore"}
    given = {"prompts": "prompts-test.txt", "overrides": SMALL | offline | {"data.labelled": 4}}
    with listening(_broken_annotator()) as url, pytest.raises(RuntimeError, match="label"):
        run(tmp_path, source="world:12", annotator_url=f"{url}/v1", **given)
    logs = capfd.readouterr().out
    assert pauses == [30, 60, 120]
    assert logs.count("error: ") == 4, "one line a try"
    assert "Traceback" not in logs
    assert "prepare" in ran(tmp_path), "what does not wait for the labels is done"
    assert not {"bias", "train"} & ran(tmp_path)
    (told,) = hook.told
    assert told.startswith("dedpo: local-pipeline-exit-handler-1 did not come to its end; the failed task's log ends ")
    assert "FAILED (Task exit-handler-1 failed.)" in told
    assert "/secret" not in logs


def test_a_server_in_the_pod_and_a_failed_gate(
    tmp_path: Path,
    world: Path,
    endpoint: str,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In vLLM's place, which is not installed here, a module of its name starts the world's server."""
    module = tmp_path / "modules" / "vllm" / "entrypoints" / "openai"
    module.mkdir(parents=True)
    (module / "api_server.py").write_text(VLLM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"), prepend=os.pathsep)
    strict = {"gate.max_position_bias": 0.0, "score.oracle_url": endpoint}
    with pytest.raises(RuntimeError, match="gate"):
        run(tmp_path, source=str(world), gpus=1, overrides=SMALL | strict)
    (line,) = [text for text in capfd.readouterr().out.splitlines() if "error: gate" in text]
    assert "gate.max_position_bias" in line
    assert {"label", "bias"} <= ran(tmp_path)
    assert outputs(tmp_path, "merge-labels")["metrics"]["metadata"]["requests"] == 2 * PAIRS
    assert not {"gate", "targets", "train"} & ran(tmp_path)
    assert not pauses, "another try would find the same"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"overrides": {"train.stepz": 2}}, "unknown key 'train.stepz'; did you mean 'steps'?"),
        ({"source": "REPOSITORY@v2:pairs"}, "'v2': no tag, branch or commit of"),
    ],
)
def test_what_cannot_work_ends_before_anything_is_spent(
    wrong: dict[str, Any], message: str, tmp_path: Path, world: Path, pauses: list[float],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    _repository(tmp_path / "repository", world)
    given = {"source": str(world), "labels": "", "overrides": {}} | wrong
    given["source"] = given["source"].replace("REPOSITORY", str(tmp_path / "repository"))
    with pytest.raises(RuntimeError, match="doctor"):
        run(tmp_path, annotator_url="http://127.0.0.1:9/v1", **given)
    logs = capfd.readouterr().out
    (line,) = [text for text in logs.splitlines() if "error: " in text]
    assert message in line
    assert "http://127.0.0.1:9/v1: " in line, "everything that is wrong, not the first thing only"
    assert "did not come to its end" in logs
    assert ran(tmp_path) <= {"notify", "labels-given"}
    assert not pauses
