"""What each stage took: time out of the manifests; requests, tokens and money where an endpoint was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dedpo.report.provenance import Duration
from dedpo.report.reading import Json, finite


class Cost(NamedTuple):
    """One stage, over all its outputs; None where it was not counted."""

    stage: str
    outputs: int
    seconds: float | None
    requests: float | None
    input_tokens: float | None
    output_tokens: float | None
    dollars: float | None


def costs(durations: Sequence[Duration], counted: Mapping[str, Json]) -> list[Cost]:
    """One row a stage, in the order of the work.

    Args:
        counted: stage → its summary.json, of which requests, input_tokens, output_tokens and dollars are taken.
    """
    return [Cost(d.stage, d.outputs, d.seconds, *_asked(counted.get(d.stage, {}))) for d in durations]


def total(rows: Sequence[Cost]) -> Cost:
    """The sum of all rows; None where no row has a number."""
    columns = list(zip(*(row[2:] for row in rows), strict=True))
    known = [[v for v in column if v is not None] for column in columns]
    return Cost("all", sum(row.outputs for row in rows), *([sum(v) if v else None for v in known] or [None] * 5))


def _asked(found: Json) -> tuple[float | None, float | None, float | None, float | None]:
    return (
        finite(found.get("requests")),
        finite(found.get("input_tokens")),
        finite(found.get("output_tokens")),
        finite(found.get("dollars")),
    )
