"""A record of any kind for tests that care for a few of its keys."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def record(kind: Any, **values: Any) -> dict[str, Any]:
    """Every key that a record of `kind` cannot be without: `values`, else None, nothing or the first that is allowed.

    A dict among the values, or in a list of them, is filled up to a record in the same way.
    """
    hints = get_type_hints(kind)
    made = {name: _value(hints[name]) for name in kind.__required_keys__}
    for name, value in values.items():
        inner = _record_in(hints.get(name))
        made[name] = _filled(inner, value) if inner else value
    return made


def _filled(kind: Any, value: Any) -> Any:
    if isinstance(value, list):
        return [_filled(kind, v) for v in value]
    return record(kind, **value) if isinstance(value, dict) else value


def _record_in(hint: Any) -> Any:
    inner = () if get_origin(hint) is dict else get_args(hint)
    return next((h for h in (hint, *inner) if hasattr(h, "__required_keys__")), None)


def _value(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return None
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    if hasattr(hint, "__required_keys__"):
        return record(hint)
    return (get_origin(hint) or hint)()
