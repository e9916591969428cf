"""One real question to the judge, whose right answer is known, before hundreds are paid for."""

from __future__ import annotations

import asyncio

from dedpo.asking import endpoint_checks, probe
from dedpo.asking.endpoint_checks import Finding
from dedpo.asking.probe import Answered
from dedpo.contract.criteria import ALIGNMENT
from dedpo.contract.sections import JudgeConfig
from dedpo.judge.cost import dollars


def judgement(config: JudgeConfig) -> Finding:
    """What came of `ask`, in a line: its reading, seconds, tokens and dollars."""
    return endpoint_checks.found("judge's answer", lambda: ask(config), extra="judge")


def ask(config: JudgeConfig, seconds: float = probe.SECONDS) -> Answered:
    """Put one comparison, and pay for at most one answer; a busy server is waited for as long as `seconds`.

    Returns:
        what it chose for the second picture, which shows the prompt, in how many seconds and for how many tokens.

    Raises:
        UserError: a run would end so, too (no key, refused, unreachable, a setting that the model does not take).
    """
    return asyncio.run(_ask(config, seconds))


async def _ask(config: JudgeConfig, seconds: float) -> Answered:
    from dedpo.judge.client import Client

    told: list[str] = []
    # The whole has one limit, which says less than a run that ends at the question's own.
    once = {"timeout": max(config.timeout, seconds + 1), "max_retries": min(config.max_retries, 2)}
    client = Client(config.model_copy(update=once), told.append)
    found = await probe.answer(client, lambda: client.ask(probe.PROMPT, *probe.pictures(), tries=1), seconds)
    if found is None:
        said = f" ({told[-1]})" if told else f"; judge.timeout is {config.timeout:g}"
        return Answered(False, f"no answer to one question within {seconds:g} s{said}")
    reply, took = found
    late = probe.late(took, config.timeout, "judge.timeout")
    left_out = late + "".join(f"; {line}" for line in told)
    if reply.reading is None:
        return Answered(False, f"{reply.error}{left_out}")
    usage = reply.usage
    chosen = ", ".join(f"{criterion} {choice}" for criterion, choice in reply.reading.choices.items())
    is_right = reply.reading.choices[ALIGNMENT] == "second"
    spent = f"{took:.1f} s, {usage.input_tokens} + {usage.output_tokens} tokens"
    cost = dollars(config, usage.input_tokens, usage.output_tokens)
    doubt = probe.doubt(is_right=is_right)
    return Answered(is_right and not late, f"{chosen}{doubt} ({spent}, ${cost:.4f}){left_out}")
