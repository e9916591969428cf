from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.label.letter import NoLetter, answer_part, find

CHOICES = ("A", "B")
B = [
    "B",
    "b",
    " B",
    "B.",
    "**B**",
    "(B)",
    "(b)",
    "[B]",
    "Image B",
    "image b.",
    "Answer: B",
    "Answer: **B**",
    "Option B",
    "Answer: Image B.",
    "\\boxed{B}",
    "$\\boxed{\\text{B}}$",
    "<answer>B</answer>",
    "<answer> B </answer>",
    "B)",
    "B</s>",
    '{"answer":"B"}',
    '```json\n{"answer": "B"}\n```',
    "Ｂ",
    "The answer is B.",
    "The answer is **B** because it is sharp.",
    "I would prefer Image B, it is sharper.",
    "B because it is better",
    "B is better",
    '"B"',
    "Final answer: B",
    "<|begin_of_box|>B<|end_of_box|>",
    "B<|im_end|>",
    '{"reason": "A sharp picture", "answer": "B"}',
    "My choice: B",
    "Image A is sharp, but the other wins. Final answer: B",
    "**Image B**",
    "Preferred image: B",
    "### Answer\nB",
    "The better image is B",
    '{"answer":"Image B"}',
    "Between the two, I pick B.",
    "Image B is better.",
    "B\n\nIt is sharp.",
]
A = [
    "A",
    "a",
    "A.",
    "A is better.",
    "Image A",
    "Answer: A",
    "Answer: A because it is",
    "(A)",
    "I pick A.",
    "Ａ",
    "**a**",
    '{"choice": "a"}',
    "Image A shows a cat.",
    "A: it is sharp",
]
NONE = [
    "",
    "A nice picture",
    "A nice “B” side by A",
    "Image A is better than image B",
    "A or B",
    "A/B",
    "C",
    "Absolutely",
    "Sorry, no.",
    "Not B.",
    "I would not choose B",
    "neither",
    "The answer is a tough one",
    "Answer: a tough one",
    "Okay",
    "I",
    "Image",
    "B is worse",
    "Both A and B",
    "A cat sits",
    "Based on",
    "A 3D render",
    "A's",
    '{"answer": "A", "b": "B"}',
    '{"a": 1}',
    "Answer: A\nAnswer: B",
    "7",
    "Because",
    "A-frame house",
    "Answer: A or B",
    "A vs B",
    "I can't see image B.",
    "A “nice” picture",
]


@pytest.mark.parametrize(("text", "letter"), [(t, "B") for t in B] + [(t, "A") for t in A])
def test_one_letter_in_its_usual_dress(text: str, letter: str) -> None:
    found, at = find(text, CHOICES)
    assert found == letter
    assert text[at] in {"A": "AaＡ", "B": "BbＢ"}[letter]


@pytest.mark.parametrize("text", NONE)
def test_no_letter_or_two_are_no_answer(text: str) -> None:
    with pytest.raises(NoLetter):
        find(text, CHOICES)


@given(st.text(alphabet="AB ab.*\\{}()[]<>/'\"notisr,:\n", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        letter, at = find(text, CHOICES)
    except NoLetter:
        return
    assert text[at].upper() == letter


@pytest.mark.parametrize(
    ("text", "answer", "is_inside"),
    [
        ("B", "B", False),
        ("<think>A is nice</think>B", "B", False),
        ("A is nice </think>\nB", "\nB", False),
        ("<think>A is nice", "", True),
        ("<think>x</think> so <think>A", "", True),
        ("◁think▷A◁/think▷B", "B", False),
        ("[THINK]A[/THINK]B", "B", False),
        ("<|channel|>analysis<|message|>A A<|end|><|channel|>final<|message|>B", "B", False),
        ("<|channel|>analysis<|message|>A A", "", True),
        ("<reasoning>A</reasoning>B", "B", False),
    ],
)
def test_a_thought_is_no_answer(text: str, answer: str, is_inside: bool) -> None:
    assert answer_part(text) == (answer, is_inside)
