"""From answers to the labels table and its summary: pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedpo.asking.failures import counted
from dedpo.contract import tables
from dedpo.contract.records.labels import AnnotatorLabels, Labels
from dedpo.contract.sections import AnnotatorConfig
from dedpo.label.answers import Answer

ORDERS = ("01", "10")
# What stands for the question where none was put; what a reader must know of the labels stands in it.
TEMPLATES: Final = {
    "clip": "clip",
    "score": "score: trained on human preferences",
    "flip": "flip: a control made of human ratings",
    "file": "file",
}


class Asked(NamedTuple):
    """One annotator's labels, sorted by pair, failures by reason, and how much was asked now and kept from before."""

    table: pa.Table
    failed: Counter[str]
    asked: int
    kept: int


def template_of(config: AnnotatorConfig) -> str:
    """What the column 'template' says."""
    return TEMPLATES.get(config.kind, config.template)


def labels(answers: Mapping[tuple[str, str], Answer], pair_ids: list[str], config: AnnotatorConfig) -> pa.Table:
    """The labels of an annotator that was asked in both orders, one row a pair in the order of `pair_ids`."""
    return _table([_label(answers[pair_id, "01"], answers[pair_id, "10"]) for pair_id in pair_ids], config)


def plain(
    config: AnnotatorConfig, found: Iterable[tuple[str, float | None, str | None]], *, is_orderless: bool = False
) -> pa.Table:
    """The labels of one that nobody asked.

    Args:
        found: pair_id, preference and why there is none.
        is_orderless: it is a function of the two images whose order changes nothing; else no order is known.
    """
    rows = []
    for pair_id, p, error in found:
        shown = p if is_orderless else None
        row = {"preference": p, "p_order_01": shown, "p_order_10": shown, "on_answer_mass": None, "attempts": 0}
        rows.append({"pair_id": pair_id, "error": error, **row})
    return _table(rows, config)


def _table(rows: Sequence[Mapping[str, object]], config: AnnotatorConfig) -> pa.Table:
    names = {"annotator": config.annotator, "template": template_of(config)}
    return pa.Table.from_pylist([{**row, **names} for row in rows], schema=tables.LABELS.schema)


def _label(a01: Answer, a10: Answer) -> dict[str, object]:
    errors = [f"order {a.order}: {a.error}" for a in (a01, a10) if a.error is not None]
    return {
        "pair_id": a01.pair_id,
        "preference": _mean(a01.p, a10.p),
        "p_order_01": a01.p,
        "p_order_10": a10.p,
        "on_answer_mass": _mean(a01.on_answer_mass, a10.on_answer_mass),
        "attempts": a01.attempts + a10.attempts,
        "error": "; ".join(errors) or None,
    }


def _mean(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else (one + other) / 2


def failures(answers: Mapping[tuple[str, str], Answer]) -> Counter[str]:
    """How many answers failed, by reason."""
    return counted(a.error for a in answers.values())


def summary(found: Sequence[Asked]) -> Labels:
    """What summary.json holds of the annotators' labels, which are of the same pairs."""
    each = [_of_one(one.table, one.failed) for one in found]
    has_label = np.array([pc.is_valid(one.table.column("preference")).to_numpy() for one in found])
    return {
        "pairs": has_label.shape[1],
        "answered": int(has_label.any(axis=0).sum()),
        "requests": sum(one["requests"] for one in each),
        "annotators": each,
    }


def _of_one(table: pa.Table, failed: Counter[str]) -> AnnotatorLabels:
    rows = table.select(["preference", "p_order_01", "p_order_10", "on_answer_mass", "attempts"]).to_pylist()
    answered = [r for r in rows if r["preference"] is not None]
    masses = [r["on_answer_mass"] for r in answered if r["on_answer_mass"] is not None]
    both = [(r["p_order_01"], r["p_order_10"]) for r in answered]
    return {
        "annotator": table.column("annotator")[0].as_py(),
        "template": table.column("template")[0].as_py(),
        "answered": len(answered),
        # Of all askings that these labels come from, in earlier runs, too.
        "requests": sum(r["attempts"] for r in rows),
        "failures": dict(sorted(failed.items())),
        "mean_preference": _average([r["preference"] for r in answered]),
        # Negative: it leans to the picture shown first.
        "position_bias": _average([a - b for a, b in both if a is not None and b is not None]),
        "mean_on_answer_mass": _average(masses),
    }


def _average(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def flat(found: Mapping[str, Any]) -> dict[str, Any]:
    """A summary without levels, for a terminal and for metrics: of several annotators each number has a name."""
    own = {name: value for name, value in found.items() if name != "annotators"}
    each = found.get("annotators", [])
    if len(each) == 1:
        return own | {name: value for name, value in each[0].items() if name not in own}
    return own | {f"{name} of {one['annotator']}": v for one in each for name, v in one.items() if name != "annotator"}
