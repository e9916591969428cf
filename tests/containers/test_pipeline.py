"""The committed pipeline end to end in containers, and failures that are reported as failures."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest

from dedpo.world.serve import listening
from dedpo.world.server import app
from tests.containers import kubeflow
from tests.containers.engine import Engine
from tests.containers.images import build

ARMS = ["dpo_human", "dedpo_tuned"]
SMALL = {
    "data.labelled": 10,
    "label.concurrency": 4,
    "train": {"resolution": 16, "steps": 2, "batch_size": 4, "warmup_steps": 1},
    "sample": {"seeds": [0], "steps": 2, "guidance": 2.0},
    "bias": {"permutations": 100, "bootstrap": 100},
    "judge.rivals": ["reference"],
    "score.metrics": ["human_oracle", "adherence"],
    "report.metric": "human_oracle",
    "report.grid_prompts": 1,
}
pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore:Task .*no effect in the current local runner:UserWarning"),
    pytest.mark.filterwarnings("ignore:You may be attemping to run a task that uses custom:RuntimeWarning"),
]


@pytest.fixture(scope="module")
def image(engine: Engine, pip_settings: Path) -> str:
    return build(engine, pip_settings, "runtime")


@pytest.fixture(scope="module", autouse=True)
def everybodys_files() -> Iterator[None]:
    """kfp makes the tasks' folders as this user, root; the containers' user writes into them."""
    former = os.umask(0)
    yield
    os.umask(former)


@pytest.fixture(scope="module")
def world() -> Iterator[str]:
    with listening(app()) as url:
        yield url


class Run:
    """One run of the pipeline and where it has left its artefacts."""

    def __init__(self, root: Path, engine: Engine, image: str, world: str) -> None:
        self.root, self.engine, self.image, self.world = root, engine, image, world
        (root / "cache").mkdir(parents=True)
        # pytest makes folders for their owner only.
        root.chmod(0o777)

    def __call__(self, *, environment: dict[str, str] | None = None, **parameters: Any) -> None:
        given: dict[str, Any] = {
            "source": "world:40",
            "prompts": "prompts-test.txt",
            "annotator": "biased-vlm",
            "annotator_url": f"{self.world}/v1",
            "judge": "shapes-judge",
            "base": "/app/models/shapes-sd",
            "arms": ARMS,
            "gpus": 0,
        }
        settings = SMALL | {"judge.base_url": self.world, "score.oracle_url": self.world}
        given["overrides"] = json.dumps(settings | parameters.pop("overrides", {}))
        keys = {"OPENAI_API_KEY": "EMPTY", "GEMINI_API_KEY": "EMPTY"} | (environment or {})
        keys |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        with pytest.MonkeyPatch.context() as patch:
            kubeflow.prepare(patch, self.engine, self.root, self.root / "cache", keys)
            kubeflow.pipeline(self.root, self.image)(**given | parameters)

    def outputs(self, task: str) -> dict[str, Any]:
        (path,) = self.root.glob(f"*/{task}/executor_output.json")
        return {k: v["artifacts"][0] for k, v in json.loads(path.read_text()).get("artifacts", {}).items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, engine: Engine, image: str, world: str) -> Run:
    run = Run(tmp_path_factory.mktemp("finished"), engine, image, world)
    run()
    return run


def test_the_report_is_there(finished: Run) -> None:
    page = Path(finished.outputs("report")["page"]["uri"]).read_text()
    assert page.lower().startswith("<!doctype html>")
    assert "dedpo_tuned" in page


def test_every_task_wrote_as_a_user_who_is_not_root(finished: Run) -> None:
    told = list(finished.root.glob("dedpo-*/*/executor_output.json"))
    assert len(told) >= 10
    assert {path.stat().st_uid for path in told} == {10001}


def test_no_container_is_left(engine: Engine, finished: Run) -> None:
    assert engine("ps", "--all", "--quiet").stdout == ""


class _Chat(BaseHTTPRequestHandler):
    said: list[str] = []  # noqa: RUF012 (one server only)

    def do_POST(self) -> None:
        self.said.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def chat() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Chat) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook"
        server.shutdown()
        thread.join()


def test_a_stage_that_fails_ends_the_run_as_failed_and_is_told(
    tmp_path: Path, engine: Engine, image: str, world: str, chat: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / "root", engine, image, world)
    with pytest.raises(RuntimeError, match="gate"):
        run(environment={"DEDPO_WEBHOOK_URL": chat}, overrides={"gate.max_position_bias": 0.0})
    logs = capfd.readouterr().out
    (reason,) = [line.strip() for line in logs.splitlines() if line.strip().startswith("error: ")]
    assert "max_position_bias" in reason
    assert "Traceback" not in logs
    assert not list(run.root.glob("*/targets/executor_output.json"))
    (told,) = _Chat.said
    assert "did not come to its end" in told


def test_an_exit_status_is_never_lost(engine: Engine, image: str) -> None:
    client = docker.DockerClient(base_url=engine.address)
    try:
        options = {"network_mode": "none", "read_only": True}
        got = [kubeflow.run_container(client, image, ["sh", "-c", f"exit {n}"], {}, **options) for n in (3, 0, 3, 137)]
    finally:
        client.close()
    assert got == [3, 0, 3, 137]
