"""The policy holds for everything that is rendered, and each of its rules notices when it is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.k8s import network, objects, pods
from tests.k8s.kubectl import FOLDERS, render
from tests.k8s.pods import Document

Rule = Callable[[list[Document]], Iterator[str]]
RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        pods.non_root,
        pods.no_escalation,
        pods.no_capabilities,
        pods.seccomp,
        pods.read_only_root,
        pods.limited,
        pods.pinned,
        pods.no_secret_inline,
        pods.no_token,
        pods.probed,
        pods.apart_from_the_node,
        pods.outside_the_mesh,
        pods.writes_only_to_volumes_with_a_size,
        pods.no_service_variables,
        objects.one_namespace,
        objects.the_namespace_is_restricted,
        objects.what_pods_name_is_there,
        objects.services_find_a_pod,
        objects.budgets_find_a_pod,
        objects.deployments_select_their_pods,
        objects.roles_are_small,
        objects.bindings_find_role_and_account,
        objects.selectors_of_policies_match,
        objects.every_pod_is_closed,
        objects.policies_open_no_door_to_all,
    )
}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("rule", RULES)
def test_the_policy_holds(folder: str, rule: str) -> None:
    assert list(RULES[rule](render(folder))) == []


class Manifests:
    """Rendered documents to be broken in one place."""

    def __init__(self) -> None:
        self.documents = render("overlays/gpu")

    def one(self, kind: str, name: str) -> Document:
        (found,) = [d for d in self.documents if (d["kind"], d["metadata"]["name"]) == (kind, name)]
        return found

    @property
    def pod(self) -> dict[str, Any]:
        """vLLM's."""
        spec: dict[str, Any] = self.one("Deployment", "vllm")["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> dict[str, Any]:
        container: dict[str, Any] = self.pod["containers"][0]
        return container

    def drop(self, kind: str, name: str) -> None:
        self.documents.remove(self.one(kind, name))


PART_OF = {"app.kubernetes.io/part-of": "dedpo"}
# (rule, what breaks it)
MUTATIONS: list[tuple[str, Callable[[Manifests], object]]] = [
    ("non_root", lambda m: m.pod["securityContext"].update(runAsNonRoot=False)),
    ("non_root", lambda m: m.pod["securityContext"].pop("runAsUser")),
    ("non_root", lambda m: m.container["securityContext"].update(runAsUser=0)),
    ("no_escalation", lambda m: m.container["securityContext"].pop("allowPrivilegeEscalation")),
    ("no_escalation", lambda m: m.container["securityContext"].update(privileged=True)),
    ("no_capabilities", lambda m: m.container["securityContext"].pop("capabilities")),
    ("no_capabilities", lambda m: m.container["securityContext"]["capabilities"].update(add=["SYS_ADMIN"])),
    ("seccomp", lambda m: m.pod["securityContext"].update(seccompProfile={"type": "Unconfined"})),
    ("read_only_root", lambda m: m.container["securityContext"].pop("readOnlyRootFilesystem")),
    ("limited", lambda m: m.container["resources"]["limits"].pop("memory")),
    ("limited", lambda m: m.container["resources"].pop("requests")),
    ("limited", lambda m: m.pod.update(initContainers=[{**m.container, "resources": {}}])),
    ("pinned", lambda m: m.container.update(image="vllm/vllm-openai:latest")),
    ("pinned", lambda m: m.container.update(image="registry.example.com:5000/vllm")),
    ("no_secret_inline", lambda m: m.container["env"].append({"name": "HF_TOKEN", "value": "hf_1"})),
    ("no_secret_inline", lambda m: m.container["args"].append("--api-key=sk-1")),
    ("no_secret_inline", lambda m: m.documents.append(_secret())),
    ("no_token", lambda m: m.pod.update(automountServiceAccountToken=True)),
    ("no_token", lambda m: m.pod.pop("serviceAccountName")),
    ("no_token", lambda m: m.one("ServiceAccount", "dedpo-server").pop("automountServiceAccountToken")),
    ("probed", lambda m: m.container.pop("readinessProbe")),
    ("probed", lambda m: m.container["livenessProbe"]["httpGet"].update(port="metrics")),
    ("apart_from_the_node", lambda m: m.pod.update(hostNetwork=True)),
    ("apart_from_the_node", lambda m: m.pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    ("outside_the_mesh", lambda m: _template(m)["labels"].pop("sidecar.istio.io/inject")),
    ("writes_only_to_volumes_with_a_size", lambda m: m.pod["volumes"].append({"name": "x", "emptyDir": {}})),
    ("no_service_variables", lambda m: m.pod.pop("enableServiceLinks")),
    ("no_service_variables", lambda m: m.one("Service", "annotator")["metadata"].update(name="vllm")),
    ("one_namespace", lambda m: m.one("Service", "annotator")["metadata"].update(namespace="default")),
    ("one_namespace", lambda m: m.one("Namespace", "dedpo")["metadata"].update(name="other")),
    ("the_namespace_is_restricted", lambda m: m.one("Namespace", "dedpo")["metadata"].pop("labels")),
    ("the_namespace_is_restricted", lambda m: m.one("Namespace", "dedpo")["metadata"]["labels"].update(PART_OF)),
    ("what_pods_name_is_there", lambda m: m.drop("PersistentVolumeClaim", "vllm-cache")),
    ("what_pods_name_is_there", lambda m: m.drop("ServiceAccount", "dedpo-server")),
    ("what_pods_name_is_there", lambda m: m.drop("PriorityClass", "dedpo-labelling")),
    ("what_pods_name_is_there", lambda m: m.pod["volumes"].pop()),
    ("what_pods_name_is_there", lambda m: m.container["env"][-1]["valueFrom"]["secretKeyRef"].pop("optional")),
    ("services_find_a_pod", lambda m: m.one("Service", "annotator")["spec"]["selector"].update(app="x")),
    ("services_find_a_pod", lambda m: m.one("Service", "annotator")["spec"]["ports"][0].update(targetPort=80)),
    ("budgets_find_a_pod", lambda m: m.drop("Deployment", "vllm")),
    ("deployments_select_their_pods", lambda m: m.one("Deployment", "vllm")["spec"]["selector"].update(_labels("x"))),
    ("roles_are_small", lambda m: m.one("Role", "dedpo-run")["rules"][0].update(verbs=["*"])),
    ("roles_are_small", lambda m: m.one("Role", "dedpo-run")["rules"][-1].pop("resourceNames")),
    ("bindings_find_role_and_account", lambda m: m.drop("Role", "dedpo-run")),
    ("bindings_find_role_and_account", lambda m: m.one("RoleBinding", "dedpo-run")["subjects"][0].pop("namespace")),
    ("selectors_of_policies_match", lambda m: m.one("NetworkPolicy", "vllm")["spec"].update(podSelector=_labels("x"))),
    ("selectors_of_policies_match", lambda m: m.one("NetworkPolicy", "dedpo-runs-vllm")["spec"].update(_to("x"))),
    ("every_pod_is_closed", lambda m: (m.drop("NetworkPolicy", "default-deny"), m.drop("NetworkPolicy", "dedpo-deny"))),
    ("every_pod_is_closed", lambda m: m.documents.append(_pod())),
    ("policies_open_no_door_to_all", lambda m: m.one("NetworkPolicy", "vllm")["spec"]["ingress"][0].pop("from")),
    ("policies_open_no_door_to_all", lambda m: m.one("NetworkPolicy", "vllm")["spec"]["ingress"][0].pop("ports")),
]


def _template(manifests: Manifests) -> dict[str, Any]:
    found: dict[str, Any] = manifests.one("Deployment", "vllm")["spec"]["template"]["metadata"]
    return found


def _labels(name: str) -> dict[str, Any]:
    return {"matchLabels": {"app.kubernetes.io/name": name}}


def _to(name: str) -> dict[str, Any]:
    return {"egress": [{"to": [{"podSelector": _labels(name)}], "ports": [{"protocol": "TCP", "port": 8000}]}]}


def _secret() -> Document:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"HF_TOKEN": "hf_1"}}


def _pod() -> Document:
    """One that no policy knows, in another namespace."""
    return {"kind": "Pod", "metadata": {"name": "x", "namespace": "other"}, "spec": {"containers": []}}


@pytest.mark.parametrize(("rule", "mutate"), MUTATIONS, ids=[f"{i}-{rule}" for i, (rule, _) in enumerate(MUTATIONS)])
def test_a_broken_manifest_is_noticed(rule: str, mutate: Callable[[Manifests], object]) -> None:
    manifests = Manifests()
    mutate(manifests)
    assert list(RULES[rule](manifests.documents))


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for rule, _ in MUTATIONS} == set(RULES)


REACHABLE = [
    ("run", "kube-dns", 53, "UDP", True),
    ("run", "ml-pipeline", 8887, "TCP", True),
    ("run", "metadata-grpc", 8080, "TCP", True),
    ("run", "seaweedfs", 8333, "TCP", True),
    ("run", "172.18.0.2", 6443, "TCP", True),
    ("run", "mysql", 3306, "TCP", False),
    ("run", "seaweedfs", 9333, "TCP", False),
    ("run", "169.254.169.254", 80, "TCP", False),
    ("run", "10.0.0.7", 22, "TCP", False),
    ("kube-dns", "run", 8080, "TCP", False),
]
GPU = [
    *REACHABLE,
    ("run", "vllm", 8000, "TCP", True),
    ("run", "142.250.1.95", 443, "TCP", True),
    ("run", "142.250.1.95", 80, "TCP", False),
    ("run", "dashboard", 8080, "TCP", False),
    ("ml-pipeline", "vllm", 8000, "TCP", False),
    ("ml-pipeline", "dashboard", 8080, "TCP", False),
    ("vllm", "142.250.1.95", 443, "TCP", True),
    ("vllm", "169.254.169.254", 443, "TCP", False),
    ("vllm", "ml-pipeline", 8888, "TCP", False),
    ("dashboard", "142.250.1.95", 443, "TCP", False),
    ("dedpo-cache", "kube-dns", 53, "UDP", False),
]
LOCAL = [
    *REACHABLE,
    ("run", "world", 8000, "TCP", True),
    ("run", "142.250.1.95", 443, "TCP", False),
    ("mysql", "world", 8000, "TCP", False),
    ("world", "kube-dns", 53, "UDP", False),
    ("world", "142.250.1.95", 443, "TCP", False),
]
PATHS = [("overlays/local", *p) for p in LOCAL]
PATHS += [(folder, *p) for folder in ("overlays/gpu", "overlays/gpu-standalone") for p in GPU]


@pytest.mark.parametrize(("folder", "source", "target", "port", "protocol", "expected"), PATHS)
def test_who_may_reach_whom(folder: str, source: str, target: str, port: int, protocol: str, expected: bool) -> None:
    assert network.may_reach(render(folder), source, target, port, protocol) is expected
