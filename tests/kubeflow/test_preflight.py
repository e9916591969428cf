"""The pipeline's first task: every mistake named at once, against real servers and repositories on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dedpo.contract.sections import LabelConfig, TrainConfig
from dedpo.errors import UserError
from dedpo.kubeflow import preflight, source_checks
from dedpo.kubeflow.parameters import Request as Asked
from dedpo.world.serve import listening
from dedpo.world.server import app

KEY = "sk-very-secret-0123456789"


@pytest.fixture(scope="module")
def world() -> Iterator[str]:
    with listening(app(key=KEY)) as url:
        yield url


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "GEMINI_BASE_URL", "GOOGLE_API_KEY", "DEDPO_ORACLE_URL", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)


def asked(world: str, folder: Path, settings: dict[str, Any] | None = None, **changes: Any) -> Asked:
    metrics = {"score.metrics": ["human_oracle", "adherence"], "report.metric": "human_oracle"}
    rest = metrics | {"score.oracle_url": world, "judge.base_url": world} | (settings or {})
    given: dict[str, Any] = {
        "source": "world:200",
        "revision": "",
        "prompts": "prompts-test.txt",
        "annotator": "biased-vlm",
        "annotator_url": f"{world}/v1",
        "labels": "",
        "judge": "shapes-judge",
        "base": str(folder),
        "arms": ["dpo_human", "dedpo_tuned"],
        "baselines": True,
        "primary": "dedpo_tuned",
        "seed": 3,
        "overrides": json.dumps(rest),
        "secret": "dedpo-keys",
        "image": "dedpo:1",
        "train_image": "dedpo-train:1",
        "label_image": "dedpo-label:1",
        "gpus": 0,
        "gpu_pool": {},
    }
    return Asked(**given | changes)


def refusal(given: Asked) -> str:
    with pytest.raises(UserError) as caught:
        preflight.check(given)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    return str(caught.value)


def test_a_good_run_is_planned(world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = {
        "accelerator": "amd.com/gpu",
        "selector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "tolerationSeconds": 30.0}],
    }
    settings = {"train.steps": 500.0, "train": {"lora": {"rank": 4}}, "data.max_pixels": 1000}
    plan = preflight.check(asked(world, tmp_path, settings, gpus=2, gpu_pool=pool))
    assert set(plan.sections) == {
        "data", "label", "bias", "gate", "targets", "train", "sample", "score", "judge", "report", "promote",
    }  # fmt: skip
    train = TrainConfig.model_validate_json(plan.sections["train"])
    assert (train.steps, train.base) == (500, str(tmp_path))
    assert train.lora is not None
    assert train.lora.rank == 4
    label = LabelConfig.model_validate_json(plan.sections["label"])
    assert (label.model, label.base_url) == ("biased-vlm", f"{world}/v1")
    assert plan[1:6] == ("world", "", ["dpo_human", "dedpo_tuned"], 1000, "endpoint")
    assert plan[6:12] == ("dedpo:1", "0", "1", "1Gi", {}, [])
    tolerations = [{"key": "gpu", "operator": "Exists", "tolerationSeconds": 30}]
    assert plan[12:] == ("2", "1", "12", "96Gi", "amd.com/gpu", {"pool": "gpu"}, tolerations)
    assert json.loads(plan.sections["judge"])["model"] == "shapes-judge"
    printed = capsys.readouterr().out
    assert re.search(rf"ok +annotator +{world}/v1 has 'biased-vlm'", printed)
    assert re.search(r"ok +annotator's answer +prefers the second picture \(P = .* s\)", printed)
    assert re.search(r"ok +judge's answer +.* prompt_alignment second \(", printed)
    assert KEY not in printed


def test_without_gpus_no_task_waits_for_a_gpu_node(world: str, tmp_path: Path) -> None:
    pool = {"selector": {"pool": "gpu"}, "tolerations": [{"operator": "Exists"}]}
    plan = preflight.check(asked(world, tmp_path, gpu_pool=pool, baselines=False, judge="", labels=""))
    assert (plan.node_selector, plan.tolerations, plan.accelerator) == ({}, [], "nvidia.com/gpu")
    assert plan.arms == ["dedpo_tuned"]
    assert json.loads(plan.sections["judge"])["model"] is None, "so the judge's task asks nobody"
    assert (plan.gpus, plan.one_gpu, plan.cpus, plan.memory) == ("0", "0", "2", "4Gi")


def test_a_server_in_the_pods_takes_the_label_image_and_a_gpu(world: str, tmp_path: Path) -> None:
    pool = {"selector": {"pool": "gpu"}, "tolerations": [{"operator": "Exists"}]}
    plan = preflight.check(asked(world, tmp_path, gpu_pool=pool, gpus=4, annotator_url=""))
    assert (plan.label_image, plan.label_gpus, plan.label_memory) == ("dedpo-label:1", "1", "24Gi")
    assert (plan.label_selector, plan.label_tolerations) == ({"pool": "gpu"}, [{"operator": "Exists"}])


def test_all_mistakes_are_named_at_once_and_a_line_each(
    world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"train.stepz": 1, "train.beta": -1, "label.model": "x", "report.metric": "hpsv2.0"}
    wrong = {"source": "ftp://host/x", "prompts": "../x", "seed": -1, "annotator_url": "", "base": "team/model"}
    message = refusal(asked(world, tmp_path, settings, gpu_pool={"tolerations": [{"operator": "Exist"}]}, **wrong))
    expected = [
        "overrides: unknown key 'train.stepz'; did you mean 'steps'?",
        "overrides: train.beta: input should be greater than 0, got -1",
        "overrides: 'label.model' has a parameter of its own",
        "report.metric: 'hpsv2.0' is not among score.metrics",
        "source: ftp://host/x: unknown scheme 'ftp'; known are s3://, gs://, minio://",
        "prompts: '../x': name a text file inside the source",
        "seed: -1 is negative",
        "annotator_url: empty, so that vLLM runs in the label pods, and gpus is 0",
        "base team/model: a model from the hub trains on a GPU and gpus is 0",
        "gpu_pool: tolerations.0.operator: input should be 'Exists' or 'Equal', got 'Exist'",
    ]
    assert message.startswith(f"{len(expected)} problems: (1) ")
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("missing ")]
    assert len(printed) == len(expected)
    for part in expected:
        assert part in message
        assert sum(part in line for line in printed) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.device": "cuda"}, "train.device cuda: it needs a GPU and gpus is 0; set gpus=1"),
        ({"train.precision": "fp16"}, "train.precision fp16: it needs a GPU"),
        ({"train.optimizer": "adamw_8bit"}, "train.optimizer adamw_8bit: it needs a GPU"),
        ({"score.precision": "bf16"}, "score.precision bf16: it needs a GPU"),
        ({"sample.device": "cuda"}, "sample.device cuda: it needs a GPU"),
        ({"promote.over": ["cdpo"]}, "promote.over: 'cdpo' is not among the arms"),
        ({"promote.max_loss": {"hpsv2.0": 1}}, "promote.max_loss: 'hpsv2.0' is not among score.metrics"),
        ({"score.oracle_url": None}, "score.metrics asks for adherence, human_oracle, which an endpoint measures"),
        ({"score.oracle_url": "http://127.0.0.1:9"}, "http://127.0.0.1:9: [Errno 111] Connection refused"),
        ({"judge.base_url": "http://127.0.0.1:9"}, "judge.base_url right, or set judge='' for none"),
        ({"train.processes": 3}, "train.batch_size: 128 pairs cannot be shared equally by 3 ranks; make it a multiple"),
        ({"judge.rivals": ["cdpo"]}, "judge.rivals: the run trains none of cdpo; add 'reference'"),
        ({"label.template": "pairwise-v2"}, "label.template: input should be 'pairwise-v1'"),
        ({"sample.prompts": "x"}, "'sample.prompts' has a parameter of its own"),
        ({"train": {"base": "x"}}, "'train.base' has a parameter of its own"),
        ({"train.steps": 10.5}, "train.steps: "),
    ],
)
def test_one_wrong_setting(settings: dict[str, Any], message: str, world: str, tmp_path: Path) -> None:
    assert message in refusal(asked(world, tmp_path, settings))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotator": "other"}, "no model 'other' there; it has "),
        ({"annotator_url": "http://127.0.0.1:9/v1"}, "http://127.0.0.1:9/v1: [Errno 111] Connection refused"),
        ({"annotator_url": "vllm:8000/v1"}, "annotator_url: 'vllm:8000/v1' is no endpoint"),
        ({"annotator_url": f"http://u:{KEY}@x/v1"}, "annotator_url: holds a user name or password"),
        ({"judge": "other-judge"}, "no model 'other-judge' there (404); set judge"),
        ({"primary": "cdpo"}, "primary 'cdpo' is not among the arms"),
        ({"arms": ["dpo_humn", "dedpo_tuned"]}, "arms.0: "),
        ({"overrides": '{"train.steps": 500,}'}, "overrides: no JSON at line 1, column 21"),
        ({"overrides": "[1]"}, "overrides: [1] is no object"),
        ({"overrides": '{"train.steps": 1, "train.steps": 2}'}, "'train.steps' is given twice"),
        ({"source": "world:1"}, "write 'world', or 'world:200'"),
        ({"source": "/no/such/folder"}, "source: '/no/such/folder': no such folder here; name a folder's URI"),
        ({"prompts": "prompts.txt"}, "the embedded world has prompts-train.txt, prompts-validation.txt"),
        ({"labels": "/no/labels"}, "labels: '/no/labels': no labels.parquet there"),
        ({"labels": "ftp://x/y"}, "labels: ftp://x/y: unknown scheme 'ftp'"),
        ({"base": "no-base"}, "base: no-base: nothing is there"),
        ({"gpus": -1}, "gpus: -1 is no count"),
        ({"secret": ""}, "secret: empty"),
        ({"train_image": ""}, "train_image: empty"),
        ({"label_image": "https://registry/dedpo"}, "label_image: 'https://registry/dedpo': no image's name"),
        ({"source": ""}, "source: empty; name a folder's URI"),
        ({"base": ""}, "base: empty"),
        ({"judge": "gemini-2.5-flash "}, "judge: 'gemini-2.5-flash ': spaces around it"),
        ({"gpu_pool": {"acelerator": "x/y"}}, "gpu_pool: unknown key 'acelerator'; did you mean 'accelerator'?"),
        ({"gpu_pool": {"selector": ["a"]}}, "gpu_pool: selector: input should be a valid dictionary"),
        ({"gpu_pool": {"tolerations": [{"operator": "Equal"}]}}, "operator Equal needs a key"),
    ],
)
def test_one_wrong_parameter(changes: dict[str, Any], message: str, world: str, tmp_path: Path) -> None:
    assert message in refusal(asked(world, tmp_path, **changes))


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("OPENAI_API_KEY", None, "asks for a key (401); put OPENAI_API_KEY into the Secret"),
        ("OPENAI_API_KEY", "wrong-key-000", "refuses $OPENAI_API_KEY (401)"),
        ("GEMINI_API_KEY", None, "$GEMINI_API_KEY: not set, and 'shapes-judge' asks for it"),
        ("GEMINI_API_KEY", "wrong-key-000", "refuses $GEMINI_API_KEY (400)"),
    ],
)
def test_keys_that_are_missing_or_wrong(
    variable: str, value: str | None, message: str, world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable)
    if value:
        monkeypatch.setenv(variable, value)
    told = refusal(asked(world, tmp_path))
    assert message in told
    assert "wrong-key" not in told


def test_labels_and_a_folder_that_are_there(world: str, tmp_path: Path) -> None:
    source, labels = tmp_path / "source", tmp_path / "labels"
    source.mkdir()
    labels.mkdir()
    (source / "prompts.txt").write_text("a cat\n")
    (labels / "labels.parquet").write_bytes(b"")
    place = {"source": str(source), "labels": str(labels), "annotator_url": "", "revision": "v7"}
    plan = preflight.check(asked(world, tmp_path, prompts="prompts.txt", **place))
    assert (plan.origin, plan.commit, plan.labelling) == ("folder", "v7", "given")
    assert "did you mean 'prompts.txt'?" in refusal(asked(world, tmp_path, prompts="prompt.txt", **place))


def test_a_version_is_resolved_to_its_commit(world: str, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-C", str(tmp_path / "repo"), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "repo").mkdir()
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "one")
    git("tag", "-a", "v1", "-m", "first")
    for repo in (str(tmp_path / "repo"), f"file://{tmp_path / 'repo'}"):
        plan = preflight.check(asked(world, tmp_path, source=f"{repo}@v1:data", prompts="prompts.txt"))
        assert (plan.origin, plan.commit) == ("versioned", git("rev-parse", "HEAD"))
        message = refusal(asked(world, tmp_path, source=f"{repo}@v2:data", prompts="prompts.txt"))
        assert "'v2': no tag, branch or commit of" in message
        assert "v1" in message
    assert "nowhere" in refusal(asked(world, tmp_path, source=f"file://{tmp_path}/nowhere@v1:x", prompts="p.txt"))


def test_an_endpoint_that_keeps_silent_costs_seconds(
    world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    async def silent(_: Request) -> Response:
        while not over.is_set():
            await asyncio.sleep(0.01)
        return Response()

    monkeypatch.setattr(preflight, "SECONDS", 1.0)
    with listening(Starlette(routes=[Route("/v1/models", silent)])) as url:
        message = refusal(asked(world, tmp_path, annotator_url=f"{url}/v1"))
        over.set()
    assert "annotator: no answer in 1 s; check address, network and egress" in message


@pytest.mark.slow
def test_a_bucket_is_looked_at_where_driver_and_credentials_are(monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server", reason="the S3-protocol server is a test extra").ThreadedMotoServer
    pytest.importorskip("s3fs", reason="the S3 driver is an extra")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    unseen = source_checks.store("source", "s3://pairs/v1")
    assert (unseen.state, "none of $AWS_ACCESS_KEY_ID" in unseen.detail) == ("note", True)
    running = server(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        monkeypatch.setattr(source_checks, "SECONDS", 240.0)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        script = (
            "import boto3; s3 = boto3.client('s3'); s3.create_bucket(Bucket='pairs'); "
            "s3.put_object(Bucket='pairs', Key='v1/pairs.csv', Body=b'x')"
        )
        subprocess.run([sys.executable, "-c", script], check=True, env=os.environ)
        assert source_checks.store("source", "s3://pairs/v1").state == "ok"
        missing = source_checks.store("source", "s3://pairs/v2")
        assert (missing.state, missing.detail) == (
            "missing",
            "s3://pairs/v2: nothing lies there; check bucket and path",
        )
    finally:
        running.stop()


def test_a_base_that_may_be_in_another_image_is_a_note(
    world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preflight.check(asked(world, tmp_path, base="/models/elsewhere"))
    assert "note    base" in capsys.readouterr().out


def test_stores_without_a_driver_are_a_note() -> None:
    found = source_checks.store("source", "minio://bucket/pairs")
    assert found.state == "note"


def test_a_win_rate_needs_a_judge(world: str, tmp_path: Path) -> None:
    message = refusal(asked(world, tmp_path, {"promote.min_win_rate": 0.5}, judge=""))
    assert "promote.min_win_rate: no judge is named" in message
