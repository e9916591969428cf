"""Have a judge compare models' pictures, and write its verdicts. For evaluation only: nothing is trained on them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from dedpo import tables
from dedpo.errors import UserError
from dedpo.judge import cost
from dedpo.judge.comparisons import Comparison, choose, winner
from dedpo.judge.store import Answer, Store, read_cells, read_pictures, read_prompts
from dedpo.judge.summary import shares
from dedpo.judge.templates import CRITERIA, NAME
from dedpo.manifest import output_folder, write_json, write_text
from dedpo.progress import Advance, progress
from dedpo.sections import JudgeConfig
from dedpo.tally import Tally, reason
from dedpo.workers import run_all

if TYPE_CHECKING:
    from dedpo.judge.client import Client

STORE = ".answers.jsonl"
KEY = [(name, "ascending") for name in tables.VERDICTS.key]
# How the asking is done and what it is charged, not what is asked: an interrupted run may go on with other values.
CHANGEABLE = ("concurrency", "max_retries", "timeout", "max_failures", "price_input", "price_output")


class _Question(NamedTuple):
    """One comparison with what is shown, in the order shown."""

    asked: Comparison
    prompt: str
    first: bytes
    second: bytes


def run(config: JudgeConfig, *, models: list[tuple[str, str]], samples: Path, out: Path) -> dict[str, Any]:
    """Write verdicts.parquet: for every comparison and criterion a winner, or the reason why there is none.

    Interrupted or killed and started again, it asks only what has no answer yet (failures are asked again) and ends
    with the same verdicts.parquet.

    Args:
        models: pairs (model_0, model_1) of names in the samples table; model_1 is the one that shares speak of.
        samples: folder with shards of the samples table.

    Returns:
        the content of summary.json: shares of wins, ties and losses a pair and criterion, requests, tokens, dollars.

    Raises:
        UserError: a model has no samples, there is no key, the endpoint is unreachable or refuses key or model, or too
            many comparisons have no answer. Answers so far are kept, and a rerun goes on from them.
    """
    assert config.model is not None
    comparisons = choose(models, read_cells(samples), config.prompts, config.seed)
    settings = config.model_dump(exclude={"rivals"}) | {"models": [list(m) for m in models], "template": NAME}
    with output_folder(
        out,
        stage="judge",
        config=settings,
        inputs={"samples": samples},
        resumable=True,
        changeable=CHANGEABLE,
    ) as partial:
        with Store(partial / STORE) as store:
            tally = Tally("judge", "comparisons", config.max_failures, len(comparisons))
            asyncio.run(_ask_all(config, comparisons, samples, store, tally))
            if tally.is_exceeded:
                raise UserError(tally.complaint(partial))
            answers = [store.answers[c.key] for c in comparisons]
        verdicts = _verdicts(config.model, comparisons, answers)
        summary = _summary(config, models, verdicts, answers)
        tables.write(verdicts, tables.VERDICTS, partial / "verdicts.parquet")
        write_json(partial / "summary.json", summary)
    return summary


def skip(out: Path) -> None:
    """Note that no judge was named, where the report looks for verdicts."""
    with output_folder(out, stage="judge", config={"model": None}, inputs={}) as partial:
        write_text(partial / "README.md", "No judge was named (judge.model is null).\n")


def plan(config: JudgeConfig, *, models: list[tuple[str, str]], samples: Path) -> dict[str, Any]:
    """What `run` would ask and about what it would cost, without key, connection or output.

    Token counts are rules of thumb (judge/cost.py); every picture is taken to be as large as the first.

    Raises:
        UserError: a model has no samples.
    """
    comparisons = choose(models, read_cells(samples), config.prompts, config.seed)
    prompts = read_prompts(samples)
    size = _size(samples, comparisons[0])
    sent = sum(cost.question_tokens(prompts[c.prompt_id], *size) for c in comparisons)
    answered = len(comparisons) * cost.answer_tokens(config.thinking_budget)
    return {
        "judge": config.model,
        "pairs": ", ".join(f"{m1} against {m0}" for m0, m1 in dict.fromkeys(models)),
        "prompts": len({c.prompt_id for c in comparisons}),
        "requests": len(comparisons),
        "input_tokens": sent,
        "output_tokens": answered,
        "dollars": cost.dollars(config, sent, answered),
    }


def _size(samples: Path, comparison: Comparison) -> tuple[int, int]:
    from dedpo.images import size

    data = read_pictures(samples, [comparison])[comparison.model_0, comparison.prompt_id, comparison.seed]
    try:
        return size(data)
    except ValueError:
        raise UserError(f"{samples}: a picture of '{comparison.model_0}' cannot be read; sample it again") from None


async def _ask_all(
    config: JudgeConfig, comparisons: list[Comparison], samples: Path, store: Store, tally: Tally
) -> None:
    from dedpo.judge.client import Client

    waiting = [c for c in comparisons if not store.is_answered(*c.key)]
    if not waiting:
        return
    client = Client(config)
    try:
        await client.check()
        questions = _questions(waiting, samples)
        tally.has_success = len(waiting) < len(comparisons)
        with progress(f"judging with {config.model}", len(comparisons), len(comparisons) - len(waiting)) as advance:
            # The workers share one iterator, so no more pictures are in memory than two models' at a time.
            await run_all(_work(client, questions, store, tally, advance) for _ in range(config.concurrency))
    finally:
        await client.close()


def _questions(waiting: list[Comparison], samples: Path) -> Iterator[_Question]:
    """Every waiting comparison, pair of models by pair."""
    prompts = read_prompts(samples)
    for pair in dict.fromkeys((c.model_0, c.model_1) for c in waiting):
        asked = [c for c in waiting if (c.model_0, c.model_1) == pair]
        pictures = read_pictures(samples, asked)
        for c in asked:
            first, second = (pictures[model, c.prompt_id, c.seed] for model in c.shown)
            yield _Question(c, prompts[c.prompt_id], first, second)


async def _work(client: Client, questions: Iterator[_Question], store: Store, tally: Tally, advance: Advance) -> None:
    for question in questions:
        answer = await _answer(client, question, store.answers.get(question.asked.key))
        store.add(answer)
        tally.count(str(answer.key), answer.error)
        advance("" if tally.failed == 0 else f"{tally.failed} without a verdict")
        if tally.is_hopeless:
            return


async def _answer(client: Client, question: _Question, failed: Answer | None) -> Answer:
    """Ask once; what an earlier, failed asking took is added."""
    asked = question.asked
    reply = await client.ask(question.prompt, question.first, question.second)
    reading = reply.reading
    return Answer(
        *asked.key,
        winners={c: winner(choice, asked.order) for c, choice in reading.choices.items()} if reading else None,
        rationale=reading.rationale if reading else None,
        attempts=reply.usage.attempts + (failed.attempts if failed else 0),
        input_tokens=reply.usage.input_tokens + (failed.input_tokens if failed else 0),
        output_tokens=reply.usage.output_tokens + (failed.output_tokens if failed else 0),
        error=reply.error,
    )


def _verdicts(judge: str, comparisons: list[Comparison], answers: list[Answer]) -> pa.Table:
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
            "winner": answer.winners[criterion] if answer.winners else None,
            "rationale": answer.rationale,
            "error": answer.error,
        }
        for c, answer in zip(comparisons, answers, strict=True)
        for criterion in CRITERIA
    ]
    return pa.Table.from_pylist(rows, schema=tables.VERDICTS.schema).sort_by(KEY)


def _summary(
    config: JudgeConfig, models: list[tuple[str, str]], verdicts: pa.Table, answers: list[Answer]
) -> dict[str, Any]:
    input_tokens, output_tokens = sum(a.input_tokens for a in answers), sum(a.output_tokens for a in answers)
    failures = Counter(reason(a.error) for a in answers if a.error is not None)
    return {
        "judge": config.model,
        "comparisons": len(answers),
        "answered": sum(a.error is None for a in answers),
        "prompts": len({a.prompt_id for a in answers}),
        "pairs": shares(verdicts.to_pylist(), models),
        "failures": dict(sorted(failures.items())),
        "requests": sum(a.attempts for a in answers),
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "dollars": cost.dollars(config, input_tokens, output_tokens),
    }
