"""The kinds of annotator, each from its settings to labels of the same pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from dedpo.contract.sections import AnnotatorConfig
from dedpo.errors import UserError
from dedpo.label import endpoint
from dedpo.label.table import Asked


@dataclass(frozen=True)
class Task:
    """What is to be labelled.

    Attributes:
        pairs: the folder of all shards.
        files: those to label.
        pair_ids: the pairs in `files`, sorted.
        total: all pairs, of which a share of `label.max_failures` may lack an answer.
        log: the folder of answers that outlive the run.
        out: the folder that the stage makes.
    """

    pairs: Path
    files: Sequence[Path]
    pair_ids: list[str]
    total: int
    log: Path
    out: Path


def label(config: AnnotatorConfig, task: Task) -> Asked:
    """One annotator's labels.

    Raises:
        UserError: it cannot be asked or read, or too many pairs have no answer.
    """
    return endpoint.ask(config, task.files, task.pair_ids, total=task.total, log=task.log, out=task.out)


def check_failures(config: AnnotatorConfig, table: pa.Table, total: int, failed: Counter[str]) -> None:
    """Refuse labels of which too many are lacking.

    Args:
        table: of one annotator, of all pairs or of a part.
        total: all pairs.
        failed: failures by reason.

    Raises:
        UserError: it counts them and names the most frequent reason.
    """
    lacking = table.column("error").length() - table.column("error").null_count
    if lacking > config.max_failures * total:
        kind, times = failed.most_common(1)[0]
        raise UserError(
            f"label: {lacking} of {total} pairs got no answer of '{config.annotator}' (label.max_failures allows "
            f"{config.max_failures:.1%}), most often ({times}×): {kind}; raise label.max_failures, or label again"
        )
