"""One real question to the annotator, whose right answer is known, before thousands are put."""

from __future__ import annotations

import asyncio

from dedpo.asking import endpoint_checks, probe
from dedpo.asking.endpoint_checks import Finding
from dedpo.asking.probe import Answered
from dedpo.contract.sections import AnnotatorConfig
from dedpo.label.templates import messages, template
from dedpo.vision.images import data_url


def annotation(config: AnnotatorConfig) -> Finding:
    """What came of `ask`, in a line: its reading, mass, seconds, and what is given up."""
    return endpoint_checks.found("annotator's answer", lambda: ask(config), extra="label")


def ask(config: AnnotatorConfig, seconds: float = probe.SECONDS) -> Answered:
    """Put one question, and pay for at most one answer; a busy server is waited for as long as `seconds`.

    Returns:
        P(the second picture, which shows the prompt), the probability of both letters, the seconds, and what the
        endpoint does not take.

    Raises:
        UserError: a run would end so, too (no key, refused, unreachable, no such model, no pictures).
    """
    return asyncio.run(_ask(config, seconds))


async def _ask(config: AnnotatorConfig, seconds: float) -> Answered:
    from dedpo.label.client import Client

    question = template(config.template)
    shown = messages(question, probe.PROMPT, *(data_url(picture) for picture in probe.pictures()))
    once = {"timeout": max(config.timeout, seconds + 1), "max_retries": 0, "max_wait": seconds}
    client = Client(config.model_copy(update=once), question.choices)
    found = await probe.answer(client, lambda: client.ask(shown, again=False), seconds)
    if found is None:
        return Answered(False, f"no answer to one question within {seconds:g} s; label.timeout is {config.timeout:g}")
    reply, took = found
    late = probe.late(took, config.timeout, "label.timeout")
    left_out = late + "".join(f"; {loss}" for loss in client.given_up)
    if reply.p_second is None:
        return Answered(False, f"{reply.error} ({took:.1f} s){left_out}")
    is_right = reply.p_second > 0.5
    mass = "not told" if reply.on_answer_mass is None else f"{reply.on_answer_mass:.3g}"
    chosen = "second" if is_right else "first"
    return Answered(
        is_right and not late,
        f"prefers the {chosen} picture (P = {reply.p_second:.3g} for the second, {mass} of the probability on the two "
        f"letters, {took:.1f} s){probe.doubt(is_right=is_right)}{left_out}",
    )
