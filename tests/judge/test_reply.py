"""Answers in the dresses that models put them into, and those that could mean either image."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.contract.criteria import CRITERIA
from dedpo.judge.reply import read

PLAIN = {"rationale": "So.", "general_preference": "first", "visual_appeal": "second", "prompt_alignment": "tie"}
SAID = json.dumps(PLAIN)
CAPITALS = {"Rationale": "So.", "General Preference": "First", "VISUAL-APPEAL": "SECOND", "promptAlignment": "Tie."}
PICTURES = {
    "reasoning": "So.", "general_preference": "The first image", "visual_appeal": "Image 2",
    "prompt_alignment": "neither",
}  # fmt: skip
ORDINALS = PLAIN | {"general_preference": "1st", "visual_appeal": "the second one", "prompt_alignment": "equal"}
NESTED = {"judgement": PLAIN}
WITH_REASONS = {"rationale": "So."} | {c: {"winner": PLAIN[c], "reason": "it is"} for c in CRITERIA}
LISTED = [{"criterion": c, "choice": PLAIN[c]} for c in CRITERIA] + [{"rationale": "So."}]
PIECES = [{c: PLAIN[c]} for c in CRITERIA] + [{"rationale": "So."}]


@pytest.mark.parametrize(
    "text",
    [
        SAID,
        f"```json\n{SAID}\n```",
        f"```\n{SAID}\n```\nI hope this helps!",
        f"Here is my judgement: {SAID} Anything else?",
        f"{SAID}\n{SAID}",
        f"{SAID}{SAID}{SAID}",
        f"[{SAID}]",
        f"[{SAID}, {SAID}]",
        f"\ufeff  {SAID}\n\n\n   ",
        f"<think>The first? {json.dumps(PLAIN | {'visual_appeal': 'first'})}</think>{SAID}",
        f"The second ... {json.dumps(PLAIN | {'visual_appeal': 'first'})}</think>\n{SAID}",
        f"Images {{a, b}} compared: {SAID}",
        SAID.replace('"tie"}', '"tie",}'),
        json.dumps(SAID),
        *(json.dumps(dress) for dress in (CAPITALS, PICTURES, ORDINALS, NESTED, WITH_REASONS, LISTED, PIECES)),
    ],
)
def test_one_answer_in_any_dress(text: str) -> None:
    if text.startswith('"'):
        text = json.loads(text)
    reading = read(text)
    assert reading.choices == {c: PLAIN[c] for c in CRITERIA}
    assert reading.rationale == "So."


@pytest.mark.parametrize("value", ["A", "1", "2", 1, 2, True, None, "both", "left", "", "first or second", "0", [], {}])
def test_what_could_mean_either_image_is_not_read(value: Any) -> None:
    with pytest.raises(ValueError, match="malformed answer: visual_appeal is "):
        read(json.dumps(PLAIN | {"visual_appeal": value}))


@pytest.mark.parametrize(
    "text",
    [
        f"{SAID}\n{json.dumps(PLAIN | {'visual_appeal': 'first'})}",
        SAID[:-1] + ', "visual_appeal": "first"}',
        SAID[:-1] + ', "Visual Appeal": "first"}',
    ],
)
def test_an_answer_that_says_two_things_says_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="malformed answer: visual_appeal is 'second' and 'first'"):
        read(text)


@pytest.mark.parametrize(
    "text", [f"<think>{SAID}", f"<think>{SAID}</think>", SAID[:-10], "first", "[1, 2]", "The second."]
)
def test_no_answer_is_taken_from_a_thought_or_a_piece(text: str) -> None:
    with pytest.raises(ValueError, match="malformed answer: "):
        read(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        said = str(read(text).choices)
    except ValueError as error:
        said = str(error)
    assert said.startswith("malformed answer: ")
    assert "\n" not in said


@given(
    st.dictionaries(st.sampled_from(list(CRITERIA)), st.sampled_from(["first", "second", "tie"]), min_size=3), st.text()
)
def test_what_stands_around_an_answer_does_not_change_it(choices: dict[str, str], around: str) -> None:
    around = around.replace("{", "").replace("<", "")
    assert read(f"{around}{json.dumps(choices)}{around}").choices == choices
