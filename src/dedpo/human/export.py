"""Label Studio's exports as answers; what cannot be one is set aside with its reason.

Read: 'JSON' (a task with its annotations, https://labelstud.io/guide/task_format), 'JSON-MIN' (a row an annotation),
what a target storage holds (a file an annotation, its task inside, or a file a task), and 'completions', as
annotations were called before version 1. Everything in it is from elsewhere: no value is trusted to be of its type.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from dedpo.errors import UserError, excerpt
from dedpo.human.annotations import HumanAnswer as HumanAnswer
from dedpo.human.annotations import answer, from_minimum
from dedpo.human.project import CONTROL
from dedpo.tabular.rejected import RefusedError, SetAside

_CHOOSE: Final = "in Label Studio choose Export, then 'JSON'"
# What an annotation may be without anybody having chosen the wrong file.
_ORDINARY: Final = {"skipped"}
_REMEDIES: Final = {
    "prediction": f"label the tasks, or, if they are, {_CHOOSE}",
    "draft": "submit the drafts in Label Studio, then export again",
    "no rater": f"this file does not say who answered; {_CHOOSE}",
    "not one of left, tie, right": "the control 'preference' must have the values left, tie and right",
    "no choice": "the control must be called 'preference', or be a Pairwise one",
}


def read(path: Path) -> list[Any]:
    """The tasks, annotations or rows of an export: a file, or the folder of a target storage with a file each.

    Raises:
        UserError: no such file, no JSON, or no list of tasks.
    """
    if path.is_dir():
        inside = [p for p in sorted(path.rglob("*")) if p.is_file()]
        files = [p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts)]
        if not files:
            raise UserError(f"{path}: an empty folder; {_CHOOSE}")
        return [item for file in files for item in _items(file)]
    return _items(path)


def _items(path: Path) -> list[Any]:
    try:
        data = path.read_bytes()
        if data.startswith(b"PK\x03\x04"):
            raise UserError(f"{path}: a zip archive; unpack it and name the JSON file in it")
        found = json.loads(data)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; name a JSON export of Label Studio") from None
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: no JSON ({excerpt(str(error), 80)}); {_CHOOSE}") from None
    if isinstance(found, dict) and ("data" in found or _is_stored(found)):
        return [found]
    if not isinstance(found, list) or not found:
        shown = "an empty list" if found == [] else f"a JSON {type(found).__name__}"
        raise UserError(f"{path}: {shown}, expected Label Studio's list of tasks; {_CHOOSE}")
    return found


def parse(tasks: list[Any]) -> tuple[list[HumanAnswer], list[SetAside]]:
    """Every annotation, prediction and draft of the tasks: an answer, or set aside."""
    answers: list[HumanAnswer] = []
    set_aside: list[SetAside] = []
    for number, (data, annotation, kind) in enumerate(_annotations(tasks), start=1):
        try:
            if kind:
                raise RefusedError(kind)
            answers.append(answer(number, data, annotation))
        except RefusedError as refused:
            prompt = data.get("prompt")
            shown = excerpt(prompt) if isinstance(prompt, str) else ""
            set_aside.append(SetAside(number, refused.reason, refused.detail, shown))
    return answers, set_aside


def check(path: Path, tasks: Sequence[Any], answers: Sequence[HumanAnswer], set_aside: Sequence[SetAside]) -> None:
    """Refuse a file that holds no answer at all, unless people have only skipped.

    Raises:
        UserError: so it is; says what it holds instead, and which export to choose.
    """
    reasons = Counter(s.reason for s in set_aside)
    if answers or (reasons and reasons.keys() <= _ORDINARY):
        return
    if not reasons:
        raise UserError(f"{path}: none of its {len(tasks)} tasks holds an annotation; if people answered, {_CHOOSE}")
    told = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    remedy = _REMEDIES.get(reasons.most_common(1)[0][0], f"{_CHOOSE}, of the project that 'dedpo data select' wrote")
    raise UserError(f"{path}: none of its annotations is an answer ({told}); {remedy}")


def listed(tasks: list[Any]) -> set[tuple[str, str]]:
    """(round, pair_id) of the tasks that stand there with all their annotations."""
    whole = [t["data"] for t in tasks if isinstance(t, dict) and isinstance(t.get("data"), dict) and "annotations" in t]
    return {(str(data.get("round")), str(data.get("pair_id"))) for data in whole}


def _annotations(tasks: list[Any]) -> Iterator[tuple[dict[str, Any], Any, str]]:
    """Task data, what was said on it, and why it is no answer ('': it may be one)."""
    for task in tasks:
        if not isinstance(task, dict):
            yield {}, None, "not a task"
        elif _is_stored(task):
            yield _data(task["task"]), task, ""
        elif "data" in task:
            for annotation in (*_listed(task, "annotations"), *_listed(task, "completions")):
                yield _data(task), annotation, ""
            for kind in ("prediction", "draft"):
                yield from ((_data(task), None, kind) for _ in _listed(task, f"{kind}s"))
        elif "result" in task:
            yield {}, task, "an annotation without its task"
        # A task that nobody opened is a row as well.
        elif task.get("annotator") is not None or CONTROL in task:
            yield task, from_minimum(task), ""


def _is_stored(item: dict[str, Any]) -> bool:
    """Whether this is an annotation with its task inside, as a target storage has them."""
    return "result" in item and isinstance(item.get("task"), dict)


def _data(task: dict[str, Any]) -> dict[str, Any]:
    found = task.get("data")
    return found if isinstance(found, dict) else {}


def _listed(task: dict[str, Any], key: str) -> list[Any]:
    found = task.get(key)
    return found if isinstance(found, list) else []
