"""The kinds of annotator, each from its settings to labels of the same pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from dedpo.contract import tables
from dedpo.contract.model_names import check_name
from dedpo.contract.sections import AnnotatorConfig
from dedpo.errors import UserError
from dedpo.label import endpoint, file_reading, flip, similarity
from dedpo.label.table import Asked
from dedpo.label.templates import template
from dedpo.outputs import origin
from dedpo.outputs.manifest import input_hashes


@dataclass(frozen=True)
class Task:
    """What is to be labelled.

    Attributes:
        pairs: the folder of all shards.
        ratings: the ratings that came with them; None: there are none.
        files: those to label.
        pair_ids: the pairs in `files`, sorted.
        total: all pairs, of which a share of `label.max_failures` may lack an answer.
        log: the folder of answers that outlive the run.
        out: the folder that the stage makes.
        on_hub: models that the hub has, by name.
    """

    pairs: Path
    ratings: Path | None
    files: Sequence[Path]
    pair_ids: list[str]
    total: int
    log: Path
    out: Path
    on_hub: dict[str, str]


def sources(annotators: Iterable[AnnotatorConfig], ratings: Path | None) -> tuple[dict[str, Path], dict[str, str]]:
    """What the labels are made of beside the pairs: files and folders here, and models of the hub, by name.

    Raises:
        UserError: something is not there.
    """
    models: dict[str, str | None] = {}
    here: dict[str, Path] = {}
    for one in annotators:
        if one.kind == "endpoint":
            template(one.template)
        elif one.kind == "flip":
            if ratings is None:
                raise UserError(f"label: '{one.annotator}' turns people's ratings round, and there are none")
            here["ratings"] = ratings
        elif one.kind == "file":
            if not Path(one.path or "").is_file():
                raise UserError(f"label.path: {one.path}: no such file; name a CSV or Parquet of preferences")
            here[f"file of {one.annotator}"] = Path(one.path or "")
        else:
            named = {one.model: similarity.MODEL} | ({one.processor: similarity.PROCESSOR} if one.processor else {})
            for name, place in named.items():
                check_name(name, place)
                models[name] = name
    found, on_hub = origin.split_models(models)
    return here | found, on_hub


def label(config: AnnotatorConfig, task: Task) -> Asked:
    """One annotator's labels.

    Raises:
        UserError: it cannot be asked or read, or too many pairs have no answer.
    """
    files, pair_ids = task.files, task.pair_ids
    match config.kind:
        case "endpoint":
            return endpoint.ask(config, files, pair_ids, total=task.total, log=task.log, out=task.out)
        case "flip":
            assert task.ratings is not None
            found = flip.label(config, pair_ids, _means(task.ratings))
        case "file":
            found = file_reading.label(config, pair_ids, pairs=task.pairs, out=task.out)
        case _:
            weights = input_hashes(task.out) | origin.hub_commits(task.on_hub)
            found = similarity.label(config, files, pair_ids, log=task.log, out=task.out, weights=weights)
    check_failures(config, found.table, task.total, found.failed)
    return found


def _means(ratings: Path) -> dict[str, float]:
    # An import without ratings leaves a table without rows, which `tables.read` refuses.
    if not tables.count_rows(ratings):
        return {}
    means = tables.read(ratings, tables.RATINGS).group_by("pair_id").aggregate([("preference", "mean")])
    return dict(zip(*(means.column(name).to_pylist() for name in ("pair_id", "preference_mean")), strict=True))


def check_failures(config: AnnotatorConfig, table: pa.Table, total: int, failed: Counter[str]) -> None:
    """Refuse labels of which too many are lacking.

    Args:
        table: of one annotator, of all pairs or of a part.
        total: all pairs.
        failed: failures by reason.

    Raises:
        UserError: it counts them and names the most frequent reason.
    """
    lacking: int = table.num_rows - table.column("error").null_count
    if lacking > config.max_failures * total:
        kind, times = failed.most_common(1)[0]
        raise UserError(
            f"label: {lacking} of {total} pairs got no answer of '{config.annotator}' (label.max_failures allows "
            f"{config.max_failures:.1%}), most often ({times}×): {kind}; raise label.max_failures, or label again"
        )
