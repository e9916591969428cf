"""From answers to the labels table and its summary: pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa

from dedpo.asking.failures import counted
from dedpo.contract import tables
from dedpo.contract.records.labels import Effort, Labels
from dedpo.contract.sections import LabelConfig
from dedpo.label.answers import Answer

ORDERS = ("01", "10")


def labels(answers: Mapping[tuple[str, str], Answer], pair_ids: list[str], config: LabelConfig) -> pa.Table:
    """The labels table, one row a pair in the order of `pair_ids`."""
    rows = [_label(answers[pair_id, "01"], answers[pair_id, "10"]) for pair_id in pair_ids]
    names = {"annotator": config.model, "template": config.template}
    return pa.Table.from_pylist([row | names for row in rows], schema=tables.LABELS.schema)


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


def effort(table: pa.Table, asked: int) -> Effort:
    """How many of the answers behind a table, two a pair, were asked for now, and kept from earlier runs."""
    return {"asked": asked, "carried_over": len(ORDERS) * table.num_rows - asked}


def summary(table: pa.Table, failed: Counter[str]) -> Labels:
    """What summary.json holds of a labels table."""
    rows = table.select(["preference", "p_order_01", "p_order_10", "on_answer_mass", "attempts"]).to_pylist()
    answered = [r for r in rows if r["preference"] is not None]
    masses = [r["on_answer_mass"] for r in answered if r["on_answer_mass"] is not None]
    return {
        "pairs": len(rows),
        "answered": len(answered),
        # Of all askings that these labels come from, in earlier runs, too.
        "requests": sum(r["attempts"] for r in rows),
        "failures": dict(sorted(failed.items())),
        "mean_preference": _average([r["preference"] for r in answered]),
        # Negative: it leans to the picture shown first.
        "position_bias": _average([r["p_order_01"] - r["p_order_10"] for r in answered]),
        "mean_on_answer_mass": _average(masses),
    }


def _average(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
