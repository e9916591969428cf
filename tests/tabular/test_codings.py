"""Values of preference columns, as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.errors import UserError
from dedpo.tabular.codings import SHARES, Coding, UnreadError, ValueMeanings, items, value_meanings, word
from dedpo.tabular.recognition import for_column, is_systematic, recognise


def read(cells: list[Any], **arguments: Any) -> list[list[float | None]]:
    coding = recognise(cells, "column 'x'", **arguments)
    return [coding.read(cell) for cell in cells]


def single(cells: list[Any], **arguments: Any) -> list[float | None]:
    return [value for (value,) in read(cells, **arguments)]


def told(**given: list[str]) -> ValueMeanings:
    return value_meanings(given)[""]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([0, 1, 0.5, None, float("nan")], [0, 1, 0.5, None, None]),
        (["0", " 1.0 ", "+0.25", "", "NaN", "None", "N/A", '"1"'], [0, 1, 0.25, None, None, None, None, 1]),
        (["0,5", "1", "0"], [0.5, 1, 0]),  # German
        (["A", "b", "Tie", ""], [0, 1, 0.5, None]),
        (["left", "RIGHT", "equal"], [0, 1, 0.5]),
        (["model_a", "model_b", "tie (bothbad)"], [0, 1, 0.5]),  # LMSYS
        (["leftvote", "rightvote", "tievote", "bothbad_vote"], [0, 1, 0.5, 0.5]),  # FastChat's votes
        (["image_0", "image_1"], [0, 1]),
        (["image_1", "image_2", "both_good"], [0, 1, 0.5]),  # Argilla
        (["A>B", "B>>A", "A=B"], [0, 1, 0.5]),  # Arena-Hard
    ],
)
def test_what_is_certain_is_recognised(cells: list[Any], expected: list[float | None]) -> None:
    assert single(cells) == expected


@pytest.mark.parametrize(
    ("cells", "advice"),
    [
        ([1, 2, 2, 1], "--first 1 --second 2 where 1 means"),
        (["1", "1", "2"], "--first 1 --second 2"),
        ([-1, 1, 1], "--first -1 --second 1"),
        ([-1, 0, 1], "--first -1 --tie 0 --second 1"),
        ([0, 1, 2, 2], "2 (2×), 0 (1×), 1 (1×)"),
        ([1, 2, 3, 4, 5], "--first 1,2 --tie 3 --second 4,5"),
        ([12, 55, 99, 3, 7.5, 61, 44, 30, 81, 90, 2, 17], "divide them by 100"),
        ([True, False], "--first False --second True where True means the second"),
        (["True", "False", ""], "--first False --second True"),
        (["chosen", "rejected"], "--first chosen --second rejected"),
        (["image_1", "image_1"], "image_1 (2×)"),  # the second beside image_0, the first beside image_2
        (["A", "B", "none", "none"], "none (2×)"),  # no answer, or neither?
        (["A", "B", "-", "-"], "- (2×)"),
        ([0, 1, "tie"], "tie (1×)"),
        (["0,1", "1,0"], "a point"),  # two raters, or a tenth?
        (["sdxl-1", "sdxl-2"], "sdxl-1 (1×)"),
        ([[1, 0], [0, 1]], "--first '[1, 0]' --second '[0, 1]'"),  # HPDv2's one-hot list, not two raters who quarrel
        (["1;2;2", "1;1;1"], "1 (4×), 2 (2×)"),
        ([0, 1, 1, -1, -1], "-1 (2×)"),
    ],
)
def test_what_is_not_certain_is_asked_in_one_line(cells: list[Any], advice: str) -> None:
    with pytest.raises(UserError) as raised:
        recognise(cells, "t.csv: column 'x'")
    message = str(raised.value)
    assert message.startswith("t.csv: column 'x': ")
    assert advice in message
    assert all(flag in message for flag in ("--first", "--second", "--tie", "--unrated"))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("cells", "what", "expected"),
    [
        ([1, 2, "2.0", None], told(first=["1"], second=["2"]), [0, 1, 1, None]),
        ([1, -1, 0], told(first=["1"], second=["-1"], tie=["0"]), [0, 1, 0.5]),
        ([1, 2, 3, 4, 5], told(first=["1,2"], second=["4", "5"], tie=["3"]), [0, 0, 0.5, 1, 1]),
        (["True", True, "False"], told(first=["false"], second=["TRUE"]), [1, 1, 0]),
        ([0, 1, -1], told(unrated=["-1"]), [0, 1, None]),
        ([0, 1, "tie"], told(tie=["tie"]), [0, 1, 0.5]),
        (["A", "B", "skip"], told(unrated=["skip"]), [0, 1, None]),
        (["A", "B", "tie"], told(unrated=["tie"]), [0, 1, None]),
        ([[1, 0], "[0, 1]"], told(first=["[1, 0]"], second=["[0,1]"]), [0, 1]),
    ],
)
def test_what_is_said_holds(cells: list[Any], what: ValueMeanings, expected: list[float | None]) -> None:
    assert single(cells, what=what) == expected


def test_what_is_said_must_cover_the_column() -> None:
    with pytest.raises(UserError, match=r"C \(2×\)"):
        recognise(["A", "B", "C", "C"], "x", told(first=["A"], second=["B"]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"first": ["1"]}, "--first: say with --second"),
        ({"second": ["1"], "tie": ["0"]}, "--second: say with --first"),
        ({"first": ["1"], "second": ["1.0"]}, "'1' is said to mean two things"),
    ],
)
def test_half_a_coding_is_refused(given: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        value_meanings(given)


def test_several_raters_share_a_cell() -> None:
    assert read(["[0,1,1]", [0, None], "[1 0]", "['1', '0.5']", "1;0", "1|0|0", "", "[]"]) == [
        [0, 1, 1], [0, None], [1, 0], [1, 0.5], [1, 0], [1, 0, 0], [None], [],
    ]  # fmt: skip
    assert read(["1;2;2"], what=told(first=["1"], second=["2"])) == [[0, 1, 1]]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ([1, 0], 0),
        ([0, 1, 0], 1),
        (["0", "0", "1"], 0.5),
        ([True, False, False], 0),
        ([0.2, 0.7, 0.1], 0.75),
        (["", None], None),
    ],
)
def test_shares_over_columns(cell: list[Any], expected: float | None) -> None:
    assert SHARES.read(cell) == [pytest.approx(expected) if expected else expected]


def test_no_winner_in_one_hot_columns_is_asked_and_can_be_said() -> None:
    cells = [[1, 0], [0, 1], [0, 0], [0, 0]]
    with pytest.raises(UserError, match=r"\[0, 0\] \(2×\)"):
        recognise(cells, "x", is_shares=True)
    assert single(cells, what=told(tie=["[0, 0]"]), is_shares=True) == [0, 1, 0.5, 0.5]


def test_the_names_of_the_image_columns_are_known_and_never_turned() -> None:
    assert single(["left_img", "right_img"], names=("left_img", "right_img")) == [0, 1]
    assert single(["image_1", "image_2"], names=("image_1", "image_2")) == [0, 1]
    with pytest.raises(UserError):  # image_1 is the second here, and there is no image_2
        recognise(["image_1", "image_2"], "x", names=("image_0", "image_1"))


@given(st.lists(st.sampled_from(["0", "1", "0.5", ""]), min_size=50, max_size=400), st.text(max_size=5))
def test_a_slip_sets_no_column_aside(cells: list[str], slip: str) -> None:
    """One value in more than a hundred labels is a slip, whatever it says."""
    coding = recognise([*cells, *["1"] * 101, slip], "x")
    assert [coding.read(cell) for cell in cells] == [[float(c) if c else None] for c in cells]


@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 300), st.integers(1, 300))
def test_no_integer_code_is_ever_kept_by_halves(low: int, high: int, n: int, m: int) -> None:
    if m * 100 > n + m or m > 1:
        with pytest.raises(UserError):
            recognise([1] * n + [low] * m + [high] * n, "x")


def test_systematic_is_half_of_the_labels_or_what_recurs() -> None:
    assert not is_systematic({}, 0)
    assert not is_systematic({"oops": 1}, 3)
    assert is_systematic({"oops": 1, "ops": 1}, 4)
    assert is_systematic({"oops": 2}, 100)
    assert not is_systematic({"oops": 2}, 300)
    assert is_systematic({"2": 1}, 90)
    assert not is_systematic({"2": 1}, 110)


def test_two_columns_of_a_table_may_be_coded_differently() -> None:
    both = value_meanings({"first": ["1"], "second": ["2"]}, ["human", "ai"])
    assert for_column(["1", "2"], "human", "x", both).read("2") == [1]
    assert for_column(["0", "1", "0.3"], "ai", "x", both).read("1") == [1]
    one = value_meanings({"first": ["ai=1"], "second": ["ai=0"]}, ["human", "ai"])
    assert for_column(["0", "1"], "ai", "x", one).read("1") == [0]
    assert for_column(["0", "1"], "human", "x", one).read("1") == [1]
    with pytest.raises(UserError, match="--first human=1 --second human=2"):
        for_column(["1", "2"], "human", "x", one)


def test_words_are_compared_without_their_dress() -> None:
    assert word(" Model_A ") == word("model a") == "modela"
    assert word(1.0) == word("1") == word(" +1.00 ") == "1"
    assert word("NULL") == word(None) == ""
    assert word([1, "0"]) == "[1,0]"
    assert items("a, b") is None


def test_a_value_without_meaning_is_named() -> None:
    with pytest.raises(UnreadError) as raised:
        Coding(is_numeric=True).read("[0, oops]")
    assert raised.value.value == "oops"
    for text in ("inf", "1e999", "0x1", "1_0", "True"):
        with pytest.raises(UnreadError):
            Coding(is_numeric=True).read(text)


@pytest.mark.parametrize(
    "cells", [[[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]], ["[.7, .3]", "[.2, .8]", "[1, 0]"], ["0.7;0.3"]]
)
def test_lists_of_shares_are_no_raters(cells: list[Any]) -> None:
    with pytest.raises(UserError, match="write the second's alone"):
        recognise(cells, "here")
    assert recognise([*cells, [1, 1]], "here").read([1, 1]) == [1, 1], "people who agree"


@pytest.mark.parametrize("names", [("image_0", "image_1"), ("image_1", "image_2")])
def test_an_image_of_another_count_makes_the_columns_names_uncertain(names: tuple[str, str]) -> None:
    other = "image_2" if names[0] == "image_0" else "image_0"
    with pytest.raises(UserError, match="--first"):
        recognise(["image_1", "image_1", "image_1", other], "here", names=names)


def test_several_different_words_are_no_slips() -> None:
    with pytest.raises(UserError, match="prefer_left"):
        recognise(["prefer_left", "prefer_right", "tie", "tie", "tie"], "here")
