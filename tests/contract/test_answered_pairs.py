"""Which rounds a split counts."""

from __future__ import annotations

import json

import pytest

from dedpo.contract.answered_pairs import answered_rounds
from dedpo.errors import UserError
from tests.data.test_rounds import folder


def test_only_answered_rounds_with_chances_count(tmp_path):
    folder(tmp_path / "open", None)
    folder(tmp_path / "again", json.dumps({"design": "again", "pairs": {"a": ["ann"]}}))
    folder(tmp_path / "r1", json.dumps({"design": "uniform", "pairs": {"a": ["ann"]}}))
    assert list(answered_rounds(tmp_path)) == ["r1"]
    assert answered_rounds(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"design": "uniform"}',
        '{"pairs": 5, "design": "uniform"}',
        '{"pairs": ["a"], "design": "uniform"}',
        '{"pairs": {"a": 5}, "design": "uniform"}',
        "\x00",
    ],
)
def test_a_broken_note_is_named_with_the_remedy(tmp_path, text):
    folder(tmp_path / "r1", text)
    with pytest.raises(UserError, match=r"answered.json: .*; merge the round's export again"):
        answered_rounds(tmp_path)


def test_a_round_that_has_lost_its_selection_is_named_and_a_copy_of_one_is_none(tmp_path):
    text = json.dumps({"design": "uniform", "pairs": {"a": ["ann"]}})
    folder(tmp_path / "r1", text)
    folder(tmp_path / "r1 (copy)", text)
    folder(tmp_path / ".r1", text)
    assert list(answered_rounds(tmp_path)) == ["r1"]
    (tmp_path / "r1/selection.parquet").unlink()
    with pytest.raises(UserError, match="r1/selection.parquet: not there, and its round is answered; bring it back"):
        answered_rounds(tmp_path)
