"""Ask an annotator about every pair, in both orders, and write its synthetic preferences, in one go or in parts."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from dedpo.asking.answers import adopt, log_folder
from dedpo.contract import records, tables
from dedpo.contract.records.labels import Labelled, Labels
from dedpo.contract.sections import LabelConfig
from dedpo.errors import UserError, excerpt
from dedpo.label import endpoint
from dedpo.label.endpoint import Asked
from dedpo.label.table import effort, summary
from dedpo.label.templates import template
from dedpo.outputs.manifest import note_run, output_folder, read_manifest, write_json

LABELS = "labels.parquet"
SUMMARY = "summary.json"


def run(
    config: LabelConfig, *, pairs: Path, out: Path, shards: Sequence[str] | None = None, log: Path | None = None
) -> Labelled:
    """Write labels.parquet: a synthetic preference, or the reason why there is none, for every pair.

    It asks only what this annotator has not answered yet, in whichever run (failures are asked again): interrupted and
    started again, with more pairs or at another address, it ends with the labels.parquet of a run in one go.

    Args:
        pairs: shards of the pairs table.
        shards: label only the pairs in these files of `pairs`; None: in all. `merge` puts the parts together.
        log: the folder of all answers, which several runs may share; None: `<out>.answers`.

    Returns:
        the content of summary.json: counts, failures by reason, mean preference and position bias.

    Raises:
        UserError: the endpoint is unknown, unreachable or refuses key or model; there is no such shard; no line of a
            log can be read; or too many pairs have no answer (for a part: more than all pairs together may lack).
    """
    template(config.template)
    log = log or log_folder(out)
    files = _files(pairs, shards)
    pair_ids = _pair_ids(files)
    part = {} if shards is None else {"shards": sorted(set(shards))}
    with output_folder(out, stage="label", config=config.model_dump() | part, inputs={"pairs": pairs}) as partial:
        adopt(out, log)
        total = tables.count_rows(pairs)
        return _write(endpoint.ask(config, files, pair_ids, total=total, log=log, out=partial), partial)


def plan(config: LabelConfig, *, pairs: Path, out: Path) -> dict[str, int]:
    """How many questions `run` would ask, and how many have an answer; asks and writes nothing."""
    return endpoint.plan(config, _pair_ids(_files(pairs, None)), out)


def shards(pairs: Path, most: int) -> list[list[str]]:
    """The files of `pairs` in at most `most` lists of about equal size in bytes: what parallel workers are given.

    Raises:
        UserError: there is no file, or `most` is less than 1.
    """
    if most < 1:
        raise UserError(f"label shards: {most} lists cannot be made; name 1 or more")
    files = sorted(tables.shard_paths(pairs), key=lambda p: (-p.stat().st_size, p.name))
    lists: list[list[str]] = [[] for _ in range(min(most, len(files)))]
    loads = [0] * len(lists)
    for file in files:  # the largest first, each to the least loaded list
        least = loads.index(min(loads))
        lists[least].append(file.name)
        loads[least] += file.stat().st_size
    return [sorted(names) for names in lists]


def merge(config: LabelConfig, *, parts: Sequence[Path], pairs: Path, out: Path) -> Labelled:
    """Put the parts that `run` has labelled together: the same labels.parquet, to the byte, as if in one go.

    Args:
        parts: finished outputs of `run`, whose shards together are all of `pairs`.

    Returns:
        the content of summary.json.

    Raises:
        UserError: a part is missing or of another annotator or template, a pair is in none or in two, or too many
            pairs have no answer.
    """
    inputs = {"pairs": pairs} | {f"part {i}": part for i, part in enumerate(parts)}
    with output_folder(out, stage="label", config=config.model_dump(), inputs=inputs) as partial:
        pair_ids = _pair_ids(tables.shard_paths(pairs))
        table = pa.concat_tables([_part(part, config) for part in parts]).combine_chunks()
        table = table.sort_by("pair_id")
        _check_complete(table.column("pair_id").to_pylist(), pair_ids)
        counts = [records.read(part / SUMMARY, Labels, "label that part again") for part in parts]
        failed = sum((Counter(found["failures"]) for found in counts), Counter[str]())
        _check_failures(config, table.column("error").null_count, len(pair_ids), failed)
        endpoint.join(config, table, parts, partial)
        asked = sum(read_manifest(part).get("asked", 0) for part in parts)
        return _write(Asked(table, failed, asked), partial)


def _write(found: Asked, folder: Path) -> Labelled:
    facts, run = summary(found.table, found.failed), effort(found.table, found.asked)
    tables.write(found.table, tables.LABELS, folder / LABELS)
    write_json(folder / SUMMARY, facts)
    note_run(folder, run)
    return {**facts, **run}


def _files(pairs: Path, names: Sequence[str] | None) -> list[Path]:
    known = {path.name: path for path in tables.shard_paths(pairs)}
    if names is None:
        return list(known.values())
    if not names:
        raise UserError(f"label shards: none is named; {pairs} has {len(known)}, such as {next(iter(known))}")
    if unknown := sorted(set(names) - known.keys()):
        close = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0) or list(known)[:1]
        raise UserError(f"label shards: {pairs} has no '{excerpt(unknown[0])}'; the nearest name is {close[0]}")
    return [known[name] for name in sorted(set(names))]


def _pair_ids(files: Sequence[Path]) -> list[str]:
    columns = [tables.read(file, tables.PAIRS, ["pair_id"]).column("pair_id") for file in files]
    found = sorted(pair_id for column in columns for pair_id in column.to_pylist())
    if twice := next((a for a, b in pairwise(found) if a == b), None):
        raise UserError(f"{files[0].parent}: pair {twice} is there twice; import the pairs again")
    return found


def _part(part: Path, config: LabelConfig) -> pa.Table:
    table = tables.read(part / LABELS, tables.LABELS)
    for column, expected in (("annotator", config.model), ("template", config.template)):
        if others := sorted(set(table.column(column).to_pylist()) - {expected}):
            raise UserError(
                f"{part / LABELS}: {column} is '{excerpt(others[0])}' and not '{expected}'; label that part again"
            )
    return table


def _check_complete(found: list[str], expected: list[str]) -> None:
    """Both sorted."""
    if found == expected:
        return
    counts, known = Counter(found), set(expected)
    if twice := next((p for p in found if counts[p] > 1), None):
        raise UserError(f"labels: pair {twice} is in two parts; give each shard to one of them")
    if strange := next((p for p in found if p not in known), None):
        raise UserError(f"labels: pair {strange} is not among the pairs; the parts were made from other ones")
    missing = [p for p in expected if p not in counts]
    raise UserError(f"labels: {len(missing)} of {len(expected)} pairs are in no part, such as {missing[0]}; label them")


def _check_failures(config: LabelConfig, answered: int, total: int, failed: Counter[str]) -> None:
    # `answered` counts the rows without an error.
    if total - answered > config.max_failures * total:
        kind, times = failed.most_common(1)[0]
        raise UserError(
            f"label: {total - answered} of {total} pairs got no answer (label.max_failures allows "
            f"{config.max_failures:.1%}), most often ({times}×): {kind}; the parts' tables name each; raise "
            "label.max_failures, or label again"
        )
