"""The house's policy on pods: rules over rendered documents, each yielding what breaks it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

Document = dict[str, Any]
SECRETIVE = re.compile(r"KEY|TOKEN|PASSWORD|SECRET|CREDENTIAL|WEBHOOK", re.IGNORECASE)
VOLUMES = {"configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


class Pod(NamedTuple):
    """A pod as some object would make it."""

    name: str
    namespace: str | None
    labels: dict[str, str]
    spec: dict[str, Any]


def pods(documents: list[Document]) -> Iterator[Pod]:
    """Every pod that the documents describe: of whatever holds a pod's template, and bare ones."""
    for document in documents:
        place = f"{document['kind']}/{document['metadata']['name']}"
        namespace = document["metadata"].get("namespace")
        if document["kind"] == "Pod":
            yield Pod(place, namespace, document["metadata"].get("labels", {}), document["spec"])
        for template in _templates(document.get("spec", {})):
            yield Pod(place, namespace, template.get("metadata", {}).get("labels", {}), template["spec"])


def _templates(node: Any) -> Iterator[dict[str, Any]]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    if isinstance(node, dict) and "containers" in node.get("template", {}).get("spec", {}):
        yield node["template"]
        return
    for child in children:
        yield from _templates(child)


def containers(pod: Pod) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(place, container, its security context over the pod's), init containers, too."""
    for container in [*pod.spec.get("initContainers", []), *pod.spec["containers"]]:
        context = {**pod.spec.get("securityContext", {}), **container.get("securityContext", {})}
        yield f"{pod.name}/{container['name']}", container, context


def _each(documents: list[Document]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for pod in pods(documents):
        yield from containers(pod)


def non_root(documents: list[Document]) -> Iterator[str]:
    for place, _, context in _each(documents):
        if context.get("runAsNonRoot") is not True or context.get("runAsUser", 0) == 0:
            yield f"{place}: may run as root"


def no_escalation(documents: list[Document]) -> Iterator[str]:
    for place, _, context in _each(documents):
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{place}: may gain privileges"


def no_capabilities(documents: list[Document]) -> Iterator[str]:
    for place, _, context in _each(documents):
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{place}: keeps capabilities"


def seccomp(documents: list[Document]) -> Iterator[str]:
    for place, _, context in _each(documents):
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{place}: no seccomp profile"


def read_only_root(documents: list[Document]) -> Iterator[str]:
    for place, _, context in _each(documents):
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{place}: writes to its root"


def limited(documents: list[Document]) -> Iterator[str]:
    for place, container, _ in _each(documents):
        resources = container.get("resources", {})
        for kind in ("requests", "limits"):
            missing = {"cpu", "memory", "ephemeral-storage"} - resources.get(kind, {}).keys()
            if missing:
                yield f"{place}: {kind} lack {', '.join(sorted(missing))}"


def pinned(documents: list[Document]) -> Iterator[str]:
    for place, container, _ in _each(documents):
        name, _, tag = container["image"].rpartition("/")[2].partition(":")
        if "@sha256:" not in container["image"] and tag in ("", "latest"):
            yield f"{place}: image {name} without a version"


def no_secret_inline(documents: list[Document]) -> Iterator[str]:
    for document in documents:
        if document["kind"] == "Secret" and {"data", "stringData"} & document.keys():
            yield f"Secret/{document['metadata']['name']}: holds values"
    for place, container, _ in _each(documents):
        for variable in container.get("env", []):
            if SECRETIVE.search(variable["name"]) and "value" in variable:
                yield f"{place}: ${variable['name']} has its value inline"
        for word in [*container.get("command", []), *container.get("args", [])]:
            if word.startswith("-") and "=" in word and SECRETIVE.search(word.partition("=")[0]):
                yield f"{place}: {word.partition('=')[0]} has its value inline"


def no_token(documents: list[Document]) -> Iterator[str]:
    """A run's pods alone use a token, by their service account; none is in these documents."""
    for pod in pods(documents):
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.name}: gets a token that it does not use"
        if pod.spec.get("serviceAccountName", "default") == "default":
            yield f"{pod.name}: runs as the namespace's default account"
    for document in documents:
        mounts = document.get("automountServiceAccountToken") is not False
        if document["kind"] == "ServiceAccount" and mounts and document["metadata"]["name"] != "dedpo":
            yield f"ServiceAccount/{document['metadata']['name']}: gives every pod a token"


def probed(documents: list[Document]) -> Iterator[str]:
    for place, container, _ in _each(documents):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container.get(probe, {}).get("httpGet", {})
            if container.get("ports") and asked.get("port") not in _ports(container):
                yield f"{place}: no {probe} of a port that it has"


def _ports(container: dict[str, Any]) -> set[Any]:
    return {port[key] for port in container.get("ports", []) for key in ("name", "containerPort") if key in port}


def apart_from_the_node(documents: list[Document]) -> Iterator[str]:
    for pod in pods(documents):
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(name):
                yield f"{pod.name}: {name}"
        for volume in pod.spec.get("volumes", []):
            if not volume.keys() - {"name"} <= VOLUMES:
                yield f"{pod.name}: volume {volume['name']} is of the node"


def outside_the_mesh(documents: list[Document]) -> Iterator[str]:
    """In a profile's namespace Istio's proxy would keep a job from ending, and refuse the runs, which have none."""
    for pod in pods(documents):
        if pod.labels.get("sidecar.istio.io/inject") != "false":
            yield f"{pod.name}: gets Istio's proxy"


def writes_only_to_volumes_with_a_size(documents: list[Document]) -> Iterator[str]:
    for pod in pods(documents):
        for volume in pod.spec.get("volumes", []):
            if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
                yield f"{pod.name}: volume {volume['name']} may fill the node's disk"


def no_service_variables(documents: list[Document]) -> Iterator[str]:
    """Kubernetes would set NAME_PORT for every Service of the namespace, and some programs take it for a setting."""
    for pod in pods(documents):
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.name}: gets a variable for every Service"
    for document in documents:
        # vLLM reads $VLLM_PORT, and a run's pods, which Kubeflow makes, do get the variables.
        if document["kind"] == "Service" and document["metadata"]["name"].startswith(("vllm", "dedpo", "hf")):
            yield f"Service/{document['metadata']['name']}: its variables look like settings"
