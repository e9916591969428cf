"""One real question to the judge, whose right answer is known, before hundreds are paid for."""

from __future__ import annotations

import asyncio
import time

from dedpo.asking import probe
from dedpo.asking.probe import Answered
from dedpo.contract.sections import JudgeConfig
from dedpo.judge.client import Client
from dedpo.judge.cost import dollars


def ask(config: JudgeConfig, seconds: float = probe.SECONDS) -> Answered:
    """Put one comparison, and pay for at most one answer; a busy server is waited for as long as `seconds`.

    Returns:
        what it chose for the second picture, which shows the prompt, in how many seconds and for how many tokens.

    Raises:
        UserError: a run would end so, too (no key, refused, unreachable, a setting that the model does not take).
    """
    return asyncio.run(_ask(config, seconds))


async def _ask(config: JudgeConfig, seconds: float) -> Answered:
    told: list[str] = []
    # The whole has one limit, which says less than a run that ends at the question's own.
    once = {"timeout": max(config.timeout, seconds + 1), "max_retries": min(config.max_retries, 2)}
    client = Client(config.model_copy(update=once), told.append)
    begun = time.monotonic()
    try:
        await client.check()
        reply = await asyncio.wait_for(client.ask(probe.PROMPT, *probe.pictures(), tries=1), seconds)
    except TimeoutError:
        said = f" ({told[-1]})" if told else f"; judge.timeout is {config.timeout:g}"
        return Answered(False, f"no answer to one question within {seconds:g} s{said}")
    finally:
        await client.close()
    seconds = time.monotonic() - begun
    late = probe.late(seconds, config.timeout, "judge.timeout")
    left_out = late + "".join(f"; {line}" for line in told)
    if reply.reading is None:
        return Answered(False, f"{reply.error}{left_out}")
    usage = reply.usage
    chosen = ", ".join(f"{criterion} {choice}" for criterion, choice in reply.reading.choices.items())
    is_right = reply.reading.choices["prompt_alignment"] == "second"
    should = "" if is_right else "; the second picture shows the prompt, so it may not look at pictures"
    took = f"{seconds:.1f} s, {usage.input_tokens} + {usage.output_tokens} tokens"
    cost = dollars(config, usage.input_tokens, usage.output_tokens)
    return Answered(is_right and not late, f"{chosen}{should} ({took}, ${cost:.4f}){left_out}")
