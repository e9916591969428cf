"""Whose answers stand, how ratings are joined, how far people agree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from dedpo.contract import tables
from dedpo.human.export import HumanAnswer
from dedpo.human.merging import accept, between_people, joined

ROUNDS = {"r1": {"a": "01", "b": "10"}, "r2": {"a": "10"}}


def answer(
    pair: str, rater: str, preference: float, *, number: int = 1, order: str = "", round_: str = "r1"
) -> HumanAnswer:
    order = order or ROUNDS.get(round_, {}).get(pair, "01")
    return HumanAnswer(number, round_, pair, rater, preference, order, None, "a cat")


def ratings(*rows: tuple[Any, ...], source: str = "import") -> pa.Table:
    """Rows of (pair, rater, preference[, day])."""
    columns = {
        "pair_id": [r[0] for r in rows],
        "rater": [r[1] for r in rows],
        "preference": [float(r[2]) for r in rows],
        "order_shown": [None] * len(rows),
        "time": [datetime(2026, 11, r[3], tzinfo=UTC) if len(r) > 3 else None for r in rows],
        "source": [source] * len(rows),
    }
    return pa.table(columns, schema=tables.RATINGS.schema)


def test_several_people_may_answer_one_pair():
    found = accept([answer("a", "ann", 1), answer("a", "bob", 0), answer("b", "ann", 0.5)], ROUNDS, {})
    assert {(a.pair_id, a.rater, a.preference) for a in found.new} == {
        ("a", "ann", 1), ("a", "bob", 0), ("b", "ann", 0.5),
    }  # fmt: skip
    assert (found.set_aside, found.known, found.duplicates) == ([], 0, 0)


def test_saying_the_same_twice_counts_once_and_a_contradiction_not_at_all():
    twice = [answer("a", "ann", 1, number=1), answer("a", "ann", 1, number=2)]
    torn = [answer("b", "ann", 1, number=3), answer("b", "ann", 0, number=4), answer("b", "bob", 1, number=5)]
    found = accept(twice + torn, ROUNDS, {})
    assert [(a.pair_id, a.rater, a.number) for a in found.new] == [("a", "ann", 1), ("b", "bob", 5)]
    assert found.duplicates == 1
    assert [(s.number, s.reason) for s in found.set_aside] == [
        (3, "contradictory ratings"),
        (4, "contradictory ratings"),
    ]
    assert found.set_aside[0].detail == "ann on pair b"


def at(day: int | None, preference: float, number: int = 1, rater: str = "ann") -> HumanAnswer:
    time = None if day is None else datetime(2026, 11, day, tzinfo=UTC)
    return HumanAnswer(number, "r1", "a", rater, preference, "01", time, "a cat")


@pytest.mark.parametrize(
    ("given", "new", "aside"),
    [
        ([at(2, 1), at(1, 0, 2)], [1.0], ["overruled by a later answer"]),
        ([at(1, 0, 1), at(2, 1, 2), at(3, 0, 3)], [0.0], ["overruled by a later answer"]),
        ([at(None, 0), at(1, 1, 2)], [1.0], ["overruled by a later answer"]),
        ([at(2, 0), at(2, 1, 2), at(1, 0.5, 3)], [], ["contradictory ratings"] * 2 + ["overruled by a later answer"]),
        ([at(None, 0), at(None, 1, 2)], [], ["contradictory ratings"] * 2),
        ([at(1, 1), at(2, 1, 2)], [1.0], []),
    ],
)
def test_a_persons_later_answer_wins_if_asked_for(given, new, aside):
    found = accept(given, ROUNDS, {}, {})
    assert [a.preference for a in found.new] == new
    assert [s.reason for s in found.set_aside] == aside
    assert sorted(s.reason for s in accept(given, ROUNDS, {}).set_aside) == (
        ["contradictory ratings"] * len(given) if len({a.preference for a in given}) > 1 else []
    )


@pytest.mark.parametrize(("day", "replaced"), [(3, True), (2, True), (1, False), (None, True)])
def test_only_a_later_answer_replaces_a_merged_one(day, replaced):
    earlier, since = {("a", "ann"): 0.0}, {("a", "ann"): datetime(2026, 11, 2, tzinfo=UTC)}
    found = accept([at(day, 1)], ROUNDS, earlier, since)
    assert (len(found.new), found.replaced) == ((1, [("a", "ann")]) if replaced else (0, []))
    assert [s.reason for s in found.set_aside] == ([] if replaced else ["differs from the merged rating"])


def test_two_rounds_may_ask_about_one_pair_and_are_one_opinion():
    found = accept([answer("a", "ann", 1), answer("a", "ann", 1, round_="r2", number=2)], ROUNDS, {})
    assert (len(found.new), found.duplicates, found.set_aside) == (1, 1, [])


def test_what_was_merged_before_is_never_changed():
    earlier = {("a", "ann"): 1.0, ("b", "ann"): 0.0}
    found = accept([answer("a", "ann", 1), answer("b", "ann", 1), answer("b", "bob", 1)], ROUNDS, earlier)
    assert [(a.pair_id, a.rater) for a in found.new] == [("b", "bob")]
    assert found.known == 1
    assert [(s.reason, s.detail) for s in found.set_aside] == [("differs from the merged rating", "ann on pair b")]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer("a", "ann", 1, round_="r9"), "unknown round"),
        (answer("zz", "ann", 1), "unknown pair"),
        (answer("b", "ann", 1, round_="r2"), "unknown pair"),
        (answer("a", "ann", 1, order="10"), "other order than was drawn"),
    ],
)
def test_an_answer_to_no_question_of_ours_is_refused_alone(given, reason):
    found = accept([given, answer("b", "bob", 1)], ROUNDS, {})
    assert [s.reason for s in found.set_aside] == [reason]
    assert [a.rater for a in found.new] == ["bob"]


def test_joined_ratings_hold_one_of_each_person_on_each_pair_and_the_import_wins():
    imported = ratings(("a", "ann", 0), ("b", "ann", 1))
    merged = [
        ratings(("a", "ann", 1, 1), ("c", "bob", 1, 5), source="label-studio:r1"),
        ratings(("a", "bob", 1, 2), ("c", "bob", 0, 4), source="label-studio:r2"),
    ]
    table, counts = joined(imported, merged)
    rows = [(r["pair_id"], r["rater"], r["preference"]) for r in table.to_pylist()]
    assert rows == [("a", "ann", 0), ("a", "bob", 1), ("b", "ann", 1), ("c", "bob", 0)]
    assert counts == {"ratings": 4, "imported": 2, "merged": 4, "left_out": 2, "pairs": 3, "raters": 2}
    assert joined(imported, merged[::-1])[0] == table
    assert joined(imported, [])[0] == imported


def test_agreement_by_hand():
    """Ann and Bob on three pairs: alike on two. Their means against the import: alike on a and c, not on b."""
    merged = ratings(
        ("a", "ann", 1), ("a", "bob", 1), ("b", "ann", 0), ("b", "bob", 0), ("c", "ann", 1), ("c", "bob", 0),
        ("d", "ann", 1),
    )  # fmt: skip
    found = between_people(merged, ratings(("a", "x", 1), ("b", "x", 1), ("c", "x", 0.5), ("e", "x", 1)))
    assert found["raters"]["agreement"] == pytest.approx(2 / 3, abs=1e-4)
    # Votes: three for each image; by chance half agree, so κ = (2/3 − 1/2) / (1/2).
    assert found["raters"]["fleiss_kappa"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["raters"]["pairs"] == 3
    assert (found["import"]["agreement"], found["import"]["pairs"]) == (pytest.approx(2 / 3, abs=1e-4), 3)


def test_nobody_is_held_against_themselves_and_what_cannot_be_computed_is_none():
    one = ratings(("a", "ann", 1))
    assert between_people(one, ratings(("a", "ann", 1))) == {"raters": None, "import": None}
    assert between_people(one, ratings().slice(0, 0)) == {"raters": None, "import": None}
