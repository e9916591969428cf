"""What each stage took: time out of the manifests; requests, tokens and money where an endpoint was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from dedpo.contract.records.evaluation import Verdicts
from dedpo.contract.records.labels import Labels
from dedpo.report.provenance import Duration

_SPENT: Final = ("requests", "input_tokens", "output_tokens", "dollars")


class Cost(NamedTuple):
    """One stage, over all its outputs; None where it was not counted."""

    stage: str
    outputs: int
    seconds: float | None
    requests: float | None
    input_tokens: float | None
    output_tokens: float | None
    dollars: float | None


def costs(durations: Sequence[Duration], labels: Labels | None, verdicts: Verdicts | None) -> list[Cost]:
    """One row a stage, in the order of the work."""
    asked: dict[str, tuple[float | None, ...]] = {}
    if labels:
        asked["label"] = labels["requests"], None, None, None
    if verdicts:
        asked["judge"] = tuple(verdicts[key] for key in _SPENT)
    return [Cost(d.stage, d.outputs, d.seconds, *asked.get(d.stage, [None] * 4)) for d in durations]


def total(rows: Sequence[Cost]) -> Cost:
    """The sum of all rows; None where no row has a number."""
    columns = list(zip(*(row[2:] for row in rows), strict=True))
    known = [[v for v in column if v is not None] for column in columns]
    return Cost("all", sum(row.outputs for row in rows), *([sum(v) if v else None for v in known] or [None] * 5))
