"""docs/kubernetes-*.md: their commands are taken from them, and what they name is there."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dedpo.cli import app
from dedpo.kubeflow import preflight, submit
from dedpo.kubeflow.parameters import Request
from tests.fixtures import BASE
from tests.k8s import objects
from tests.k8s.kubectl import FOLDERS, REPOSITORY, render
from tests.k8s.pods import containers, pods

PAGES = ("laptop", "gpu", "what-happens")
GUIDE = "\n".join((REPOSITORY / "docs" / f"kubernetes-{page}.md").read_text() for page in PAGES)
PACKAGE = REPOSITORY / "pipelines" / "dedpo.yaml"
COMMANDS = [
    line.strip()
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]


def _words(command: str) -> list[str]:
    """As the shell would split and fill in the command."""
    script = f"printf '%s\\0' {command}"
    done = subprocess.run(["bash", "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@functools.cache
def _given(command: str) -> dict[str, Any]:
    """The parameters of a `dedpo submit` or `kfp run create`, checked against the compiled pipeline."""
    values = [w for w in _words(command) if re.match(r"[a-z_]+=", w)]
    if command.startswith("kfp"):
        # kfp reads each value as JSON if it can, so that a text of JSON is quoted once more.
        values = [re.sub(r'=(".*")$', lambda m: f"={json.loads(m[1])}", w) for w in values]
    return submit.arguments(PACKAGE, values)[1]


def _world() -> dict[str, Any]:
    (pod,) = [p for p in pods(render("overlays/local")) if p.name == "Deployment/world"]
    ((_, container, _),) = containers(pod)
    return container


@pytest.fixture(scope="module")
def world() -> Iterator[str]:
    """The world's server, started with the manifest's own words on a free port of loopback, and ended as a pod is."""
    words = ["127.0.0.1" if w == "0.0.0.0" else "0" if w == "8000" else w for w in _world()["args"]]
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield re.findall(r"http://[\d.:]+", server.stdout.readline())[0]
        finally:
            server.terminate()
        assert server.wait(120) == 0, "it ends when it is told to"


SUBMITS = [c for c in COMMANDS if c.startswith("dedpo submit")]
LOCAL, GPU = SUBMITS


@pytest.mark.parametrize("command", SUBMITS, ids=["local", "gpu"])
def test_what_is_submitted_passes_a_dry_run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    done = CliRunner().invoke(app, [*_words(command)[1:], "--dry-run"])
    assert done.exit_code == 0, f"{done.output}{done.exception}"
    assert "would run" in done.output


def test_kubeflows_own_command_gives_the_same_parameters() -> None:
    (command,) = [c for c in COMMANDS if "run create" in c]
    assert _given(command) == _given(LOCAL)


@pytest.mark.parametrize("command", SUBMITS, ids=["local", "gpu"])
def test_the_pipelines_first_task_agrees(command: str, world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, but for what only a cluster, the image and accounts have: addresses, folders, models, keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    monkeypatch.setenv("GEMINI_API_KEY", "EMPTY")
    known = next(yaml.safe_load_all(PACKAGE.read_text()))["root"]["inputDefinitions"]["parameters"]
    run = {name: p.get("defaultValue") for name, p in known.items()} | _given(command)
    run |= {"annotator": "biased-vlm", "judge": "shapes-judge"}
    overrides = {"judge.base_url": "http://world:8000"} | json.loads(run["overrides"])
    run["overrides"] = json.dumps(overrides)
    text = re.sub("http://(world|annotator):8000", world, json.dumps(run))
    asked = Request.of(json.loads(text.replace("/app/models", str(BASE.parent))))
    assert asked is not None
    plan = preflight.check(asked)
    assert (plan.origin, plan.labelling) == ("world" if command == LOCAL else "folder", "endpoint")
    assert plan.node_selector == run["gpu_pool"].get("selector", {})
    assert json.loads(plan.sections["train"])["steps"] == overrides["train.steps"]


def test_the_gpu_run_goes_to_the_pool_of_the_manifest() -> None:
    (pod,) = [p for p in pods(render("overlays/gpu")) if p.name == "Deployment/vllm"]
    pool = _given(GPU)["gpu_pool"]
    assert pool["selector"] == pod.spec["nodeSelector"]
    assert pool["tolerations"] == pod.spec["tolerations"]
    assert pool["accelerator"] in pod.spec["containers"][0]["resources"]["limits"]
    ((label, value),) = pool["selector"].items()
    assert any(c.startswith("kubectl label node") and c.endswith(f" {label}={value}") for c in COMMANDS)
    assert any(c.startswith("kubectl taint node") and pool["tolerations"][0]["key"] in c for c in COMMANDS)


@pytest.mark.parametrize("folder", ["overlays/local", "overlays/gpu-standalone"])
def test_addresses_and_accounts_of_the_runs_are_there(folder: str) -> None:
    documents = render(folder)
    command = LOCAL if folder == "overlays/local" else GPU
    text = f"{command} {_given(command).get('overrides')}"
    hosts = set(re.findall(r"http://([a-z]+):(\d+)", text))
    served = {(d["metadata"]["name"], str(p["port"])) for d in documents if d["kind"] == "Service" for p in _ports(d)}
    assert hosts <= served
    assert hosts
    (account,) = set(re.findall(r"--service-account (\S+)", command))
    assert account in objects.names(documents, "ServiceAccount")
    assert {d["metadata"].get("namespace", "kubeflow") for d in documents} == {"kubeflow"}


def _ports(service: dict[str, Any]) -> list[dict[str, Any]]:
    return list(service["spec"]["ports"])


def test_objects_that_commands_name_are_there() -> None:
    known = {(d["kind"].lower(), d["metadata"]["name"]) for folder in FOLDERS for d in render(folder)}
    named = {pair for c in COMMANDS for pair in re.findall(r"(job|deployment)/([a-z-]+)", c)}
    named |= {("service", n) for n in re.findall(r"svc/([a-z-]+)", GUIDE)}
    assert {("job", "dedpo-cache"), ("deployment", "world"), ("deployment", "vllm")} <= named
    # Kubeflow's own.
    assert named - {("service", "ml-pipeline-ui"), ("deployment", "workflow-controller")} <= known


def test_files_that_the_pages_name_are_there() -> None:
    for name in re.findall(r"(?<![\w/])(?:k8s|pipelines)/[\w./-]*\w", GUIDE):
        assert (REPOSITORY / name).exists(), name
    applied = [
        c.split("-k ")[1].split()[0]
        for c in COMMANDS
        if c.startswith(("kubectl apply -k k8s", "kubectl delete -k k8s"))
    ]
    assert len(applied) >= 3
    assert {a.removeprefix("k8s/") for a in applied} <= set(FOLDERS)


def test_images_are_built_from_targets_of_the_dockerfile() -> None:
    stages = set(re.findall(r"^FROM .* AS (\w+)$", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE))
    targets = set(re.findall(r"--target (\w+)", "\n".join(COMMANDS)))
    (loop,) = [c for c in COMMANDS if c.startswith("for target in")]
    targets |= set(loop.removeprefix("for target in ").removesuffix("; do").split())
    assert {"runtime", "train", "label", "dashboard"} == targets
    assert targets <= stages


def test_versions_are_those_that_were_tested() -> None:
    assert f"SDK {version('kfp')}" in GUIDE
    (pod,) = [p for p in pods(render("overlays/gpu")) if p.name == "Deployment/vllm"]
    assert f"| vLLM | {pod.spec['containers'][0]['image'].partition(':v')[2]} |" in GUIDE


def test_every_policy_and_quota_that_the_pages_name_exists() -> None:
    known = {d["metadata"]["name"] for folder in FOLDERS for d in render(folder)}
    for name in re.findall(r"`(dedpo-[a-z-]+)`", GUIDE):
        assert name in known | {objects.SECRET}, name


def test_the_worlds_probes_answer(world: str) -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        with urllib.request.urlopen(world + _world()[probe]["httpGet"]["path"], timeout=120) as answer:
            assert answer.status == 200


def test_the_dashboard_starts_as_its_image_does() -> None:
    (pod,) = [p for p in pods(render("overlays/gpu")) if p.name == "Deployment/dashboard"]
    ((_, container, _),) = containers(pod)
    stage = (REPOSITORY / "Dockerfile").read_text().partition(" AS dashboard\n")[2]
    assert json.loads(re.findall(r"^CMD (\[.*\])", stage, flags=re.MULTILINE)[0]) == container["args"]
    assert f"EXPOSE {container['ports'][0]['containerPort']}" in stage
    assert container["readinessProbe"]["httpGet"]["path"] in stage.partition("HEALTHCHECK")[2]
