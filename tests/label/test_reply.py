from __future__ import annotations

import math
from typing import Any

import pytest

from dedpo.errors import excerpt
from dedpo.label.reply import LEAST_MASS, Unread, read

CHOICES = ("A", "B")


def completion(text: object = "A", logprobs: Any = None, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text} | message, "logprobs": logprobs, "finish_reason": finish}]}


def token(said: str, **probabilities: float) -> dict[str, Any]:
    """A token that was said, and the listed probabilities; '_' stands for a space."""
    top = [{"token": t.replace("_", " "), "logprob": math.log(p)} for t, p in probabilities.items()]
    return {**next(t for t in top if t["token"] == said), "top_logprobs": top}


def content(*tokens: dict[str, Any]) -> dict[str, Any]:
    return {"content": list(tokens)}


def why(body: object) -> str:
    with pytest.raises(Unread) as caught:
        read(body, CHOICES)
    return caught.value.why


def test_the_probability_is_normalised_over_the_two_choices() -> None:
    assert read(completion("A", content(token("A", A=0.6, B=0.2, C=0.1))), CHOICES) == pytest.approx((0.25, 0.8))


def test_tokens_of_one_letter_count_together() -> None:
    p, mass = read(completion("B", content(token(" B", A=0.3, _B=0.5, _A=0.1, b=0.05))), CHOICES)
    assert p == pytest.approx(0.55 / 0.95)
    assert mass == pytest.approx(0.95)


def test_a_letter_that_is_not_listed_is_bounded_by_the_least_that_is() -> None:
    p, mass = read(completion("B", content(token("B", B=0.9, X=0.06, Y=0.001))), CHOICES)
    assert p == pytest.approx(0.9 / 0.901)
    assert mass == pytest.approx(0.9)
    p, _ = read(completion("B", content(token("B", B=0.6, X=0.39))), CHOICES)
    assert p == pytest.approx(0.6 / 0.61), "nor can it have more than all that is not listed"
    p, _ = read(completion("B", content({"token": "B", "logprob": 0.0})), CHOICES)
    assert 0.99 < p < 1


def test_a_letter_in_the_tail_is_no_answer() -> None:
    assert why(completion("Looking", content(token("Looking", Looking=0.99, A=1e-4)), "length")) == "cut"
    assert why(completion("Looking", content(token("Looking", Looking=0.99, A=1e-4)))) == "no letter"


@pytest.mark.parametrize("name", ["<0x{:02X}>", "token_id:{}"])
def test_a_token_is_what_its_bytes_say(name: str) -> None:
    top = [
        {"token": name.format(ord(w)), "bytes": [ord(w)], "logprob": math.log(p)} for w, p in (("B", 0.7), ("A", 0.3))
    ]
    assert read(completion("B", content({**top[0], "top_logprobs": top})), CHOICES) == pytest.approx((0.7, 1.0))


def test_numbers_above_0_are_no_logprobs() -> None:
    """Probabilities, perhaps; taken for log-probabilities they make every answer one half."""
    top = [{"token": w, "logprob": p} for w, p in (("B", 0.7), ("A", 0.3))]
    assert read(completion("B", content({**top[0], "top_logprobs": top})), CHOICES) == (1.0, None)
    rounding = [{"token": "B", "logprob": 1e-7}]
    p, mass = read(completion("B", content({**rounding[0], "top_logprobs": rounding})), CHOICES)
    assert (p > 0.99, mass) == (True, 1.0)


def test_parts_may_be_bare_texts() -> None:
    assert read(completion(["B"]), CHOICES) == (1.0, None)


def test_less_than_half_of_the_mass_is_no_answer() -> None:
    assert LEAST_MASS == 0.5
    with pytest.raises(Unread, match=r"A and B had 0.45 of the probability together: 'A' 0.4 'The' 0.35"):
        read(completion("A", content(token("A", A=0.4, The=0.35, B=0.05))), CHOICES)


def test_a_letter_that_was_cut_may_be_an_article() -> None:
    assert why(completion("A", None, "length")) == "cut"
    assert why(completion("A", content(token("A", A=0.7, The=0.2)), "length")) == "cut"
    assert why(completion("Image A is", None, "length")) == "cut"
    assert read(completion("A", content(token("A", A=0.7, B=0.29)), "length"), CHOICES)[0] == pytest.approx(29 / 99)


def test_the_letters_own_token_is_read_wherever_it_stands() -> None:
    words = [token(w, **{w: 0.9}) for w in ("The", "answer", "is")]
    for entry, space in zip(words, ("", " ", " "), strict=True):
        entry["token"] = space + entry["token"]
    said = content(*words, token(" B", _A=0.25, _B=0.75), token(".", **{".": 1.0}))
    assert read(completion("The answer is B.", said), CHOICES) == pytest.approx((0.75, 1.0))


def test_tokens_of_a_thought_are_not() -> None:
    thought = [token(" A", _A=0.9, _B=0.1), token("</think>", **{"</think>": 1.0})]
    said = content(*thought, token("B", A=0.4, B=0.6))
    assert read(completion("B", said, reasoning_content="A"), CHOICES) == pytest.approx((0.6, 1.0))
    assert read(completion("A</think>B", said), CHOICES) == pytest.approx((0.6, 1.0))
    assert read(completion("B", content(*thought)), CHOICES) == (1.0, None), "its token is not among them"
    assert why(completion(None, content(thought[0]), "length", reasoning_content="A")) == "thought"
    assert why(completion("<think>A", content(thought[0]), "length")) == "thought"
    assert why(completion("", content(thought[0]), "length")) == "thought"
    assert why(completion("", None, "stop", reasoning="A")) == "thought"


def test_content_may_come_in_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "A"}]}, {"type": "text", "text": "B"}]
    assert read(completion(parts), CHOICES) == (1.0, None)
    assert why(completion(parts[:1])) == "thought"


def test_tokenizers_marks_of_a_space_are_spaces() -> None:
    top = [{"token": "ĠB", "logprob": math.log(0.9)}, {"token": "▁A", "logprob": math.log(0.1)}]
    assert read(completion(" B", content({**top[0], "top_logprobs": top})), CHOICES) == pytest.approx((0.9, 1.0))


def test_parallel_lists_are_read_as_well() -> None:
    lists = {
        "tokens": ["B"],
        "token_logprobs": [math.log(0.8)],
        "top_logprobs": [{"B": math.log(0.8), "A": math.log(0.2)}],
    }
    assert read(completion("B", lists), CHOICES) == pytest.approx((0.8, 1.0))
    assert read(completion("B", lists | {"top_logprobs": None}), CHOICES) == pytest.approx((0.8, 0.8))


def test_an_infinitely_unlikely_choice_is_a_number() -> None:
    top = [{"token": "A", "logprob": 0.0}, {"token": "B", "logprob": -9999.0}]
    assert read(completion("A", content({**top[0], "top_logprobs": top})), CHOICES) == (0.0, 1.0)


@pytest.mark.parametrize(("text", "p"), [("A", 0.0), (" B", 1.0), ("B.", 1.0), ("**A**", 0.0), ("Answer: b", 1.0)])
def test_without_logprobs_the_word_is_a_hard_answer(text: str, p: float) -> None:
    assert read(completion(text), CHOICES) == (p, None)


@pytest.mark.parametrize(
    "logprobs",
    [
        [1],
        content(),
        {"content": [1]},
        {"content": {"a": 1}},
        {"tokens": [1]},
        content({"token": 3, "logprob": 0}),
        content({"token": "B", "logprob": math.nan}),
        content({"token": "B"}),
    ],
)
def test_unreadable_logprobs_leave_the_word(logprobs: Any) -> None:
    assert read(completion("B", logprobs), CHOICES) == (1.0, None)


@pytest.mark.parametrize("text", ["", None, "Absolutely", "A or B", "C", 7, "I cannot help with \x1b[31mthat"])
def test_any_other_word_is_no_answer(text: object) -> None:
    with pytest.raises(Unread, match="no answer among A, B: ") as caught:
        read(completion(text), CHOICES)
    assert "\x1b" not in str(caught.value)
    assert caught.value.why == "no letter"


def test_a_refusal_is_blocked() -> None:
    assert why(completion(None, refusal="I can't compare these.")) == "blocked"
    assert why(completion("", finish="content_filter")) == "blocked"


@pytest.mark.parametrize(
    "body", [None, [], "<html>", {}, {"choices": []}, {"choices": [None]}, {"choices": [{"message": None}]}]
)
def test_malformed_bodies_are_told_apart_from_answers(body: object) -> None:
    with pytest.raises(Unread, match="not a chat completion"):
        read(body, CHOICES)


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt("a\nb\t\x07c") == "a b c"
    assert len(excerpt("x" * 1000)) == 160
