"""Ask an annotator about every pair, in both orders, and write its synthetic preferences, in one go or in parts."""

from __future__ import annotations

import asyncio
import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dedpo.asking.answers import Log, adopt, finished_answers, log_folder, log_name
from dedpo.asking.failures import Tally
from dedpo.asking.workers import ask_all
from dedpo.contract import records, tables
from dedpo.contract.records.labels import Labelled, Labels
from dedpo.contract.sections import LabelConfig
from dedpo.errors import UserError, excerpt
from dedpo.label.answers import WITHDRAWN, Answer, Store
from dedpo.label.dialect import HOW
from dedpo.label.looking import blindness
from dedpo.label.table import ORDERS, effort, failures, labels, summary
from dedpo.label.templates import Message, Template, messages, template
from dedpo.outputs.manifest import note_run, output_folder, read_manifest, write_json
from dedpo.terminal import note, note_kept, progress
from dedpo.vision.images import data_url

if TYPE_CHECKING:
    from dedpo.label.client import Client

LABELS = "labels.parquet"
SUMMARY = "summary.json"
# Images of this many pairs are held as Python bytes at a time.
CHUNK_ROWS = 16
# How long an annotator is watched for whether it looks.
FIRST_PAIRS = 60
_BLIND = (
    "label: the annotator does not look at the pictures: {}; such labels are worth nothing{}. Set label.model to a "
    "model that sees, or mend the gateway that drops its pictures, and {} again"
)
# How the asking is done, not what is asked: an answer stays an answer whatever these are. Every other setting, also one
# that is yet to come, belongs to the question, and another value of it asks anew.
CHANGEABLE = ("base_url", "concurrency", "max_retries", "max_wait", "timeout", "max_failures")


@dataclass(frozen=True)
class _Question:
    """One pair in one order; `unaskable` says why it cannot be put."""

    pair_id: str
    order: str
    messages: list[Message]
    unaskable: str | None = None


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
    question = template(config.template)
    log = log or log_folder(out)
    files = _files(pairs, shards)
    pair_ids = _pair_ids(files)
    part = {} if shards is None else {"shards": sorted(set(shards))}
    with output_folder(out, stage="label", config=config.model_dump() | part, inputs={"pairs": pairs}) as partial:
        adopt(out, log)
        with Store(Log(log, _log_name(config)), pair_ids) as store:
            total = len(ORDERS) * len(pair_ids)
            note_kept("label", "answers", store.good, total, f"to ask ({log})")
            tally = Tally("label", "pairs", config.max_failures, tables.count_rows(pairs))
            asyncio.run(_ask_all(config, files, question, store, tally, total))
            tally.check(log)
            good = {key: answer for key, answer in store.answers.items() if answer.error is None}
            _check_looking(store, good, at_end=True)
            store.write(partial, [(pair_id, order) for pair_id in pair_ids for order in ORDERS])
            table = labels(store.answers, pair_ids, config)
            failed = failures(store.answers)
        return _write(table, failed, store.asked, partial)


def plan(config: LabelConfig, *, pairs: Path, out: Path) -> dict[str, int]:
    """How many questions `run` would ask, and how many have an answer; asks and writes nothing."""
    pair_ids, name = _pair_ids(_files(pairs, None)), _log_name(config)
    with Store(Log(log_folder(out), name), pair_ids, finished_answers(out, name)) as store:
        questions = len(ORDERS) * len(pair_ids)
        return {"pairs": len(pair_ids), "questions": questions, "kept": store.good, "to_ask": questions - store.good}


def _log_name(config: LabelConfig) -> str:
    """Of the log of this annotator's answers to this question: of one text, and with one set of what changes answers.

    Settings at their defaults are left out, so that a new one in a later version of dedpo loses no answer.
    """
    question = template(config.template)
    shown = messages(question, "{prompt}", "{first}", "{second}")
    rest = config.model_dump(mode="json", exclude_defaults=True, exclude={*CHANGEABLE, "model", "template", "request"})
    if changing := {name: value for name, value in config.request.items() if name not in HOW}:
        rest["request"] = changing
    return log_name(f"{config.model}-{question.name}", [config.model, shown, question.choices, rest])


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
        orders = zip(*(table.column(f"p_order_{order}").to_pylist() for order in ORDERS), strict=True)
        if found := blindness([(a, 1 - b) for a, b in orders if a is not None and b is not None], at_end=True):
            raise UserError(_BLIND.format(found, "", "label the parts, with another folder for their answers,"))
        name = _log_name(config)
        left = [path for part in parts for path in finished_answers(part, name)]
        with Store(Log(partial, name), also=left) as store:
            store.write(partial, sorted(store.answers))
        return _write(table, failed, sum(read_manifest(part).get("asked", 0) for part in parts), partial)


def _write(table: pa.Table, failed: Counter[str], asked: int, folder: Path) -> Labelled:
    facts, run = summary(table, failed), effort(table, asked)
    tables.write(table, tables.LABELS, folder / LABELS)
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


async def _ask_all(
    config: LabelConfig, files: Sequence[Path], question: Template, store: Store, tally: Tally, total: int
) -> None:
    from dedpo.label.client import Client

    if store.good == total:
        return
    tally.has_success = store.good > 0
    client = Client(config, question.choices)
    answered: dict[tuple[str, str], Answer] = {}

    def noted(answer: Answer) -> None:
        if line := client.losses():
            note(line)
        if answer.error is None:
            answered[answer.key] = answer
            if len(answered) <= len(ORDERS) * FIRST_PAIRS:
                _check_looking(store, answered, at_end=False)

    await ask_all(
        client,
        _questions(files, question, store),
        lambda asked: _answer(client, asked, store.round(asked.pair_id, asked.order)),
        store,
        tally,
        display=progress(f"asking {config.model}", total, store.good),
        workers=config.concurrency,
        lacking="pairs without an answer",
        is_enough=lambda answer: answer.attempts > 0,
        noted=noted,
    )


async def _answer(client: Client, asked: _Question, turn: int) -> tuple[Answer, str]:
    """The answer, and what to do if many of its kind fail."""
    if asked.unaskable is not None:
        return Answer(asked.pair_id, asked.order, None, None, 0, asked.unaskable, turn), ""
    reply = await client.ask(asked.messages)
    p = reply.p_second
    if p is not None and asked.order == "10":
        p = 1 - p
    answer = Answer(asked.pair_id, asked.order, p, reply.on_answer_mass, reply.attempts, reply.error, turn)
    return answer, reply.advice


def _check_looking(store: Store, answers: Mapping[tuple[str, str], Answer], *, at_end: bool) -> None:
    """Refuse answers that were given without looking, and forget them: a run with another server asks again.

    Raises:
        UserError: they were.
    """
    # Nothing that an earlier run kept counts against this one; but if this one is blind, it may have been so before.
    if found := blindness(_both(answers), at_end=at_end):
        kept = {key: one for key, one in store.answers.items() if one.error is None and key not in answers}
        doubted = kept if blindness(_both(kept), is_known=True) else {}
        for answer in [*answers.values(), *doubted.values()]:
            store.add(replace(answer, p=None, on_answer_mass=None, error=f"{WITHDRAWN}: {found}"))
        raise UserError(_BLIND.format(found, " and are not kept", "run"))


def _both(answers: Mapping[tuple[str, str], Answer]) -> list[tuple[float, float]]:
    """P(the second shown is better) in both orders, of the pairs that have both."""
    whole = ((one, answers.get((pair, "10"))) for (pair, order), one in answers.items() if order == "01")
    return [(one.p, 1 - other.p) for one, other in whole if other and one.p is not None and other.p is not None]


def _questions(files: Sequence[Path], question: Template, store: Store) -> Iterator[_Question]:
    """Every question without an answer, shard by shard; a pair's two orders share the encoded pictures."""
    for shard in (table for file in files for table in tables.iterate(file, tables.PAIRS)):
        for chunk in shard.to_batches(max_chunksize=CHUNK_ROWS):
            ids = chunk.column("pair_id").to_pylist()
            rows = [i for i, p in enumerate(ids) if not all(store.is_answered(p, order) for order in ORDERS)]
            for row in chunk.take(pa.array(rows, pa.int64())).to_pylist():
                yield from (q for q in _both_orders(row, question) if not store.is_answered(q.pair_id, q.order))


def _both_orders(row: dict[str, Any], question: Template) -> list[_Question]:
    urls = []
    for name in ("image_0", "image_1"):
        try:
            urls.append(data_url(row[name]["bytes"] or b""))
        except ValueError as error:
            unaskable = f"{name} is {error}: nothing was asked"
            return [_Question(row["pair_id"], order, [], unaskable) for order in ORDERS]
    shown = {"01": urls, "10": urls[::-1]}
    return [_Question(row["pair_id"], o, messages(question, row["prompt"], *shown[o])) for o in ORDERS]
