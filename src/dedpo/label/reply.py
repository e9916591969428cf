"""What a chat completion says about two choices: pure functions of the decoded JSON, which is not to be trusted."""

from __future__ import annotations

import math
from typing import Any

from dedpo.errors import excerpt

Reading = tuple[float, float | None]

# Tokenizers mark a leading space in their own ways.
_SPACES = " \t\r\n▁Ġ"
_PUNCTUATION = ".,:;()[]*\"'`"


def read(body: Any, choices: tuple[str, str]) -> Reading:
    """P(second choice), normalised over the two, and the probability that the two had together (None if not told).

    It comes from the first token's log-probabilities; an endpoint that gives none is taken at its word: 0 or 1.

    Raises:
        ValueError: there is no answer; the message says what there was instead.
    """
    try:
        choice = body["choices"][0]
        text = choice["message"]["content"]
        tokens = (choice.get("logprobs") or {}).get("content") or []
    except (TypeError, KeyError, IndexError, AttributeError):
        raise ValueError(f"not a chat completion: {excerpt(str(body))!r}") from None
    if tokens:
        return _from_logprobs(tokens, choices)
    word = str(text or "").strip(_SPACES + _PUNCTUATION)
    if word not in choices:
        raise ValueError(f"no answer among {', '.join(choices)}: {excerpt(str(text or ''))!r}")
    return float(word == choices[1]), None


def _from_logprobs(tokens: Any, choices: tuple[str, str]) -> Reading:
    mass = dict.fromkeys(choices, 0.0)
    try:
        listed = tokens[0].get("top_logprobs") or [tokens[0]]
        for entry in listed:
            word = entry["token"].strip(_SPACES)
            if word in mass:
                # 'A' and ' A' are two tokens and one answer.
                mass[word] += math.exp(min(float(entry["logprob"]), 0.0))
        seen = [entry["token"] for entry in listed]
    except (TypeError, KeyError, AttributeError, ValueError):
        raise ValueError(f"unreadable logprobs: {excerpt(str(tokens))!r}") from None
    first, second = (mass[c] for c in choices)
    total = first + second
    if not total > 0:
        raise ValueError(f"no answer among {', '.join(choices)}: {excerpt(' '.join(map(repr, seen)))}")
    return second / total, min(total, 1.0)
