"""The compiled pipeline as boxes: tasks and loops, what each waits for, and the longest way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass
class Box:
    """A task, or a loop of one task, side by side.

    Attributes:
        name: its key in the graph.
        title: what a person reads.
        is_loop: whether it is many of them.
        gpu: whether it may ask for a GPU.
        after: the boxes that it waits for, without those that these wait for.
    """

    name: str
    title: str
    is_loop: bool = False
    gpu: bool = False
    after: set[str] = field(default_factory=set)


def steps(box: Box) -> float:
    """What a task counts on the longest way: one on a GPU twice."""
    return 2 if box.gpu else 1


def read(path: Path) -> tuple[list[Box], list[Box]]:
    """The tasks of a compiled pipeline, and those that run at its end whatever happens."""
    # The C parser takes a tenth of the time, where it was built.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    spec = next(yaml.load_all(path.read_text(encoding="utf-8"), Loader=loader))
    root = spec["root"]["dag"]["tasks"]
    last = [name for name, task in root.items() if "strategy" in task.get("triggerPolicy", {})]
    (loop,) = [task for name, task in root.items() if name not in last]
    boxes = _boxes(spec, spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"])
    return boxes, [_box(spec, name, root[name]) for name in last]


def depths(boxes: list[Box]) -> dict[str, int]:
    """How many boxes must come one after the other before each."""
    by_name = {box.name: box for box in boxes}
    found: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in found:
            found[name] = 1 + max((depth(other) for other in by_name[name].after), default=-1)
        return found[name]

    return {box.name: depth(box.name) for box in boxes}


def longest(boxes: list[Box], weigh: Callable[[Box], float] = steps) -> list[Box]:
    """The chain of boxes that weighs most, from first to last."""
    by_name, depth = {box.name: box for box in boxes}, depths(boxes)
    best: dict[str, tuple[float, list[Box]]] = {}
    for name in sorted(depth, key=lambda n: (depth[n], n)):
        box = by_name[name]
        before = max((best[other] for other in sorted(box.after)), key=lambda b: b[0], default=(0.0, []))
        best[name] = (before[0] + weigh(box), [*before[1], box])
    return max(best.values(), key=lambda b: b[0], default=(0.0, []))[1]


def _boxes(spec: Mapping[str, Any], tasks: Mapping[str, Any]) -> list[Box]:
    """The tasks of one graph; those that only point at an artefact give way to what they wait for."""
    waits = {name: set(task.get("dependentTasks", [])) for name, task in tasks.items()}
    pointers = {name for name, task in tasks.items() if _is_pointer(spec, task)}
    for name in pointers:
        for others in waits.values():
            if name in others:
                others |= waits[name]
    kept = {name: others - pointers for name, others in sorted(waits.items()) if name not in pointers}
    found = [_box(spec, name, tasks[name]) for name in kept]
    for box in found:
        box.after = {o for o in kept[box.name] if not any(_reaches(kept, p, o) for p in kept[box.name] - {o})}
    return found


def _reaches(waits: Mapping[str, set[str]], begin: str, end: str) -> bool:
    return end in waits[begin] or any(_reaches(waits, other, end) for other in waits[begin])


def _is_pointer(spec: Mapping[str, Any], task: Mapping[str, Any]) -> bool:
    component = spec["components"][task["componentRef"]["name"]]
    if "dag" in component:
        return all(_is_pointer(spec, inner) for inner in component["dag"]["tasks"].values())
    return "importer" in spec["deploymentSpec"]["executors"][component["executorLabel"]]


def _box(spec: Mapping[str, Any], name: str, task: Mapping[str, Any]) -> Box:
    component = spec["components"][task["componentRef"]["name"]]
    title = task["taskInfo"]["name"]
    if "dag" not in component:
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        plain = task["componentRef"]["name"].removeprefix("comp-").rstrip("-0123456789")
        return Box(name, plain, gpu="accelerator" in container.get("resources", {}))
    # A graph holds a loop, and a loop one task.
    (one,) = _boxes(spec, component["dag"]["tasks"])
    return Box(name, f"{one.title} × {title}" if "parameterIterator" in task else one.title, True, one.gpu)
