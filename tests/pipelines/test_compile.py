"""What is committed is what the sources compile to, and what Kubeflow is told of each task."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import dedpo, picture, readmes
from pipelines.resources import KEYS, NEEDS, Need

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SPEC, PLATFORM = yaml.load_all(dedpo.YAML.read_text(encoding="utf-8"), Loader=LOADER)
EXECUTORS = SPEC["deploymentSpec"]["executors"]
KUBERNETES = PLATFORM["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
CONTAINERS = {name: e["container"] for name, e in EXECUTORS.items() if "container" in e}
# A component that stands in the graph twice is compiled twice.
NAMES = {name: re.sub(r"^exec-|-\d+$", "", name) for name in CONTAINERS}
CHANNEL = re.compile(r"inputs\.parameters\['(pipelinechannel--[^']*)'\]")
IMAGES = {
    "train": ("", "train_image"),
    "sample": ("", "train_image"),
    "score": ("", "train_image"),
    "label": ("doctor", "label_image"),
}


def _tasks() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every task with the name of the graph that it is in."""
    graphs = {"root": SPEC["root"]} | {n: c for n, c in SPEC["components"].items() if "dag" in c}
    for graph, component in graphs.items():
        for name, task in component["dag"]["tasks"].items():
            yield graph, name, task


def _of(component: str) -> list[dict[str, Any]]:
    return [task for _, _, task in _tasks() if task["componentRef"]["name"] == component]


def test_the_committed_yaml_is_a_fresh_compile(tmp_path: Path) -> None:
    begun = time.process_time()
    dedpo.compile_to(tmp_path / "dedpo.yaml")
    assert time.process_time() - begun < 5
    assert (tmp_path / "dedpo.yaml").read_bytes() == dedpo.YAML.read_bytes(), "run 'make compile' and commit"


def test_the_committed_readmes_and_picture_are_fresh() -> None:
    for folder, own in readmes.stages():
        found = (folder / "README.md").read_text(encoding="utf-8")
        assert found == readmes.render(folder.name, own), "run 'make compile' and commit"
    assert picture.SVG.read_text(encoding="utf-8") == picture.render(dedpo.YAML), "run 'make compile' and commit"


def test_every_parameter_is_described_and_there_are_few() -> None:
    parameters = SPEC["root"]["inputDefinitions"]["parameters"]
    assert len(parameters) == 19
    assert all(len(p["description"]) > 40 and "\n" not in p["description"] for p in parameters.values())
    assert [n for n, p in parameters.items() if not p.get("isOptional")] == ["source"]


def test_every_task_has_its_needs_and_none_is_without_one() -> None:
    assert set(NAMES.values()) == set(NEEDS)
    assert KUBERNETES.keys() == CONTAINERS.keys()


@pytest.mark.parametrize("name", CONTAINERS)
def test_tasks_are_not_root_and_have_limits_and_an_end(name: str) -> None:
    container, cluster, need = CONTAINERS[name], KUBERNETES[name], NEEDS[NAMES[name]]
    assert cluster["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
    assert int(cluster["activeDeadlineSeconds"]) == need.hours * 3600
    sizes = ("resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit")
    assert set(sizes) <= container["resources"].keys()
    assert "pip install" not in " ".join(container["command"])
    mounts = {m["mountPath"]: m for m in cluster["emptyDirMounts"]}
    assert mounts["/tmp"]["sizeLimit"] == f"{need.disk}Gi"
    assert mounts.keys() == ({"/tmp", "/dev/shm"} if need.shm else {"/tmp"})
    assert not need.shm or mounts["/dev/shm"]["medium"] == "Memory"


@pytest.mark.parametrize("name", CONTAINERS)
def test_only_those_that_need_them_have_volume_and_keys(name: str) -> None:
    container, cluster, need = CONTAINERS[name], KUBERNETES[name], NEEDS[NAMES[name]]
    mounted = [(m["pvcNameParameter"]["runtimeValue"]["constant"], m["mountPath"]) for m in cluster.get("pvcMount", [])]
    environment = {e["name"]: e["value"] for e in container.get("env", [])}
    if need.cache:
        assert mounted == [("dedpo-cache", "/cache")]
        assert environment == {"DEDPO_CACHE": "/cache", "HF_HOME": "/cache/huggingface"}
    else:
        assert (mounted, environment) == ([], {})
    secrets = cluster.get("secretAsEnv", [])
    assert tuple(key["envVar"] for s in secrets for key in s["keyToEnv"]) == need.keys
    assert set(need.keys) <= set(KEYS)
    for secret in secrets:
        assert secret["optional"]
        assert secret["secretNameParameter"]["componentInputParameter"].endswith("secret"), "by name, not by value"


@pytest.mark.parametrize("name", CONTAINERS)
def test_gpus_are_asked_for_by_texts_where_they_are_needed(name: str) -> None:
    """Kubeflow's driver takes a count that is no text for none (2.17, resolvePodSpecInputRuntimeParameter)."""
    container, cluster, need = CONTAINERS[name], KUBERNETES[name], NEEDS[NAMES[name]]
    accelerator = container["resources"].get("accelerator")
    assert bool(accelerator) == bool(need.gpu)
    assert ("nodeSelector" in cluster) == ("tolerations" in cluster) == bool(need.gpu)
    if not accelerator:
        return
    plan = SPEC["components"]["comp-doctor"]["outputDefinitions"]["parameters"]
    texts = ("gpus", "one_gpu", "accelerator", "cpus", "memory", "label_gpus", "label_cpus", "label_memory")
    assert {plan[p]["parameterType"] for p in texts} == {"STRING"}
    for prefix in ("node_", "label_"):
        assert plan[f"{prefix}selector"]["parameterType"] == "STRUCT"
        assert plan[f"{prefix}tolerations".removeprefix("node_")]["parameterType"] == "LIST"
    given = {"one": "one_gpu", "all": "gpus", "labelling": "label_gpus"}[need.gpu]
    (task,) = [t for _, _, t in _tasks() if t["componentRef"]["name"] == name.replace("exec-", "comp-")]
    (count,) = CHANNEL.findall(accelerator["resourceCount"])
    assert _sources(task, count) == {("doctor", given)}


def _sources(task: dict[str, Any], key: str) -> set[tuple[str, str]]:
    """Which task's output, or parameter of the pipeline (''), reaches an input, through however many graphs."""
    spec = task["inputs"]["parameters"][key]
    if "taskOutputParameter" in spec:
        found = spec["taskOutputParameter"]
        return {(found["producerTask"], found["outputParameterKey"])}
    (graph,) = [g for g, _, t in _tasks() if t is task]
    if graph == "root":
        return {("", spec["componentInputParameter"])}
    outer = [t for t in _of(graph) if spec["componentInputParameter"] in t["inputs"]["parameters"]]
    return set().union(*(_sources(t, spec["componentInputParameter"]) for t in outer))


def test_the_image_and_whatever_else_a_pod_is_made_from_reach_the_task_as_inputs() -> None:
    """So they are known in a graph within the graph, and part of the key under which Kubeflow keeps results."""
    for name, container in CONTAINERS.items():
        read = set(CHANNEL.findall(str(container)))
        (image,) = CHANNEL.findall(container["image"])
        for task in _of(name.replace("exec-", "comp-")):
            assert read <= task["inputs"]["parameters"].keys(), name
            assert _sources(task, image) == {IMAGES.get(NAMES[name], ("", "image"))}, name


def test_what_talks_to_others_or_runs_for_long_is_tried_again_with_growing_pauses() -> None:
    again = {"fetch", "import-pairs", "prepare", "label", "train", "sample", "score", "judge"}
    assert {name for name, need in NEEDS.items() if need.tries} == again
    for name in CONTAINERS:
        need: Need = NEEDS[NAMES[name]]
        for task in _of(name.replace("exec-", "comp-")):
            policy = task.get("retryPolicy")
            assert (policy or {}).get("maxRetryCount", 0) == need.tries
            if policy:
                assert (policy["backoffDuration"], policy["backoffFactor"]) == ("30s", 2.0)
                # Argo's maxDuration runs from the first try's start and ends a later try, too.
                longest, timeout = policy["backoffMaxDuration"], KUBERNETES[name]["activeDeadlineSeconds"]
                assert int(longest.removesuffix("s")) >= int(timeout) * (need.tries + 1)


def test_only_what_looks_at_the_run_itself_is_done_again_each_time() -> None:
    uncached = {task["componentRef"]["name"] for _, _, task in _tasks() if not task.get("cachingOptions")}
    graphs = {name for name, component in SPEC["components"].items() if "dag" in component}
    assert uncached - graphs - {n for n in uncached if "importer" in n} == {"comp-doctor", "comp-finish", "comp-notify"}


def test_labelling_waits_for_the_pairs_alone() -> None:
    tasks = SPEC["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert set(tasks["label-shards"]["dependentTasks"]) == {"doctor", "import-pairs"}
    assert "gate" in tasks["targets"]["dependentTasks"], "nothing is trained before the gate"


def test_the_mark_of_a_runs_end_follows_everything() -> None:
    tasks = SPEC["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    before, waiting = set(), ["finish"]
    while waiting:
        more = set(tasks[waiting.pop()].get("dependentTasks", [])) - before
        before |= more
        waiting += more
    assert before == set(tasks) - {"finish"}
    for name in ("comp-finish", "comp-notify"):
        (task,) = _of(name)
        assert task["inputs"]["parameters"]["run_id"] == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}


def test_importers_read_their_uri_from_their_graph() -> None:
    """Kubeflow's importer (2.17) knows inputs of its graph only; a task's output would end as 'no input parameter'."""
    importers = [t for _, n, t in _tasks() if n.startswith("importer")]
    assert len(importers) == 2
    assert all("componentInputParameter" in t["inputs"]["parameters"]["uri"] for t in importers)


def test_there_are_no_alternatives() -> None:
    """Kubeflow's driver (2.17) finds no task to take the output of as soon as one comes from the cache."""
    for graph, name, task in _tasks():
        assert "condition" not in task.get("triggerPolicy", {}), (graph, name)
    for component in SPEC["components"].values():
        outputs = component.get("dag", {}).get("outputs", {})
        assert all(len(rule["artifactSelectors"]) == 1 for rule in outputs.get("artifacts", {}).values())
        assert not any("valueFromOneof" in rule for rule in outputs.get("parameters", {}).values())


def test_the_exit_task_follows_whatever_happens() -> None:
    (last,) = _of("comp-notify")
    assert last["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert last["inputs"]["parameters"]["status"] == {"taskFinalStatus": {"producerTask": "exit-handler-1"}}
