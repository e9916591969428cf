"""What a split takes from rounds of questions to people."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.contract import tables
from dedpo.data import rounds
from dedpo.data.rounds import Round, together


def asked(propensity, selected=None, answered=None, name="r") -> Round:
    n = len(propensity)
    is_selected = np.ones(n, dtype=bool) if selected is None else np.array(selected, dtype=bool)
    is_answered = is_selected if answered is None else np.array(answered, dtype=bool)
    return Round(name, np.array(propensity, dtype=float), is_selected, is_answered, 0)


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_the_chance_of_being_seen_is_one_minus_that_of_being_missed_by_every_draw(uniform, chances):
    _, propensity = together(uniform, np.zeros(1, dtype=bool), [asked([c]) for c in chances])
    assert propensity[0] == pytest.approx(1 - (1 - uniform) * np.prod([1 - c for c in chances]), abs=1e-12)
    assert 0 <= propensity[0] <= 1


@given(st.floats(0, 1), st.integers(1, 5))
def test_without_rounds_nothing_changes_in_the_last_bit(uniform, n):
    drawn = np.arange(n) % 2 == 0
    labelled, propensity = together(uniform, drawn, [])
    assert (labelled == drawn).all()
    assert (propensity == uniform).all()


def test_labelled_are_the_drawn_and_the_answered():
    one = asked([0.5] * 4, [1, 1, 0, 0], [1, 0, 0, 0])
    labelled, propensity = together(0.0, np.array([False, False, False, True]), [one])
    assert labelled.tolist() == [True, False, False, True]
    assert propensity.tolist() == [0.25] * 4
    assert one.counts() == {"selected": 2, "answered": 1, "missing": 1, "elsewhere": 0}


def folder(path, answers, selected=("a", "b")):
    ids = ["a", "b", "c"]
    columns = {
        "pair_id": ids,
        "propensity": [0.5, 0.5, 1.0],
        "is_selected": [p in selected for p in ids],
        "order_shown": ["01" if p in selected else None for p in ids],
    }
    tables.write(pa.table(columns, tables.SELECTIONS.schema), tables.SELECTIONS, path / "selection.parquet")
    if answers is not None:
        (path / "answered.json").write_text(answers, encoding="utf-8")


def merged(path, *keys):
    rows = [
        {"pair_id": p, "rater": r, "preference": 1.0, "order_shown": "01", "time": None, "source": "label-studio:r1"}
        for p, r in keys
    ]
    tables.write(pa.Table.from_pylist(rows, tables.RATINGS.schema), tables.RATINGS, path / "r1-0.parquet")


@pytest.mark.parametrize(
    ("there", "answered"),
    [
        ([("a", "ann"), ("b", "ann"), ("b", "bob")], [True, True, False]),
        ([("a", "ann"), ("b", "bob")], [True, True, False]),
        ([("b", "bob")], [False, True, False]),
        ([("a", "bob"), ("b", "cid")], [False, False, False]),
    ],
)
def test_an_answer_that_was_deleted_is_none_whoever_else_rated_its_pair(tmp_path, there, answered):
    here = tmp_path / "rounds/r1"
    folder(here, json.dumps({"design": "uniform", "pairs": {"a": ["ann"], "b": ["ann", "bob"]}}))
    merged(tmp_path / "ratings", *there)
    found = rounds.read("r1", here, pa.array(["a", "b", "c"]), pa.array(["a", "b", "c"]), tmp_path / "x")
    assert found.is_answered.tolist() == answered
    assert found.response == sum(answered) / 2


def test_a_round_is_seen_from_the_training_pairs(tmp_path):
    here = tmp_path / "rounds/r1"
    folder(here, json.dumps({"design": "rectifier", "pairs": {"a": ["ann"], "b": ["ann"]}}))
    merged(tmp_path / "ratings", ("a", "ann"), ("b", "ann"))
    found = rounds.read("r1", here, pa.array(["b", "c", "later"]), pa.array(["a", "b"]), tmp_path / "x")
    assert found.propensity.tolist() == [0.5, 1.0, 0.0]
    assert found.is_selected.tolist() == found.is_answered.tolist() == [True, False, False]
    assert found.elsewhere == 1
    assert rounds.warnings([found]) == ["round r1: 1 selected pairs are no training pairs of this import"]
