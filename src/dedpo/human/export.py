"""Label Studio's JSON export as answers; what cannot be one is set aside with its reason.

Read: 'JSON' (a task with its annotations, https://labelstud.io/guide/task_format) and 'JSON-MIN' (a row an
annotation). Everything in it is from elsewhere: no value is trusted to be of its type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dedpo.errors import UserError, excerpt
from dedpo.human.project import CONTROL, LEFT, RIGHT, TIE, is_round, preference
from dedpo.set_aside import RefusedError, SetAside

_CHOICES: Final = (LEFT, TIE, RIGHT)
_ORDERS: Final = ("01", "10")


@dataclass(frozen=True, slots=True)
class Answer:
    """One person's answer to one task, in the pair's orientation.

    Attributes:
        number: counted from 1 over what the export holds, annotations and predictions alike.
        rater: an e-mail address, or 'label-studio:<id>' where the export gives only a number.
        preference: P(image 1 preferred over image 0): 0, ½ or 1.
        order_shown: '01' if image 0 was on the left, else '10'.
        time: of the last change, in UTC; None: unknown.
    """

    number: int
    round: str
    pair_id: str
    rater: str
    preference: float
    order_shown: str
    time: datetime | None
    prompt: str


def read(path: Path) -> list[Any]:
    """The tasks of an export.

    Raises:
        UserError: no such file, no JSON, or no list of tasks.
    """
    try:
        tasks = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; name a JSON export of Label Studio") from None
    except (ValueError, RecursionError) as error:
        reason = excerpt(str(error), 80)
        raise UserError(f"{path}: no JSON ({reason}); in Label Studio choose Export, then 'JSON'") from None
    if not isinstance(tasks, list) or not tasks:
        found = "an empty list" if tasks == [] else f"a JSON {type(tasks).__name__}"
        raise UserError(f"{path}: {found}, expected Label Studio's list of tasks; choose Export, then 'JSON'")
    return tasks


def parse(tasks: list[Any]) -> tuple[list[Answer], list[SetAside]]:
    """Every annotation and prediction of the tasks: an answer, or set aside."""
    answers: list[Answer] = []
    set_aside: list[SetAside] = []
    for number, (data, annotation, kind) in enumerate(_annotations(tasks), start=1):
        try:
            if kind:
                raise RefusedError(kind)
            answers.append(_answer(number, data, annotation))
        except RefusedError as refused:
            prompt = data.get("prompt")
            shown = excerpt(prompt) if isinstance(prompt, str) else ""
            set_aside.append(SetAside(number, refused.reason, refused.detail, shown))
    return answers, set_aside


def _annotations(tasks: list[Any]) -> Iterator[tuple[dict[str, Any], Any, str]]:
    """Task data, what was said on it, and why it is no answer ('': it may be one)."""
    for task in tasks:
        if not isinstance(task, dict):
            yield {}, None, "not a task"
        elif "data" not in task and "annotator" in task:
            # A task that nobody opened is a row as well.
            if task["annotator"] is not None or CONTROL in task:
                yield task, _from_minimum(task), ""
        else:
            data = task["data"] if isinstance(task.get("data"), dict) else {}
            for annotation in _listed(task, "annotations"):
                yield data, annotation, ""
            for _ in _listed(task, "predictions"):
                yield data, None, "prediction"


def _listed(task: dict[str, Any], key: str) -> list[Any]:
    found = task.get(key)
    return found if isinstance(found, list) else []


def _from_minimum(row: dict[str, Any]) -> dict[str, Any]:
    """A JSON-MIN row's annotation as 'JSON' would have it."""
    chosen = row.get(CONTROL)
    result = [] if chosen is None else [{"from_name": CONTROL, "value": {"choices": [chosen]}}]
    return {"result": result, "completed_by": row["annotator"], "updated_at": row.get("updated_at")}


def _answer(number: int, data: dict[str, Any], annotation: Any) -> Answer:
    if not isinstance(annotation, dict):
        raise RefusedError("unreadable annotation", excerpt(str(annotation), 60))
    name, pair_id, order = (data.get(key) for key in ("round", "pair_id", "order_shown"))
    if not is_round(name) or not isinstance(pair_id, str) or order not in _ORDERS:
        raise RefusedError("not a task of 'dedpo data select'", excerpt(f"{name} {pair_id} {order}", 80))
    if annotation.get("was_cancelled") or annotation.get("skipped"):
        raise RefusedError("skipped")
    prompt = data.get("prompt")
    return Answer(
        number=number,
        round=str(name),
        pair_id=pair_id,
        rater=_rater(annotation.get("completed_by")),
        preference=preference(_choice(annotation.get("result")), str(order)),
        order_shown=str(order),
        time=_time(annotation.get("updated_at")) or _time(annotation.get("created_at")),
        prompt=excerpt(prompt) if isinstance(prompt, str) else "",
    )


def _rater(found: Any) -> str:
    # JSON-MIN has the address itself where 'JSON' has {"id", "email"}.
    email = found.get("email") if isinstance(found, dict) else found
    if isinstance(email, str) and (shown := excerpt(email, 200)):
        return f"label-studio:{shown}" if shown.isdecimal() else shown
    if isinstance(found, dict):
        found = found.get("id")
    # A number alone could be another person's name in the ratings that were imported.
    if isinstance(found, int) and not isinstance(found, bool):
        return f"label-studio:{found}"
    raise RefusedError("no rater", excerpt(str(found), 60))


def _choice(results: Any) -> str:
    """The one choice made: by Choices, or by Label Studio's Pairwise tag for those who prefer it."""
    found = [_chosen(result) for result in results] if isinstance(results, list) else []
    said = [choice for choice in found if choice is not None]
    if not said:
        raise RefusedError("no choice")
    if len(said) > 1 or said[0] not in _CHOICES:
        raise RefusedError("not one of left, tie, right", excerpt(", ".join(map(str, said)), 60))
    return str(said[0])


def _chosen(result: Any) -> Any:
    """What one region of a result says of the preference; None: nothing."""
    value = result.get("value") if isinstance(result, dict) else None
    if not isinstance(value, dict):
        return None
    if "choices" in value and result.get("from_name") == CONTROL:
        choices = value["choices"]
        return choices[0] if isinstance(choices, list) and len(choices) == 1 else excerpt(str(choices), 60)
    return value.get("selected") if result.get("type") == "pairwise" else None


def _time(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
