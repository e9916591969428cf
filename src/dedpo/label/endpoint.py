"""Ask one annotator at its endpoint about the pairs of some shards, in both orders, and keep what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dedpo.asking.answers import Log, finished_answers, log_folder, log_name
from dedpo.asking.failures import Tally
from dedpo.asking.workers import ask_all
from dedpo.contract import tables
from dedpo.contract.sections import AnnotatorConfig
from dedpo.errors import UserError
from dedpo.label.answers import WITHDRAWN, Answer, Store
from dedpo.label.dialect import HOW
from dedpo.label.looking import blindness
from dedpo.label.table import ORDERS, Asked, failures, labels
from dedpo.label.templates import Message, Template, messages, template
from dedpo.terminal import note, note_kept, progress
from dedpo.vision.images import data_url

if TYPE_CHECKING:
    from dedpo.label.client import Client

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


def ask(
    config: AnnotatorConfig, files: Sequence[Path], pair_ids: list[str], *, total: int, log: Path, out: Path
) -> Asked:
    """Ask what is not answered yet about the pairs in `files`, keep it in `log`, and copy what is there to `out`.

    Args:
        pair_ids: those in `files`, sorted.
        total: pairs of which a share of `label.max_failures` may lack an answer.

    Raises:
        UserError: the endpoint is unknown, unreachable, refuses key or model or does not look; or too many pairs have
            no answer.
    """
    with Store(Log(log, _log_name(config)), pair_ids) as store:
        questions = len(ORDERS) * len(pair_ids)
        note_kept("label", "answers", store.good, questions, f"to ask ({log})")
        tally = Tally("label", "pairs", config.max_failures, total)
        asyncio.run(_ask_all(config, files, template(config.template), store, tally, questions))
        tally.check(log)
        good = {key: answer for key, answer in store.answers.items() if answer.error is None}
        _check_looking(store, good, at_end=True)
        store.write(out, [(pair_id, order) for pair_id in pair_ids for order in ORDERS])
        asked = store.asked
        return Asked(labels(store.answers, pair_ids, config), failures(store.answers), asked, questions - asked)


def plan(config: AnnotatorConfig, pair_ids: list[str], out: Path) -> dict[str, int]:
    """How many questions `ask` would put for `out`, and how many have an answer; asks and writes nothing."""
    name = _log_name(config)
    with Store(Log(log_folder(out), name), pair_ids, finished_answers(out, name)) as store:
        questions = len(ORDERS) * len(pair_ids)
        return {"pairs": len(pair_ids), "questions": questions, "kept": store.good, "to_ask": questions - store.good}


def join(config: AnnotatorConfig, table: pa.Table, parts: Sequence[Path], out: Path) -> None:
    """Copy the answers of the parts that `table` was put together from to `out`.

    Raises:
        UserError: together they show that the annotator did not look.
    """
    orders = zip(*(table.column(f"p_order_{order}").to_pylist() for order in ORDERS), strict=True)
    if found := blindness([(a, 1 - b) for a, b in orders if a is not None and b is not None], at_end=True):
        raise UserError(_BLIND.format(found, "", "label the parts, with another folder for their answers,"))
    name = _log_name(config)
    left = [path for part in parts for path in finished_answers(part, name)]
    with Store(Log(out, name), also=left) as store:
        store.write(out, sorted(store.answers))


def _log_name(config: AnnotatorConfig) -> str:
    """Of the log of this annotator's answers to this question: of one text, and with one set of what changes answers.

    Settings at their defaults are left out, so that a new one in a later version of dedpo loses no answer.
    """
    question = template(config.template)
    shown = messages(question, "{prompt}", "{first}", "{second}")
    rest = config.model_dump(
        mode="json", exclude_defaults=True, exclude={*CHANGEABLE, "model", "name", "template", "request"}
    )
    if changing := {name: value for name, value in config.request.items() if name not in HOW}:
        rest["request"] = changing
    return log_name(f"{config.model}-{question.name}", [config.model, shown, question.choices, rest])


async def _ask_all(
    config: AnnotatorConfig, files: Sequence[Path], question: Template, store: Store, tally: Tally, total: int
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
