"""Kubeflow's backend at 2.17.0, as far as it decides how a run of the compiled YAML ends. No pod is started.

Each rule was read in kubeflow/pipelines at 2.17.0 and in argoproj/argo-workflows at v4.0.5; where, stands beside it.
What a task's container would do is given by the test, task by task.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from tests.pipelines.store import DriverError, Execution, Json, Outputs, Store, key_of


class PodGone(Exception):  # noqa: N818
    """A task's pod is killed with the launcher in it: for want of memory, or evicted."""


class TaskFailed(Exception):  # noqa: N818
    """A task's container ends with another code than 0."""


@dataclass(frozen=True)
class Call:
    """A container that was started: its component, its inputs, and which try this is."""

    component: str
    parameters: Mapping[str, Json]
    artifacts: Mapping[str, list[Json]]
    attempt: int


@dataclass
class Ending:
    """What became of a run.

    Attributes:
        succeeded: whether Argo's workflow has.
        state: the word that the exit task got.
        error: why the first task failed.
        called: components whose containers were started, with every try.
        cached: components that were taken from the cache.
        executions: all of the run.
    """

    succeeded: bool
    state: str
    error: str | None
    called: list[Call]
    cached: list[str]
    executions: list[Execution]

    def names(self) -> set[str]:
        return {call.component for call in self.called}


Container = Callable[[Call], Outputs]


class Cluster:
    """A cluster's cache and metadata store, which outlive a run."""

    def __init__(self) -> None:
        self.cache: dict[str, Execution] = {}
        self.numbers = count(1)
        self.artifacts: dict[str, Json] = {}

    def run(self, package: Path, parameters: Mapping[str, Json], container: Container, run_id: str) -> Ending:
        """One run of a compiled pipeline."""
        spec, platform, *_ = [*_parsed(package.read_text(encoding="utf-8")), {}]
        return _Run(self, spec, platform, container, run_id).go(parameters)


@functools.cache
def _parsed(text: str) -> list[Json]:
    return list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


class _Run:
    def __init__(self, cluster: Cluster, spec: Json, platform: Json, container: Container, run_id: str) -> None:
        self.cluster, self.spec, self.container, self.run_id = cluster, spec, container, run_id
        self.executors = spec["deploymentSpec"]["executors"]
        kubernetes = (platform or {}).get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
        self.kubernetes = kubernetes.get("executors", {})
        self.store = Store(cluster.numbers)
        self.called: list[Call] = []
        self.cached: list[str] = []
        self.error: str | None = None
        self.state = ""

    def go(self, parameters: Mapping[str, Json]) -> Ending:
        known = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        values = {name: p["defaultValue"] for name, p in known.items() if "defaultValue" in p} | dict(parameters)
        # driver/root_dag.go RootDAG: its execution has no task, no parent, and no number of tasks.
        root = self.store.create("", "dag", None, parameters=values)
        succeeded = self._graph(self.spec["root"]["dag"], root)
        return Ending(succeeded, self.state, self.error, self.called, self.cached, self.store.executions)

    # argocompiler/dag.go: `depends` wants every upstream task Succeeded; an exit task is a hook of the one it follows.
    def _graph(self, dag: Json, execution: Execution) -> bool:
        """Whether every task of a graph has ended well (Argo's dag.go assessDAGPhase)."""
        tasks = dag["tasks"]
        hooks = {n: t for n, t in tasks.items() if t.get("triggerPolicy", {}).get("strategy")}
        ended: dict[str, bool] = {}
        for name in _in_order({n: t for n, t in tasks.items() if n not in hooks}):
            if all(ended[other] for other in _upstream(tasks[name])):
                ended[name] = self._task(name, tasks[name], execution)
                for hook, task in hooks.items():
                    if name in task["dependentTasks"]:
                        self._task(hook, task, execution)
            else:
                ended[name] = False
        return all(ended.values())

    def _task(self, name: str, task: Json, parent: Execution) -> bool:
        component = self.spec["components"][task["componentRef"]["name"]]
        try:
            if "dag" in component:
                return self._dag(name, task, component, parent)
            if "importer" in self.executors[component["executorLabel"]]:
                self._import(task, component, parent)
                return True
            return self._contain(name, task, component, parent)
        except DriverError as error:
            self.error = self.error or f"{name}: {error}"
            return False

    # driver/dag.go DAG, argocompiler/dag.go iteratorTask.
    def _dag(self, name: str, task: Json, component: Json, parent: Execution) -> bool:
        parameters, artifacts = self._inputs(task, component, parent)
        # Outputs that a graph hands on are kept as rules, and resolved by whoever reads them.
        more: dict[str, Any] = {
            "parameters": parameters, "artifacts": artifacts, "tasks": len(component["dag"]["tasks"]),
            "selectors": component["dag"].get("outputs", {}),
        }  # fmt: skip
        condition = task.get("triggerPolicy", {}).get("condition")
        if condition and not _holds(condition, parameters):
            # metadata/client.go CreateExecution: not triggered is CANCELED; Argo skips it, which fails nobody.
            self.store.create(name, "dag", parent, **more).state = "CANCELED"
            return True
        iterator = task.get("parameterIterator")
        if iterator is None:
            return self._graph(component["dag"], self.store.create(name, "dag", parent, **more))
        items = _items(iterator, parameters)
        loop = self.store.create(name, "dag", parent, **more, iterations=len(items))
        ended = []
        for index, item in enumerate(items):
            # driver/resolve.go resolveInputs: an iteration has the loop's inputs, and the item in the items' place.
            own = {k: v for k, v in parameters.items() if k != iterator["items"].get("inputParameter")}
            one = more | {"parameters": own | {iterator["itemInput"]: item}}
            ended.append(self._graph(component["dag"], self.store.create(name, "dag", loop, **one, iteration=index)))
        return all(ended)

    # component/importer_launcher.go: reads the URI from the parent graph's inputs alone; COMPLETE, told to no parent.
    def _import(self, task: Json, component: Json, parent: Execution) -> None:
        uri = self.executors[component["executorLabel"]]["importer"]["artifactUri"]
        if "runtimeParameter" in uri:
            given = task["inputs"]["parameters"][uri["runtimeParameter"]]
            address = parent.parameters.get(given.get("componentInputParameter", ""))
        else:
            address = uri["constant"]
        if not address:
            raise DriverError(f"error resolving artifact URI of {task['taskInfo']['name']}")
        (key,) = component["outputDefinitions"]["artifacts"]
        made = self.store.create(task["taskInfo"]["name"], "importer", parent)
        # FindMatchedArtifact: the same URI is the same artefact.
        made.produced[key] = self.cluster.artifacts.setdefault(address, {"uri": address, "name": f"imported {address}"})
        made.state = "COMPLETE"

    # driver/container.go Container and component/launcher_v2.go Execute.
    def _contain(self, name: str, task: Json, component: Json, parent: Execution) -> bool:
        parameters, artifacts = self._inputs(task, component, parent)
        label = component["executorLabel"]
        made = self.store.create(name, "container", parent, parameters=parameters, artifacts=artifacts)
        self._pod(label, parameters, parent)
        key = self._fingerprint(label, component, parameters, artifacts)
        is_cached = bool(task.get("cachingOptions", {}).get("enableCache"))
        if is_cached and key in self.cluster.cache:
            # The launcher does not run: outputs are those of the execution in the cache, and no parent is updated.
            former = self.cluster.cache[key]
            made.outputs, made.produced, made.state = former.outputs, former.produced, "CACHED"
            self.cached.append(task["componentRef"]["name"])
            return True
        tries = 1 + task.get("retryPolicy", {}).get("maxRetryCount", 0)
        for attempt in range(tries):
            made.state = "RUNNING"  # PrePublishExecution, at each try
            call = Call(task["componentRef"]["name"].removeprefix("comp-"), parameters, artifacts, attempt)
            self.called.append(call)
            try:
                given = self.container(call)
            except PodGone:
                # Nobody is left to tell the store.
                reason = f"{name}: killed"
                continue
            except TaskFailed as error:
                made.state, reason = "FAILED", f"{name}: {error}"
                self.store.update(parent)
                continue
            self._publish(made, component, given)
            self.store.update(parent)
            if is_cached:
                self.cluster.cache[key] = made
            return True
        self.error = self.error or reason
        return False

    def _publish(self, made: Execution, component: Json, given: Outputs) -> None:
        known = component.get("outputDefinitions", {})
        for key in known.get("parameters", {}):
            made.outputs[key] = given[key]
        for key in known.get("artifacts", {}):
            uri = f"minio://bucket/{self.run_id}/{made.name}/{made.number}/{key}"
            made.produced[key] = {"uri": uri, "name": f"artefact {made.number} {key}"}
            self.cluster.artifacts[uri] = made.produced[key]
            for parameter, value in made.outputs.items():
                if value == f"uri of {key}":
                    made.outputs[parameter] = uri
        made.state = "COMPLETE"

    # driver/cache.go getFingerPrint, cacheutils/cache.go GenerateCacheKey: names of the input artefacts, parameters,
    # outputs, image and command as they stand in the template, and volumes.
    def _fingerprint(self, label: str, component: Json, parameters: Json, artifacts: Json) -> str:
        names = {key: [artifact["name"] for artifact in found] for key, found in artifacts.items()}
        container = self.executors[label]["container"]
        what = [container["image"], container.get("command"), container.get("args")]
        volumes = self.kubernetes.get(label, {}).get("pvcMount", [])
        outputs = component.get("outputDefinitions", {})
        return json.dumps([names, parameters, outputs, what, volumes], sort_keys=True)

    # driver/driver.go initPodSpecPatch, driver/k8s.go extendPodSpecPatch: what the pod is made from.
    def _pod(self, label: str, parameters: Json, parent: Execution) -> None:
        container = self.executors[label]["container"]
        places = {"image": container["image"]} | container.get("resources", {}).get("accelerator", {})
        places |= {k: v for k, v in container.get("resources", {}).items() if isinstance(v, str)}
        for what, text in places.items():
            found = re.search(r"\$\.inputs\.parameters\['(.+?)'\]", str(text))
            if not found:
                continue
            if found[1] not in parameters:
                raise DriverError(f"executorInput did not contain {what}: {found[1]}")
            # resolvePodSpecInputRuntimeParameter takes GetStringValue, which is empty for any other type.
            if not isinstance(parameters[found[1]], str) or not parameters[found[1]]:
                raise DriverError(f"{what} is no text: {parameters[found[1]]!r}")
        for secret in self.kubernetes.get(label, {}).get("secretAsEnv", []):
            given = secret.get("secretNameParameter", {})
            if "componentInputParameter" in given and not parent.parameters.get(given["componentInputParameter"]):
                # resolveInputParameterStr
                raise DriverError("Expected a non-empty string")

    # driver/resolve.go resolveInputs
    def _inputs(self, task: Json, component: Json, parent: Execution) -> tuple[dict[str, Json], dict[str, list[Json]]]:
        known = component.get("inputDefinitions", {}).get("parameters", {})
        given = task.get("inputs", {})
        parameters = {}
        for key, spec in given.get("parameters", {}).items():
            parameters[key] = self._parameter(spec, task, parent)
        for key, definition in known.items():
            if key == task.get("parameterIterator", {}).get("itemInput"):
                continue
            if key not in parameters and not definition.get("isOptional") and "defaultValue" not in definition:
                raise DriverError(f'neither value nor default value provided for non-optional parameter "{key}"')
            if key in parameters:
                parameters[key] = _typed(key, parameters[key], definition["parameterType"])
        artifacts = {key: self._artifact(spec, parent) for key, spec in given.get("artifacts", {}).items()}
        return parameters, artifacts

    # driver/resolve.go resolveInputParameter
    def _parameter(self, spec: Json, task: Json, parent: Execution) -> Json:
        if "componentInputParameter" in spec:
            if spec["componentInputParameter"] not in parent.parameters:
                raise DriverError(f"parent DAG does not have input parameter {spec['componentInputParameter']}")
            return parent.parameters[spec["componentInputParameter"]]
        if "runtimeValue" in spec:
            value = spec["runtimeValue"]["constant"]
            return {"{{$.pipeline_job_uuid}}": self.run_id}.get(value, value) if isinstance(value, str) else value
        if "taskFinalStatus" in spec:
            # The metadata store's word for the DAG, an empty error, and the workflow's name.
            producer = self.store.tasks(parent)[key_of(task["dependentTasks"][0], parent)]
            self.state = producer.state
            return {"state": producer.state, "error": {}, "pipelineJobResourceName": "dedpo-x7f2k"}
        found = spec["taskOutputParameter"]
        return self.store.output(found["producerTask"], found["outputParameterKey"], parent, is_artifact=False)

    def _artifact(self, spec: Json, parent: Execution) -> list[Json]:
        if "componentInputArtifact" in spec:
            if spec["componentInputArtifact"] not in parent.artifacts:
                raise DriverError(f"parent DAG does not have input artifact {spec['componentInputArtifact']}")
            return parent.artifacts[spec["componentInputArtifact"]]
        found = spec["taskOutputArtifact"]
        made = self.store.output(found["producerTask"], found["outputArtifactKey"], parent, is_artifact=True)
        return made if isinstance(made, list) else [made]


# argocompiler/dag.go addImplicitDependencies
def _upstream(task: Json) -> set[str]:
    inputs = task.get("inputs", {})
    found = set(task.get("dependentTasks", []))
    for spec in [*inputs.get("parameters", {}).values(), *inputs.get("artifacts", {}).values()]:
        for kind in ("taskOutputParameter", "taskOutputArtifact"):
            if kind in spec:
                found.add(spec[kind]["producerTask"])
    return found


def _in_order(tasks: Mapping[str, Json]) -> Iterator[str]:
    waiting = dict(tasks)
    while waiting:
        ready = sorted(n for n, t in waiting.items() if not _upstream(t) & waiting.keys())
        assert ready, f"a circle: {sorted(waiting)}"
        for name in ready:
            del waiting[name]
            yield name


# driver/util.go getItems
def _items(iterator: Json, parameters: Json) -> list[Json]:
    items = iterator["items"]
    value = json.loads(items["raw"]) if "raw" in items else parameters[items["inputParameter"]]
    found = json.loads(value) if isinstance(value, str) else value
    assert isinstance(found, list)
    return found


# driver/resolve.go handleParamTypeValidationAndConversion: a text takes anything, as JSON; nothing else is converted.
def _typed(key: str, value: Json, kind: str) -> Json:
    types: dict[str, Any] = {
        "NUMBER_INTEGER": (int, float), "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool, "LIST": list, "STRUCT": dict,
        "TASK_FINAL_STATUS": dict,
    }  # fmt: skip
    if kind == "STRING":
        return value if isinstance(value, str) else json.dumps(value)
    if not isinstance(value, types[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
        raise DriverError(f'input parameter "{key}" type mismatch: expect {kind}, got {type(value).__name__}')
    return value


# expression/expression.go Condition: CEL, of which kfp's compiler writes comparisons, !, && and ||.
def _holds(condition: str, parameters: Json) -> bool:
    text = re.sub(r"inputs\.parameter_values\['(.+?)'\]", lambda m: repr(parameters[m[1]]), condition)
    text = text.replace("&&", " and ").replace("||", " or ").replace("true", "True").replace("false", "False")
    return bool(eval(re.sub(r"!(?!=)", " not ", text), {"__builtins__": {}}, {"int": int, "double": float}))
