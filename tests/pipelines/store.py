"""Kubeflow's metadata store at 2.17.0: executions, their states, and how an output is found through graphs of tasks.

Paths are those of kubeflow/pipelines below backend/src/v2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

Json = Any
Outputs = dict[str, Json]


class DriverError(Exception):
    """The driver refuses to start a task: its pod fails, and no launcher tells the metadata store."""


@dataclass
class Execution:
    """One in the metadata store (metadata/client.go CreateExecution): a task, or a graph of tasks ('DAG')."""

    number: int
    name: str
    kind: str  # 'container', 'dag' or 'importer'
    parent: Execution | None
    state: str
    parameters: dict[str, Json] = field(default_factory=dict)
    artifacts: dict[str, list[Json]] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=dict)
    produced: dict[str, Json] = field(default_factory=dict)
    selectors: dict[str, Json] = field(default_factory=dict)
    tasks: int = 0
    iteration: int | None = None
    iterations: int | None = None


class Store:
    """The executions of one run."""

    def __init__(self, numbers: count[int]) -> None:
        self.numbers = numbers
        self.executions: list[Execution] = []

    def create(self, name: str, kind: str, parent: Execution | None, **more: Any) -> Execution:
        made = Execution(next(self.numbers), name, kind, parent, "RUNNING", **more)
        self.executions.append(made)
        return made

    # metadata/client.go UpdateDAGExecutionsState, called by a launcher that ran, and by nobody else.
    def update(self, dag: Execution | None) -> None:
        if dag is None:
            return
        expected = dag.tasks if dag.iterations is None else dag.iterations
        if expected == 0 and dag.iterations is None:
            return
        states = [e.state for e in self.executions if e.parent is dag]
        if sum(s in ("COMPLETE", "CACHED", "CANCELED") for s in states) == expected:
            dag.state = "COMPLETE"
        elif "FAILED" in states:
            dag.state = "FAILED"
        else:
            return  # and a state that was FAILED before stays
        self.update(dag.parent)

    # driver/resolve.go resolveUpstreamParameters and resolveUpstreamArtifacts
    def output(self, producer: str, key: str, parent: Execution, *, is_artifact: bool) -> Json:
        tasks = self.tasks(parent)
        current = tasks.get(key_of(producer, parent))
        while True:
            if current is None:
                raise DriverError(f"producer task, {producer}, not in tasks")
            if current.kind != "dag":
                return self._made(current, key, is_artifact=is_artifact)
            # getParallelForIterationCount: of the DAG itself, else of its parent. None and 0 are the same to it: the
            # outputs of a loop that went round no time are looked for in a task that is not there.
            if current.iterations or (current.parent is not None and current.parent.iterations):
                return self._collect(current, key, tasks, is_artifact=is_artifact)
            producer, key = self._producer(current, key, tasks, is_artifact=is_artifact)
            current = tasks.get(producer)

    # driver/resolve.go CollectInputs: breadth first, so the lists are in the items' order.
    def _collect(self, loop: Execution, key: str, tasks: dict[str, Execution], *, is_artifact: bool) -> list[Json]:
        found, waiting = [], [(loop, key)]
        while waiting:
            current, wanted = waiting.pop(0)
            if current.kind != "dag":
                found.append(self._made(current, wanted, is_artifact=is_artifact))
            elif current.iterations is not None:
                rounds = [e for e in self.executions if e.parent is current]
                waiting += [(one, wanted) for one in sorted(rounds, key=lambda e: e.iteration or 0)]
            else:
                name, inner = self._producer(current, wanted, tasks, is_artifact=is_artifact)
                name += "" if current.iteration is None else f"_idx_{current.iteration}"
                waiting.append((tasks[name], inner))
        return found

    # driver/resolve.go GetProducerTask: between several, the first whose state is COMPLETE or CACHED.
    def _producer(self, dag: Execution, key: str, tasks: dict[str, Execution], *, is_artifact: bool) -> tuple[str, str]:
        choices = _selectors(dag.selectors, key, is_artifact=is_artifact)
        for task, inner in choices:
            name = f"{task}_{dag.number}"
            if len(choices) == 1 or (name in tasks and tasks[name].state in ("COMPLETE", "CACHED")):
                return name, inner
        raise DriverError(f'processing OneOf: No successful task found for output key "{key}" in "{dag.name}"')

    def _made(self, execution: Execution, key: str, *, is_artifact: bool) -> Json:
        found = execution.produced if is_artifact else execution.outputs
        if key not in found:
            raise DriverError(f"cannot find output {key} of {execution.name}")
        return found[key]

    # driver/resolve.go getDAGTasks, metadata/client.go GetExecutionsInDAG: all below a DAG, by name and DAG's number.
    def tasks(self, dag: Execution) -> dict[str, Execution]:
        found: dict[str, Execution] = {}
        for execution in (e for e in self.executions if e.parent is dag):
            name = f"{execution.name}_{dag.number}"
            index = execution.iteration if execution.iteration is not None else dag.iteration
            name += "" if index is None else f"_idx_{index}"
            if name in found:
                raise DriverError(f'two tasks have the same task name "{name}"')
            found[name] = execution
        for execution in [e for e in found.values() if e.kind == "dag"]:
            found |= self.tasks(execution)
        return found


def key_of(name: str, dag: Execution) -> str:
    # driver/resolve.go InferIndexedTaskName
    return f"{name}_{dag.number}" + ("" if dag.iteration is None else f"_idx_{dag.iteration}")


def _selectors(outputs: Json, key: str, *, is_artifact: bool) -> list[tuple[str, str]]:
    if is_artifact:
        chosen = outputs.get("artifacts", {}).get(key, {}).get("artifactSelectors", [])
        return [(s["producerSubtask"], s["outputArtifactKey"]) for s in chosen]
    rule = outputs.get("parameters", {}).get(key, {})
    chosen = rule.get("valueFromOneof", {}).get("parameterSelectors") or [rule.get("valueFromParameter", {})]
    return [(s["producerSubtask"], s["outputParameterKey"]) for s in chosen if s]
