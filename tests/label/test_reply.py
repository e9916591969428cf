from __future__ import annotations

import math
from typing import Any

import pytest

from dedpo.errors import excerpt
from dedpo.label.reply import read

CHOICES = ("A", "B")


def completion(text: object = "A", logprobs: Any = None) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "logprobs": logprobs}]}


def first_token(**probabilities: float) -> dict[str, Any]:
    top = [{"token": t.replace("_", " "), "logprob": math.log(p)} for t, p in probabilities.items()]
    return {"content": [{**top[0], "top_logprobs": top}]}


def test_the_probability_is_normalised_over_the_two_choices() -> None:
    p, mass = read(completion(logprobs=first_token(A=0.6, B=0.2, C=0.1)), CHOICES)
    assert p == pytest.approx(0.25)
    assert mass == pytest.approx(0.8)


def test_tokens_with_a_leading_space_count_with_those_without() -> None:
    p, mass = read(completion(logprobs=first_token(A=0.3, _B=0.5, _A=0.1)), CHOICES)
    assert p == pytest.approx(0.5 / 0.9)
    assert mass == pytest.approx(0.9)


def test_a_choice_that_is_not_listed_has_probability_nil() -> None:
    assert read(completion(logprobs=first_token(B=0.9, X=0.1)), CHOICES) == (1.0, pytest.approx(0.9))


def test_an_infinitely_unlikely_choice_is_a_number() -> None:
    top = [{"token": "A", "logprob": 0.0}, {"token": "B", "logprob": -9999.0}]
    assert read(completion(logprobs={"content": [{**top[0], "top_logprobs": top}]}), CHOICES) == (0.0, 1.0)


def test_one_token_without_alternatives_will_do() -> None:
    assert read(completion(logprobs={"content": [{"token": "B", "logprob": 0.0}]}), CHOICES) == (1.0, 1.0)


@pytest.mark.parametrize(("text", "p"), [("A", 0.0), (" B", 1.0), ("B.", 1.0), ("**A**", 0.0)])
def test_without_logprobs_the_word_is_a_hard_answer(text: str, p: float) -> None:
    assert read(completion(text), CHOICES) == (p, None)


@pytest.mark.parametrize("text", ["", None, "Absolutely", "A or B", "C", 7, "I cannot help with \x1b[31mthat"])
def test_any_other_word_is_no_answer(text: object) -> None:
    with pytest.raises(ValueError, match="no answer among A, B: ") as caught:
        read(completion(text), CHOICES)
    assert "\x1b" not in str(caught.value)


def test_logprobs_of_other_tokens_are_no_answer() -> None:
    with pytest.raises(ValueError, match="no answer among A, B: 'C' 'D'"):
        read(completion("C", first_token(C=0.9, D=0.1)), CHOICES)


NAN = {"content": [{"token": "A", "logprob": math.nan}]}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "<html>",
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"message": None}]},
        completion(logprobs=[1]),
        completion(logprobs={"content": [1]}),
        completion(logprobs={"content": {"a": 1}}),
        completion(logprobs={"content": [{"top_logprobs": [{"token": 3, "logprob": 0}]}]}),
        completion(logprobs={"content": [{"top_logprobs": [{"token": "A", "logprob": "x"}]}]}),
        completion(logprobs=NAN),
    ],
)
def test_malformed_bodies_are_told_apart_from_answers(body: object) -> None:
    with pytest.raises(ValueError, match=r"not a chat completion|unreadable logprobs|no answer among"):
        read(body, CHOICES)


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt("a\nb\t\x07c") == "a b c"
    assert len(excerpt("x" * 1000)) == 160
