"""What is below k8s/ builds, is valid Kubernetes, and names what the pipeline asks for."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

import dedpo
from dedpo.label import server
from tests.k8s import objects
from tests.k8s.kubectl import FOLDERS, REPOSITORY, Document, render
from tests.k8s.pods import containers, pods

K8S = REPOSITORY / "k8s"
SCHEMAS = Path(__file__).parent / "schemas"
FILES = sorted(K8S.rglob("*.yaml"))
KUSTOMIZATIONS = [p for p in FILES if p.name == "kustomization.yaml"]
# Those that Kubeflow Pipelines 2.17.0 is tested with.
VERSIONS = ["1.33", "1.36"]
READ = functools.cache(kubernetes_validate.utils.schema_contents)
# Not Kubernetes' own: files that are applied, or read, by themselves.
CUSTOM = {
    "examples/keys.yaml": "externalsecret.json",
    "examples/profile.yaml": "profile.json",
    "overlays/local/kind-config.yaml": "cluster.json",
}


# The namespace of the runs → whose runs they are.
BUCKETS = {"examples/bucket-standalone.yaml": "kubeflow", "examples/bucket-multi-user.yaml": "dedpo"}


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda p: str(p.parent.relative_to(K8S)))
def test_a_kustomization_lists_exactly_the_files_beside_it(path: Path) -> None:
    resources = yaml.safe_load(path.read_text()).get("resources", [])
    beside = {p.name for p in path.parent.glob("*.yaml")} - {path.name, "kind-config.yaml"}
    assert {r for r in resources if r.endswith(".yaml")} == beside
    assert len(resources) == len(set(resources))


def test_every_folder_is_rendered_or_a_part_of_one_that_is() -> None:
    built = {str(p.parent.relative_to(K8S)) for p in KUSTOMIZATIONS}
    assert built == {*FOLDERS, "components/internet", "components/standalone"}
    loose = {str(p.relative_to(K8S)) for p in FILES if not (p.parent / "kustomization.yaml").exists()}
    assert loose | {"overlays/local/kind-config.yaml"} == {*CUSTOM, *BUCKETS, "examples/retries.yaml"}


@pytest.fixture(autouse=True)
def _schemas_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", READ)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_document_is_valid_kubernetes(folder: str, version: str) -> None:
    """Strictly: an unknown field is an error, and so is a kind without a schema."""
    for document in render(folder):
        assert kubernetes_validate.validate(document, version, strict=True) == version


def test_an_unknown_field_is_refused() -> None:
    (service,) = [d for d in render("overlays/local") if d["kind"] == "Service"]
    service["spec"]["selectors"] = service["spec"].pop("selector")
    with pytest.raises(kubernetes_validate.ValidationError, match="selectors"):
        kubernetes_validate.validate(service, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", CUSTOM)
def test_other_kinds_keep_to_their_schema(name: str) -> None:
    schema = json.loads((SCHEMAS / CUSTOM[name]).read_text())
    assert all(node.get("additionalProperties") is False for node in _objects(schema))
    (document,) = yaml.safe_load_all((K8S / name).read_text())
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError, match="unknown"):
        jsonschema.validate({**document, "unknown": 1}, schema)


@pytest.mark.parametrize("name", BUCKETS)
def test_the_bucket_of_an_example_is_one_that_kubeflow_reads(name: str) -> None:
    (document,) = yaml.safe_load_all((K8S / name).read_text())
    assert document["metadata"]["namespace"] == BUCKETS[name]
    root = document["data"]["defaultPipelineRoot"]
    # By this the interface of the multi-user mode tells whose an artefact is (ml-pipeline-ui, 2.17).
    assert ("/private-artifacts/dedpo/" in root) == (BUCKETS[name] == "dedpo")
    kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    schema = json.loads((SCHEMAS / "providers.json").read_text())
    assert all(node.get("additionalProperties") is False for node in _objects(schema))
    jsonschema.validate(yaml.safe_load(document["data"]["providers"]), schema)
    (role,) = [d for d in render("base") if d["kind"] == "Role"]
    read = {name for rule in role["rules"] if "configmaps" in rule["resources"] for name in rule["resourceNames"]}
    assert read == {document["metadata"]["name"]}


def test_retries_are_for_whoever_asks_for_them_and_whatever_fails() -> None:
    """Argo lays the default under every template, graphs included: a limit of 0 keeps those from starting twice."""
    (patch,) = yaml.safe_load_all((K8S / "examples" / "retries.yaml").read_text())
    assert patch.keys() == {"data"}
    default = yaml.safe_load(patch["data"]["workflowDefaults"])["spec"]["templateDefaults"]["retryStrategy"]
    # Kubeflow's compiler (2.17, argocompiler/container.go) gives a task with tries this and no policy.
    task = {"limit": "{{inputs.parameters.retry-max-count}}", "backoff": {"duration": "30s"}}
    assert (default | task)["retryPolicy"] == "Always", "an exit code, no memory, an eviction, and a pod that vanishes"
    assert (default | task)["limit"] == task["limit"]
    assert default["limit"] == "0", "who asks for none, and every graph of tasks"


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield node
        for child in node.values():
            yield from _objects(child)
    elif isinstance(node, list):
        for child in node:
            yield from _objects(child)


def test_the_images_are_of_this_version() -> None:
    for folder in FOLDERS:
        for pod in pods(render(folder)):
            for place, container, _ in containers(pod):
                name, _, tag = container["image"].rpartition("/")[2].partition(":")
                assert not name.startswith("dedpo") or tag == dedpo.__version__, place


def _vllm() -> dict[str, Any]:
    (pod,) = [p for p in pods(render("overlays/gpu")) if p.name == "Deployment/vllm"]
    container: dict[str, Any] = pod.spec["containers"][0]
    return container


def test_the_annotator_starts_as_it_does_in_a_labelling_pod() -> None:
    container = _vllm()
    words = server.vllm("Qwen/Qwen2.5-VL-7B-Instruct", 8000, 1)[1:]
    assert container["command"][1:] == words[:2]
    ours = dict(a.partition("=")[::2] for a in container["args"])
    theirs = {w: words[i + 1] for i, w in enumerate(words) if w.startswith("--") and not w.endswith("caching")}
    for flag in ("--max-model-len", "--limit-mm-per-prompt", "--mm-processor-kwargs", "--model", "--port"):
        assert ours[flag].replace(" ", "") == theirs[flag], flag
    assert "--enable-prefix-caching" in ours
    assert "--enable-prefix-caching" in words


def test_the_annotators_release_is_the_one_of_the_label_image() -> None:
    _, _, version = _vllm()["image"].partition(":v")
    assert f'"vllm=={version}"' in (REPOSITORY / "pyproject.toml").read_text()


@functools.cache
def _compiled() -> tuple[Document, Document]:
    """The compiled pipeline, and what it asks of Kubernetes."""
    first, second = yaml.safe_load_all((REPOSITORY / "pipelines" / "dedpo.yaml").read_text())
    return first, second


@pytest.fixture
def platform() -> Document:
    """What each executor asks of Kubernetes."""
    executors: Document = _compiled()[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return executors


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_pipelines_volumes_are_there(folder: str, platform: Document) -> None:
    claims = {m["constant"] for e in platform.values() for m in e.get("pvcMount", [])}
    assert claims
    assert claims <= objects.names(render(folder), "PersistentVolumeClaim")


def test_the_pipelines_keys_are_those_of_the_example(platform: Document) -> None:
    (example,) = yaml.safe_load_all((K8S / "examples" / "keys.yaml").read_text())
    offered = {d["secretKey"] for d in example["spec"]["data"]}
    asked = [s for e in platform.values() for s in e.get("secretAsEnv", [])]
    assert asked
    assert {k["secretKey"] for s in asked for k in s["keyToEnv"]} <= offered
    assert all(s["optional"] is True for s in asked), "a run without keys must start"
    secret = _compiled()[0]["root"]["inputDefinitions"]["parameters"]["secret"]["defaultValue"]
    assert secret == example["spec"]["target"]["name"] == objects.SECRET


def test_every_task_says_what_it_may_use() -> None:
    """Or the namespace's LimitRange would give it what Argo's small containers get."""
    executors = {
        n: e["container"] for n, e in _compiled()[0]["deploymentSpec"]["executors"].items() if "container" in e
    }
    assert executors
    for name, container in executors.items():
        sizes = {f"resource{kind}{end}" for kind in ("Cpu", "Memory") for end in ("Request", "Limit")}
        assert sizes <= container["resources"].keys(), name


def test_the_volume_belongs_to_the_user_of_every_task(platform: Document) -> None:
    (job,) = [p for p in pods(render("base")) if p.name == "Job/dedpo-cache"]
    user = job.spec["securityContext"]["runAsUser"]
    assert job.spec["securityContext"]["fsGroup"] == user
    assert f"USER {user}:{user}" in (REPOSITORY / "Dockerfile").read_text()
    for name, executor in platform.items():
        context = executor.get("securityContext", {})
        assert context.get("runAsNonRoot") is True, name
        assert (context.get("runAsUser"), context.get("runAsGroup")) == (str(user), str(user)), name
