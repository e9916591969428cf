"""From answers to the verdicts table, its summary and what it took: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa

from dedpo.asking.failures import counted
from dedpo.contract import tables
from dedpo.contract.criteria import CRITERIA
from dedpo.contract.records.evaluation import Counts, Spent
from dedpo.contract.sections import JudgeConfig
from dedpo.judge import cost
from dedpo.judge.answers import Answer
from dedpo.judge.comparisons import Comparison, winner
from dedpo.judge.summary import shares

KEY = [(name, "ascending") for name in tables.VERDICTS.key]


class Usage(NamedTuple):
    """What answers took: HTTP requests and tokens."""

    requests: int
    input_tokens: int
    output_tokens: int


def verdicts(judge: str, comparisons: Sequence[Comparison], answers: Sequence[Answer]) -> pa.Table:
    """The verdicts table, sorted by its key: a row for each comparison and criterion."""
    rows = [
        {
            "judge": judge,
            "model_0": c.model_0,
            "model_1": c.model_1,
            "prompt_id": c.prompt_id,
            "seed": c.seed,
            "criterion": criterion,
            "order": c.order,
            "winner": winner(answer.choices[criterion], c.order) if answer.choices else None,
            "rationale": answer.rationale,
            "error": answer.error,
        }
        for c, answer in zip(comparisons, answers, strict=True)
        for criterion in CRITERIA
    ]
    return pa.Table.from_pylist(rows, schema=tables.VERDICTS.schema).sort_by(KEY)


def summary(judge: str, models: Sequence[tuple[str, str]], table: pa.Table, answers: Sequence[Answer]) -> Counts:
    """What summary.json says of a verdicts table: counts, shares, failures by reason."""
    return {
        "judge": judge,
        "comparisons": len(answers),
        "answered": sum(a.error is None for a in answers),
        "prompts": len(table.column("prompt_id").unique()),
        "pairs": shares(table.to_pylist(), models),
        "failures": dict(sorted(counted(a.error for a in answers).items())),
    }


def usage(answers: Iterable[Answer]) -> Usage:
    """What all askings took."""
    taken = [(a.attempts, a.input_tokens, a.output_tokens) for a in answers]
    return Usage(*(sum(column) for column in zip(*taken, strict=True))) if taken else Usage(0, 0, 0)


def spent(config: JudgeConfig, used: Usage) -> Spent:
    """What the verdicts took, in whichever run."""
    requests, sent, answered = used
    dollars = cost.dollars(config, sent, answered)
    return {"requests": requests, "input_tokens": sent, "output_tokens": answered, "dollars": dollars}


def added(config: JudgeConfig, before: Usage, after: Usage) -> float:
    """The dollars of this run alone."""
    return cost.dollars(config, after.input_tokens - before.input_tokens, after.output_tokens - before.output_tokens)
