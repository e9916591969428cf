"""Have a judge compare models' pictures, and write its verdicts. For evaluation only: nothing is trained on them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dedpo.asking.answers import Log, Store, adopt, finished_answers, log_folder, log_name
from dedpo.asking.failures import Tally
from dedpo.asking.workers import ask_all
from dedpo.contract import tables
from dedpo.contract.records.evaluation import Judged, Verdicts
from dedpo.contract.records.labels import Effort
from dedpo.contract.sections import JudgeConfig
from dedpo.errors import UserError
from dedpo.judge import cost, reading, table
from dedpo.judge.answers import Answer
from dedpo.judge.comparisons import Comparison, choose
from dedpo.judge.reading import read_cells, read_pictures, read_prompts
from dedpo.judge.templates import NAME, SCHEMA, SYSTEM, Question, parts
from dedpo.outputs import freshness
from dedpo.outputs.manifest import note_run, output_folder, write_json, write_text
from dedpo.terminal import note_kept, progress

if TYPE_CHECKING:
    from dedpo.judge.client import Client

# How the asking is done and what it is charged, not what is asked: an answer stays an answer whatever these are. Every
# other setting, also one that is yet to come, belongs to the question, but for `_WHICH`, which decide what is compared.
CHANGEABLE = (
    "base_url", "concurrency", "max_wait", "max_retries", "timeout", "max_failures", "price_input", "price_output",
)  # fmt: skip
_WHICH = ("rivals", "prompts", "seed")


def run(
    config: JudgeConfig, *, models: list[tuple[str, str]], samples: Path, out: Path, log: Path | None = None
) -> Judged:
    """Write verdicts.parquet: for every comparison and criterion a winner, or the reason why there is none.

    It asks only what this judge has not answered yet, in whichever run (failures are asked again): a question is the
    prompt and the two pictures in the order shown. Interrupted and started again, with more prompts or a policy that
    was trained anew, it ends with the verdicts.parquet of a run in one go.

    Args:
        models: pairs (model_0, model_1) of names in the samples table; model_1 is the one that shares speak of.
        samples: folder with shards of the samples table.
        log: the folder of all answers, which several runs may share; None: `<out>.answers`.

    Returns:
        the content of summary.json: shares of wins, ties and losses a pair and criterion, requests, tokens, dollars.

    Raises:
        UserError: a model has no samples, there is no key, the endpoint is unreachable or refuses key or model, no line
            of a log can be read, or too many comparisons have no answer.
    """
    assert config.model is not None
    freshness.require(samples, "run 'dedpo sample' again")
    log = log or log_folder(out)
    comparisons = choose(models, read_cells(samples), config.prompts, config.seed)
    settings = config.model_dump(exclude={"rivals"}) | {"models": [list(m) for m in models], "template": NAME}
    with output_folder(out, stage="judge", config=settings, inputs={"samples": samples}) as partial:
        adopt(out, log)
        questions = reading.questions(samples, comparisons, read_prompts(samples))
        with Store(Log(log, _log_name(config)), Answer, questions) as store:
            before = table.usage(store.answers.values())
            kept = _kept(store, questions)
            note_kept("judge", "verdicts", kept, len(comparisons), f"to ask ({log})")
            tally = Tally("judge", "comparisons", config.max_failures, len(comparisons))
            asyncio.run(_ask_all(config, comparisons, questions, samples, store, tally))
            tally.check(log)
            store.write(partial, sorted(store.answers))
        answers = [store.answers[question,] for question in questions]
        verdicts = table.verdicts(config.model, comparisons, answers)
        after = table.usage(store.answers.values())
        counts = table.summary(config.model, models, verdicts, answers)
        summary: Verdicts = {**counts, **table.spent(config, after)}
        dollars = table.added(config, before, after)
        run: Effort = {"asked": store.asked, "carried_over": kept}
        tables.write(verdicts, tables.VERDICTS, partial / "verdicts.parquet")
        write_json(partial / "summary.json", summary)
        note_run(partial, {**run, "dollars_this_run": dollars})
    return {**summary, **run, "dollars_this_run": dollars}


def _log_name(config: JudgeConfig) -> str:
    """Of the log of this judge's answers to this question.

    Settings at their defaults are left out, so that a new one in a later version of dedpo loses no answer.
    """
    rest = config.model_dump(mode="json", exclude_defaults=True, exclude={*CHANGEABLE, *_WHICH, "model"})
    rest["thinking_budget"] = config.thinking_budget
    asked = [config.model, SYSTEM, SCHEMA, [str(part) for part in parts("", b"1", b"2")], rest]
    return log_name(f"{config.model}-{NAME}", asked)


def _kept(store: Store[Answer], questions: list[str]) -> int:
    return sum(store.is_answered(question) for question in questions)


def skip(out: Path) -> None:
    """Note that no judge was named, where the report looks for verdicts."""
    with output_folder(out, stage="judge", config={"model": None}, inputs={}) as partial:
        write_text(partial / "README.md", "No judge was named (judge.model is null).\n")


def plan(config: JudgeConfig, *, models: list[tuple[str, str]], samples: Path, out: Path) -> dict[str, object]:
    """What `run` would ask and about what it would cost, without key, connection or output; what is kept costs nothing.

    Token counts are rules of thumb (judge/cost.py); every picture is taken to be as large as the first.

    Raises:
        UserError: a model has no samples.
    """
    comparisons = choose(models, read_cells(samples), config.prompts, config.seed)
    prompts = read_prompts(samples)
    size = _size(samples, comparisons[0])
    questions = reading.questions(samples, comparisons, prompts)
    name = _log_name(config)
    with Store(Log(log_folder(out), name), Answer, questions, finished_answers(out, name)) as store:
        waiting = _waiting(comparisons, questions, store)
        kept = _kept(store, questions)
    sent = sum(cost.question_tokens(prompts[c.prompt_id], *size) for c in waiting.values())
    answered = len(waiting) * cost.answer_tokens(config.thinking_budget)
    return {
        "judge": config.model,
        "pairs": ", ".join(f"{m1} against {m0}" for m0, m1 in dict.fromkeys(models)),
        "prompts": len({c.prompt_id for c in comparisons}),
        "kept": kept,
        "requests": len(waiting),
        "input_tokens": sent,
        "output_tokens": answered,
        "dollars": cost.dollars(config, sent, answered),
    }


def _size(samples: Path, comparison: Comparison) -> tuple[int, int]:
    from dedpo.vision.images import size

    data = read_pictures(samples, [comparison])[comparison.model_0, comparison.prompt_id, comparison.seed]
    try:
        return size(data)
    except ValueError:
        raise UserError(f"{samples}: a picture of '{comparison.model_0}' cannot be read; sample it again") from None


async def _ask_all(
    config: JudgeConfig,
    comparisons: list[Comparison],
    questions: list[str],
    samples: Path,
    store: Store[Answer],
    tally: Tally,
) -> None:
    from dedpo.judge.client import Client

    waiting = _waiting(comparisons, questions, store)
    if not waiting:
        return
    client, total = Client(config), len(set(questions))
    done = total - len(waiting)
    tally.has_success = done > 0
    await ask_all(
        client,
        _questions(waiting, samples),
        lambda asked: _answer(client, *asked, store.answers.get((asked[0],))),
        store,
        tally,
        display=progress(f"judging with {config.model}", total, done),
        workers=config.concurrency,
        lacking="without a verdict",
        is_enough=lambda _: client.has_answered,
    )


def _waiting(comparisons: list[Comparison], questions: list[str], store: Store[Answer]) -> dict[str, Comparison]:
    """Each question without an answer, with a comparison that asks it: models with the same pictures share one."""
    found: dict[str, Comparison] = {}
    for question, comparison in zip(questions, comparisons, strict=True):
        if not store.is_answered(question):
            found.setdefault(question, comparison)
    return found


def _questions(waiting: dict[str, Comparison], samples: Path) -> Iterator[tuple[str, Question]]:
    """Every waiting question, by what it shows."""
    prompts, asked = read_prompts(samples), {comparison: question for question, comparison in waiting.items()}
    for c, (first, second) in reading.shown_pictures(samples, asked):
        yield asked[c], Question(prompts[c.prompt_id], first, second)


async def _answer(client: Client, shown: str, question: Question, failed: Answer | None) -> tuple[Answer, str]:
    """Ask once; what an earlier, failed asking took is added."""
    reply = await client.ask(*question)
    read = reply.reading
    answer = Answer(
        shown,
        choices=dict(read.choices) if read else None,
        rationale=read.rationale if read else None,
        attempts=reply.usage.attempts + (failed.attempts if failed else 0),
        input_tokens=reply.usage.input_tokens + (failed.input_tokens if failed else 0),
        output_tokens=reply.usage.output_tokens + (failed.output_tokens if failed else 0),
        error=reply.error,
    )
    return answer, ""
