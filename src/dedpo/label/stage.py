"""Ask an annotator about every pair, in both orders, and write its synthetic preferences, in one go or in parts."""

from __future__ import annotations

import difflib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dedpo.asking.answers import ANSWERS, adopt, finished_answers, log_folder
from dedpo.contract import records, tables
from dedpo.contract.records.labels import Effort, Labelled, Labels
from dedpo.contract.sections import AnnotatorConfig, LabelConfig
from dedpo.errors import UserError, excerpt
from dedpo.label import endpoint, kinds
from dedpo.label.kinds import Task
from dedpo.label.table import Asked, flat, summary, template_of
from dedpo.outputs.manifest import note_run, output_folder, read_manifest, write_json

LABELS = "labels.parquet"
SUMMARY = "summary.json"


def run(
    config: LabelConfig,
    *,
    pairs: Path,
    out: Path,
    shards: Sequence[str] | None = None,
    log: Path | None = None,
    ratings: Path | None = None,
    only: str | None = None,
) -> Labelled:
    """Write labels.parquet: every annotator's synthetic preference, or why there is none, for every pair.

    It asks only what an annotator has not answered yet, in whichever run (failures are asked again): interrupted and
    started again, with more pairs or at another address, it ends with the labels.parquet of a run in one go.

    Args:
        pairs: shards of the pairs table.
        shards: label only the pairs in these files of `pairs`; None: in all. `merge` puts the parts together.
        log: the folder of all answers, which several runs may share; None: `<out>.answers`.
        ratings: those that came with the pairs, for the kind 'flip'.
        only: the annotator that labels; what others have labelled in `out` stays. Where the settings list none, it is
            what the one that they describe is called.

    Returns:
        the content of summary.json: of each annotator counts, failures by reason, mean preference, position bias.

    Raises:
        UserError: no annotator is called `only`; a file or model is not there; an endpoint is unknown, unreachable or
            refuses key or model; there is no such shard; no line of a log can be read; too many pairs have no answer
            (for a part: more than all pairs together may lack); or others in `out` have labelled other pairs.
    """
    annotators = _chosen(config, only)
    log = log or log_folder(out)
    files = _files(pairs, shards)
    pair_ids = _pair_ids(files)
    part: dict[str, Any] = {} if shards is None else {"shards": sorted(set(shards))}
    settings = config.model_dump() | part | ({} if only is None else {"annotator": only})
    here, on_hub = kinds.sources(annotators, ratings)
    with output_folder(out, stage="label", config=settings, inputs={"pairs": pairs} | here, models=on_hub) as partial:
        adopt(out, log)
        task = Task(pairs, ratings, files, pair_ids, tables.count_rows(pairs), log, partial, on_hub)
        # What costs nothing comes first: what is wrong with it is told before anything is paid for.
        ordered = sorted(annotators, key=lambda one: one.kind == "endpoint")
        found = {one.annotator: kinds.label(one, task) for one in ordered}
        effort = _effort([{"asked": one.asked, "carried_over": one.kept} for one in found.values()])
        if only is not None:
            found |= _others(out, only, pair_ids, partial)
        return _write(found, [one.annotator for one in config.each], effort, partial)


def plan(config: LabelConfig, *, pairs: Path, out: Path, only: str | None = None) -> dict[str, int]:
    """How many questions `run` would ask, and how many have an answer; asks and writes nothing."""
    pair_ids = _pair_ids(_files(pairs, None))
    asked = [endpoint.plan(one, pair_ids, out) for one in _chosen(config, only) if one.kind == "endpoint"]
    names = ("questions", "kept", "to_ask")
    return {"pairs": len(pair_ids)} | {name: sum(one[name] for one in asked) for name in names}


def decisive(config: LabelConfig) -> dict[str, object]:
    """The settings that decide what the labels are: with others the work of another run is not taken over."""
    changeable = dict.fromkeys(endpoint.CHANGEABLE, True)
    return config.model_dump(mode="json", exclude=changeable | {"annotators": {"__all__": changeable}})


def described(found: Mapping[str, Any]) -> dict[str, object]:
    """What `run` and `merge` return, without levels: for a terminal, and for metrics."""
    return flat(found)


def _chosen(config: LabelConfig, only: str | None) -> list[AnnotatorConfig]:
    if only is None:
        return config.each
    if not config.annotators:
        return [config.model_copy(update={"name": only})]
    if found := [one for one in config.annotators if one.annotator == only]:
        return found
    known = ", ".join(one.annotator for one in config.annotators)
    raise UserError(f"--annotator: no annotator '{excerpt(only)}' in label.annotators; there are: {known}")


def _others(out: Path, name: str, pair_ids: list[str], partial: Path) -> dict[str, Asked]:
    """What annotators of other names have labelled in the finished `out`, whose answers are copied to `partial`."""
    if not (out / LABELS).is_file():
        return {}
    remedy = "label all again, without --annotator"
    table = tables.read(out / LABELS, tables.LABELS)
    counts = records.read(out / SUMMARY, Labels, remedy)["annotators"]
    found = {}
    for one in counts:
        if one["annotator"] != name:
            rows = _of(table, one["annotator"])
            if rows.column("pair_id").to_pylist() != pair_ids:
                who = excerpt(one["annotator"], 60)
                raise UserError(f"{out / LABELS}: '{who}' has labelled other pairs than there are now; {remedy}")
            found[one["annotator"]] = Asked(rows, Counter(one["failures"]), 0, 0)
    (partial / ANSWERS).mkdir(exist_ok=True)
    for path in finished_answers(out):
        if not (partial / ANSWERS / path.name).exists():
            shutil.copy(path, partial / ANSWERS)
    return found


def _of(table: pa.Table, annotator: str) -> pa.Table:
    return table.filter(pc.equal(table.column("annotator"), annotator)).combine_chunks().sort_by("pair_id")


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
        UserError: a part is missing or of other annotators or templates, a pair is in none or in two, or too many
            pairs have no answer.
    """
    inputs = {"pairs": pairs} | {f"part {i}": part for i, part in enumerate(parts)}
    with output_folder(out, stage="label", config=config.model_dump(), inputs=inputs) as partial:
        pair_ids = _pair_ids(tables.shard_paths(pairs))
        table = pa.concat_tables([_part(part, config) for part in parts])
        counts = [records.read(part / SUMMARY, Labels, "label that part again") for part in parts]
        found = {}
        for one in config.each:
            rows = _of(table, one.annotator)
            _check_complete(rows.column("pair_id").to_pylist(), pair_ids)
            mine = (a for each in counts for a in each["annotators"] if a["annotator"] == one.annotator)
            failed = sum((Counter(a["failures"]) for a in mine), Counter[str]())
            kinds.check_failures(one, rows, len(pair_ids), failed)
            if one.kind == "endpoint":
                endpoint.join(one, rows, parts, partial)
            found[one.annotator] = Asked(rows, failed, 0, 0)
        effort = _effort([read_manifest(part) for part in parts])
        return _write(found, list(found), effort, partial)


def _effort(each: Sequence[Mapping[str, Any]]) -> Effort:
    asked, kept = (sum(one.get(name, 0) for one in each) for name in ("asked", "carried_over"))
    return {"asked": asked, "carried_over": kept}


def _write(found: Mapping[str, Asked], names: Sequence[str], run: Effort, folder: Path) -> Labelled:
    """In the settings' order, whoever labelled last."""
    ordered = sorted(found, key=lambda name: (name not in names, names.index(name) if name in names else name))
    each = [found[name] for name in ordered]
    facts = summary(each)
    tables.write(pa.concat_tables([one.table for one in each]), tables.LABELS, folder / LABELS)
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
    expected = [(one.annotator, template_of(one)) for one in config.each]
    for i, column in enumerate(("annotator", "template")):
        wanted = list(dict.fromkeys(one[i] for one in expected))
        if others := sorted(set(table.column(column).to_pylist()) - set(wanted)):
            told = "' or '".join(wanted)
            raise UserError(
                f"{part / LABELS}: {column} is '{excerpt(others[0])}' and not '{told}'; label that part again"
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
