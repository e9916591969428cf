"""What judging costs: tokens by rule of thumb before, as billed afterwards."""

from __future__ import annotations

import math
from typing import Final

from dedpo.contract.sections import JudgeConfig
from dedpo.judge import templates

# ai.google.dev/gemini-api/docs/tokens: a token is about four characters; a picture of at most 384 × 384 pixels is 258
# tokens, a larger one 258 for every tile of 768 × 768.
CHARACTERS: Final = 4
TILE_TOKENS: Final = 258
SMALL: Final = 384  # pixels
TILE: Final = 768  # pixels
# Two short sentences and three choices as JSON.
ANSWER_TOKENS: Final = 100


def image_tokens(width: int, height: int) -> int:
    """Tokens of one picture; its sides in pixels."""
    if max(width, height) <= SMALL:
        return TILE_TOKENS
    return TILE_TOKENS * math.ceil(width / TILE) * math.ceil(height / TILE)


def question_tokens(prompt: str, width: int, height: int) -> int:
    """Tokens sent for one comparison of two pictures of one size."""
    texts = [p for p in templates.parts(prompt, b"", b"") if isinstance(p, str)]
    characters = len(templates.SYSTEM) + sum(map(len, texts))
    return math.ceil(characters / CHARACTERS) + 2 * image_tokens(width, height)


def answer_tokens(thinking_budget: int | None) -> int:
    """Tokens of one answer; an unlimited thought counts as none, for want of a bound."""
    return ANSWER_TOKENS + max(thinking_budget or 0, 0)


def dollars(config: JudgeConfig, input_tokens: int, output_tokens: int) -> float:
    """US dollars at the prices of the settings."""
    return (input_tokens * config.price_input + output_tokens * config.price_output) / 1e6
