"""The Kubernetes manifests and the image's recipe hold the house's policy."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parent.parent.parent
MANIFESTS = sorted((REPOSITORY / "k8s").rglob("*.yaml"))
KUSTOMIZATIONS = [p for p in MANIFESTS if p.name == "kustomization.yaml"]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def _documents() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text()):
            yield path, document


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from _walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from _walk(child)


def _pods() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path, document in _documents():
        yield from ((path, node) for node in _walk(document) if isinstance(node.get("containers"), list))


def test_every_document_is_a_kubernetes_object() -> None:
    for path, document in _documents():
        assert {"apiVersion", "kind"} <= document.keys(), path
        assert document["kind"] == "Kustomization" or document["metadata"]["name"], path


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda p: p.parent.name)
def test_a_kustomization_lists_exactly_the_files_beside_it(path: Path) -> None:
    resources = yaml.safe_load(path.read_text())["resources"]
    beside = {p.name for p in path.parent.glob("*.yaml")} - {path.name}
    assert {r for r in resources if r.endswith(".yaml")} == beside
    assert len(resources) == len(set(resources))


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda p: p.parent.name)
def test_a_kustomization_builds(path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on the PATH")
    done = subprocess.run([kubectl, "kustomize", str(path.parent)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert {d["kind"] for d in built} >= {"Namespace", "ServiceAccount", "Role", "RoleBinding"}
    assert all(d["metadata"].get("namespace", d["metadata"]["name"]) == "dedpo" for d in built)


def test_the_namespace_refuses_what_is_not_restricted() -> None:
    (namespace,) = [d for _, d in _documents() if d["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_roles_name_what_they_may() -> None:
    for path, role in _documents():
        if role["kind"] in ("Role", "ClusterRole"):
            for rule in role["rules"]:
                assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"], path
                assert "secrets" not in rule["resources"] or rule["resourceNames"], path


def test_no_secret_holds_a_value() -> None:
    for path, document in _documents():
        assert document["kind"] != "Secret" or not ({"data", "stringData"} & document.keys()), path


def test_every_pod_is_restricted() -> None:
    for path, pod in _pods():
        context = pod.get("securityContext", {})
        assert context.get("runAsNonRoot") is True, path
        assert context.get("seccompProfile", {}).get("type") == "RuntimeDefault", path
        for container in pod["containers"]:
            own = container.get("securityContext", {})
            assert own.get("allowPrivilegeEscalation") is False, path
            assert own.get("capabilities") == {"drop": ["ALL"]}, path
            assert container.get("resources", {}).get("limits"), path
            assert not container["image"].endswith(":latest"), path
            assert ":" in container["image"], path


def test_the_image_runs_as_a_number_without_build_tools() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert [re.search(r"AS (\w+)", s).group(1) for s in stages] == ["build", "runtime"]  # type: ignore[union-attr]
    last = stages[-1]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, flags=re.MULTILINE)
    assert not re.search(r"\bpip\b|\bapt(-get)?\b|\bgcc\b", last)
    assert "HEALTHCHECK" not in last, "a stage is no server"
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in last


def test_the_image_copies_only_what_is_let_through() -> None:
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE)
        for name in line.split()[:-1]
    }
    assert copied == allowed
    assert all((REPOSITORY / name).exists() for name in copied)
