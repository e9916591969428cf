"""What one person said on one task, wherever an export has it; nothing in it is trusted to be of its type."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from dedpo.contract.answered_pairs import is_round
from dedpo.errors import excerpt
from dedpo.human.project import CONTROL, LEFT, RIGHT, TIE, preference
from dedpo.tabular.rejected import RefusedError

_CHOICES: Final = (LEFT, TIE, RIGHT)
_ORDERS: Final = ("01", "10")


@dataclass(frozen=True, slots=True)
class HumanAnswer:
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


def answer(number: int, data: dict[str, Any], annotation: Any) -> HumanAnswer:
    """The answer of an annotation as 'JSON' has it.

    Args:
        data: the task's.

    Raises:
        RefusedError: it is none; says why.
    """
    if not isinstance(annotation, dict):
        raise RefusedError("unreadable annotation", excerpt(str(annotation), 60))
    name, pair_id, order = (data.get(key) for key in ("round", "pair_id", "order_shown"))
    if not is_round(name) or not isinstance(pair_id, str) or order not in _ORDERS:
        raise RefusedError("not a task of 'dedpo data select'", excerpt(f"{name} {pair_id} {order}", 80))
    if annotation.get("was_cancelled") or annotation.get("skipped"):
        raise RefusedError("skipped")
    prompt = data.get("prompt")
    return HumanAnswer(
        number=number,
        round=str(name),
        pair_id=pair_id,
        rater=_rater(annotation.get("completed_by")),
        preference=preference(_choice(annotation.get("result")), str(order)),
        order_shown=str(order),
        time=_time(annotation.get("updated_at")) or _time(annotation.get("created_at")),
        prompt=excerpt(prompt) if isinstance(prompt, str) else "",
    )


def from_minimum(row: dict[str, Any]) -> dict[str, Any]:
    """The annotation of a row of 'JSON-MIN' as 'JSON' would have it.

    A control's value is there by its name, a Pairwise one's as [{"selected": "left"}] by a name that is the user's.
    """
    chosen = row.get(CONTROL)
    pairwise = [one for value in row.values() if isinstance(value, list) for one in value if _is_pairwise(one)]
    result: list[Any] = [{"type": "pairwise", "value": one} for one in pairwise]
    if chosen is not None and not (pairwise and isinstance(chosen, list)):
        result.append({"from_name": CONTROL, "value": {"choices": chosen if isinstance(chosen, list) else [chosen]}})
    return {"result": result, "completed_by": row.get("annotator")} | {
        name: row.get(name) for name in ("updated_at", "created_at")
    }


def _is_pairwise(value: Any) -> bool:
    return isinstance(value, dict) and "selected" in value


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
    if result.get("type") != "pairwise":
        return None
    # Its 'left' is the first of the two that it compares, whatever that one is called.
    if result.get("to_name") == f"{RIGHT},{LEFT}":
        raise RefusedError("the Pairwise control compares right with left", excerpt(str(value.get("selected")), 60))
    return value.get("selected")


def _time(found: Any) -> datetime | None:
    try:
        if isinstance(found, int | float) and not isinstance(found, bool):
            return datetime.fromtimestamp(found, UTC)
        if not isinstance(found, str):
            return None
        time = datetime.fromisoformat(found)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
