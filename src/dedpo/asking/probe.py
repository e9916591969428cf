"""One comparison whose right answer is known: what doctor and preflight put to annotator and judge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeVar

from dedpo.asking.workers import Client

# The embedded world knows it, too.
PROMPT: Final = "a photo of a red circle on white"
SIDE: Final = 256  # pixels; some models refuse less than 28, and Gemini bills up to 384 alike
# For one real answer; a thinking model needs some tens of them.
SECONDS: Final = 60.0


T = TypeVar("T")


class Answered(NamedTuple):
    """What came of it; `is_right`: it prefers the second picture, which shows the prompt."""

    is_right: bool
    detail: str


async def answer(client: Client, ask: Callable[[], Awaitable[T]], seconds: float) -> tuple[T, float] | None:
    """What came of `ask()`, and in how many seconds; None: nothing within `seconds`. The client is closed.

    Raises:
        UserError: a run would end so, too.
    """
    try:
        await client.check()
        begun = time.monotonic()
        return await asyncio.wait_for(ask(), seconds), time.monotonic() - begun
    except TimeoutError:
        return None
    finally:
        await client.close()


def doubt(*, is_right: bool) -> str:
    """What to say of a wrong answer; '' of a right one."""
    return "" if is_right else "; the second picture shows the prompt, so it may not look at pictures"


def late(took: float, timeout: float, setting: str) -> str:
    """What to say of an answer that a run would not have waited for; '' of others."""
    return f"; a run waits for {timeout:g} s: raise {setting}" if took > timeout else ""


def pictures() -> tuple[bytes, bytes]:
    """PNG: a blue square on black, then the red circle on white. A model that always takes the first is wrong."""
    from PIL import Image, ImageDraw

    from dedpo.vision.images import encode_png

    edge = SIDE // 4
    box = (edge, edge, SIDE - edge, SIDE - edge)
    square, circle = (Image.new("RGB", (SIDE, SIDE), background) for background in ("black", "white"))
    ImageDraw.Draw(square).rectangle(box, fill="blue")
    ImageDraw.Draw(circle).ellipse(box, fill="red")
    return encode_png(square), encode_png(circle)
