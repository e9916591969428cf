"""What a chat completion says about two choices: pure functions of the decoded JSON, which is not to be trusted."""

from __future__ import annotations

import math
from typing import Any, Final, Literal, NamedTuple

from dedpo.errors import excerpt
from dedpo.label.letter import NoLetter, answer_part, find, is_bare

# With less on the two letters together the model would rather have said something else.
LEAST_MASS: Final = 0.5
# From here on a letter is the answer even if it was cut after it.
SURE_MASS: Final = 0.9
# A letter that no log-probability was given for is unlikely, but not impossible.
LEAST_PROBABILITY: Final = 1e-6
MOST_LOGPROB: Final = 0.01
# Finish reasons of an answer that was cut at the limit of tokens.
_CUT: Final = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_BLOCKED: Final = frozenset({"content_filter", "safety", "recitation", "prohibited_content", "blocklist"})
_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking", "thought")
# Tokenizers mark a leading space and a newline in their own ways.
_MARKS: Final = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})

Why = Literal["malformed", "blocked", "cut", "thought", "no letter"]


class Reading(NamedTuple):
    """P(second choice), normalised over the two, and the probability that the two had together (None: not told)."""

    p_second: float
    mass: float | None


class Unread(ValueError):  # noqa: N818
    """There is no answer; the message says what there was instead, `why` its kind.

    'thought': it thinks, and had no room to come to an answer; 'cut': it was still speaking at the limit of tokens.
    """

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why


def read(body: Any, choices: tuple[str, str]) -> Reading:
    """The answer of a completion: the letter that its text names, and how likely both were in that letter's place.

    Only what was said counts: a letter that was merely possible, or stands in a thought, is no answer. Without
    log-probabilities, or where the letter's token cannot be told, the word counts: 0 or 1.

    Raises:
        Unread: there is no answer.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text, thought = _text(message)
        finish = str(choice.get("finish_reason") or "").lower()
        pieces = _tokens(choice.get("logprobs"))
    except (TypeError, KeyError, IndexError, AttributeError):
        raise Unread("malformed", f"not a chat completion: {excerpt(str(body))!r}") from None
    if finish in _BLOCKED or (not text.strip() and message.get("refusal")):
        raise Unread("blocked", f"blocked: {excerpt(str(message.get('refusal') or finish))}")
    answer, is_inside = answer_part(text)
    if not answer.strip() and (is_inside or thought or finish in _CUT):
        raise Unread("thought", f"no room for an answer: {_said(text or thought)}")
    try:
        letter, at = find(answer, choices)
        reading = _weighed(pieces, answer, at, letter, choices)
        # What is cut may go on: 'A' to 'A nice picture', 'Image A' to 'Image A is the worse one'.
        if finish in _CUT and not (is_bare(answer, choices) and (reading.mass or 0.0) >= SURE_MASS):
            raise NoLetter(answer)
    except NoLetter as problem:
        why: Why = "cut" if finish in _CUT else "no letter"
        raise Unread(why, f"no answer among {', '.join(choices)}: {_said(str(problem))}") from None
    return reading


def _said(text: str) -> str:
    return repr(excerpt(text))


def _text(message: Any) -> tuple[str, str]:
    """What was said, and what was thought beside it."""
    content = message.get("content")
    thought = next((str(message[name]) for name in _THOUGHTS if message.get(name)), "")
    if isinstance(content, list):
        said = [p for p in content if isinstance(p, str) or p.get("type") in ("text", "output_text")]
        others = [p for p in content if p not in said]
        words = (p if isinstance(p, str) else str(p.get("text") or "") for p in said)
        return "".join(words), thought or ("…" if others else "")
    return ("" if content is None else str(content)), thought


class _Token(NamedTuple):
    text: str
    listed: dict[str, float]  # text → probability: the sampled one and the likeliest others


def _tokens(logprobs: Any) -> list[_Token]:
    """The sampled tokens in order; [] if they cannot be read: what was said still can."""
    try:
        if isinstance(logprobs, dict) and logprobs.get("content"):
            return [_token(entry) for entry in logprobs["content"]]
        if isinstance(logprobs, dict) and logprobs.get("tokens"):  # the older form: parallel lists
            tops = logprobs.get("top_logprobs") or [{}] * len(logprobs["tokens"])
            rows = zip(logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True)
            return [_Token(_plain(t), _listed([(t, lp), *(top or {}).items()])) for t, lp, top in rows]
    except (TypeError, KeyError, AttributeError, ValueError):
        pass
    return []


def _token(entry: Any) -> _Token:
    entries = [entry, *(entry.get("top_logprobs") or [])]
    return _Token(_word(entry), _listed([(_word(e), e["logprob"]) for e in entries]))


def _word(entry: Any) -> str:
    """A token may be written as '<0x41>' or 'token_id:32': its bytes say what it is."""
    raw = entry.get("bytes")
    return _plain(bytes(raw).decode(errors="replace") if raw else entry["token"])


def _listed(pairs: list[tuple[Any, Any]]) -> dict[str, float]:
    found = {}
    for token, logprob in pairs:
        probability = math.exp(min(float(logprob), 0.0))
        # What is above 0 by more than rounding is no log-probability, whatever else it is.
        if math.isnan(probability) or float(logprob) > MOST_LOGPROB:
            raise ValueError(f"{logprob}")
        found[_plain(token)] = probability
    return found


def _plain(token: str) -> str:
    return token.translate(_MARKS)


def _weighed(tokens: list[_Token], answer: str, at: int, letter: str, choices: tuple[str, str]) -> Reading:
    token = _at(tokens, answer, at)
    if token is None:
        return Reading(float(letter == choices[1]), None)
    masses = dict.fromkeys(choices, 0.0)
    is_listed = dict.fromkeys(choices, False)
    for text, probability in token.listed.items():
        try:
            word, _ = find(text, choices)
        except NoLetter:
            continue
        # 'A', ' A' and '**A' are different tokens and one answer.
        masses[word] += probability
        is_listed[word] = True
    if not is_listed[letter]:
        return Reading(float(letter == choices[1]), None)
    mass = min(sum(masses.values()), 1.0)
    if mass < LEAST_MASS:
        said = " ".join(f"{text!r} {p:.2g}" for text, p in sorted(token.listed.items(), key=lambda i: -i[1])[:4])
        raise NoLetter(f"{' and '.join(choices)} had {mass:.2g} of the probability together: {said}")
    left = max(1 - sum(token.listed.values()), LEAST_PROBABILITY)
    for word in choices:
        if not is_listed[word]:
            # No likelier than the least of those that are listed, nor than all that are not listed together.
            masses[word] = min(min(token.listed.values()), left)
    return Reading(masses[choices[1]] / sum(masses.values()), mass)


def _at(tokens: list[_Token], answer: str, at: int) -> _Token | None:
    """The token that carries the letter at `answer[at]`; None if it cannot be told."""
    spoken = "".join(token.text for token in tokens)
    said = answer.strip()
    start = spoken.rfind(said)
    # The answer comes last, but for a token that ends the turn and is not shown.
    if start < 0 or len(spoken[start + len(said) :].strip()) > len("<|end_of_text|>"):
        return None
    place = start + at - (len(answer) - len(answer.lstrip()))
    for token in tokens:
        place -= len(token.text)
        if place < 0:
            return token
    return None
