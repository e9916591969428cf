from __future__ import annotations

from collections import Counter

import pytest

from dedpo.contract.sections import JudgeConfig
from dedpo.errors import UserError
from dedpo.judge import cost
from dedpo.judge.comparisons import Comparison, against, choose, winner
from dedpo.judge.summary import shares

MODELS = [("dpo-0", "tuned-0"), ("reference", "tuned-0")]


def cells(count: int, seeds: tuple[int, ...] = (3, 1, 2)) -> dict[str, set[tuple[str, int]]]:
    return {m: {(f"p{i:03}", s) for i in range(count) for s in seeds} for m in ("dpo-0", "tuned-0", "reference")}


def test_every_pair_gets_the_same_prompts_at_the_lowest_shared_seed() -> None:
    pictures = cells(50)
    pictures["dpo-0"] -= {("p000", 1)}
    pictures["reference"] -= {("p001", s) for s in (1, 2, 3)}
    found = choose(MODELS, pictures, 200, 0)
    by_pair = {pair: [(c.prompt_id, c.seed) for c in found if (c.model_0, c.model_1) == pair] for pair in MODELS}
    assert by_pair[MODELS[0]] == by_pair[MODELS[1]]
    chosen = dict(by_pair[MODELS[0]])
    assert len(chosen) == 49
    assert "p001" not in chosen
    assert chosen.pop("p000") == 2
    assert set(chosen.values()) == {1}


def test_the_choice_is_a_pure_function_of_names_and_seed() -> None:
    small, large = choose(MODELS[:1], cells(90), 20, 7), choose(MODELS[:1], cells(90), 60, 7)
    assert [c.prompt_id for c in large[:20]] == [c.prompt_id for c in small]
    assert small == choose(list(reversed(MODELS)), cells(90), 20, 7)[20:]
    assert {c.prompt_id for c in small} != {c.prompt_id for c in choose(MODELS, cells(90), 20, 8)}


@pytest.mark.parametrize("before", [1, 30, 31])
def test_a_prompt_more_leaves_the_others_as_they_are(before: int) -> None:
    for seed in range(10):
        orders: list[dict[str, str]] = []
        for count in (before, before + 1):
            found = choose(MODELS[:1], cells(count), 1000, seed)
            orders.append({c.prompt_id: c.order for c in found})
        assert sum(orders[1][p] != order for p, order in orders[0].items()) <= 1


@pytest.mark.parametrize("count", [1, 2, 33, 100])
def test_orders_are_balanced_and_random(count: int) -> None:
    found = choose(MODELS, cells(count), count, 0)
    for pair in MODELS:
        orders = Counter(c.order for c in found if (c.model_0, c.model_1) == pair)
        assert abs(orders["01"] - orders["10"]) <= 1
    # Over seeds, no prompt and no place in the list prefers an order.
    shown = [c.order for seed in range(400) for c in choose(MODELS[:1], cells(count), 1, seed)]
    assert 150 < shown.count("01") < 250


def test_orders_of_pairs_and_prompts_are_unrelated() -> None:
    found = choose(MODELS, cells(400), 400, 0)
    first, second = ([c.order for c in found if (c.model_0, c.model_1) == pair] for pair in MODELS)
    agree = sum(a == b for a, b in zip(first, second, strict=True))
    assert 150 < agree < 250


@pytest.mark.parametrize(
    ("choice", "order", "expected"),
    [
        ("first", "01", "0"), ("second", "01", "1"), ("first", "10", "1"), ("second", "10", "0"),
        ("tie", "01", "tie"), ("tie", "10", "tie"),
    ],
)  # fmt: skip
def test_the_winner_is_a_model_whatever_was_shown_first(choice: str, order: str, expected: str) -> None:
    assert winner(choice, order) == expected
    comparison = Comparison("a", "b", "p", 0, order)
    if expected != "tie":
        assert comparison.shown[["first", "second"].index(choice)] == ["a", "b"][int(expected)]


@pytest.mark.parametrize(
    ("models", "pictures", "message"),
    [
        ([("x-0", "tuned-0")], cells(3), "no samples of model 'x-0', only of dpo-0, reference, tuned-0"),
        ([("tuned-0", "tuned-0")], cells(3), "'tuned-0' would be compared with itself"),
        ([], cells(3), "no models to compare"),
        (MODELS, cells(2) | {"reference": {("p9", 1)}}, "no prompt has a picture of each of dpo-0, tuned-0, reference"),
    ],
)
def test_what_cannot_be_compared_is_named(models: list[tuple[str, str]], pictures: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UserError, match=message):
        choose(models, pictures, 10, 0)


def test_the_primary_meets_its_rivals_of_one_training_seed() -> None:
    rivals = ["dpo", "reference", "sft", "tuned"]
    models, left_out = against("tuned", rivals, ["dpo", "tuned"], 4)
    assert models == [("dpo-4", "tuned-4"), ("reference", "tuned-4")]
    assert left_out == ["sft", "tuned"]
    with pytest.raises(UserError, match=r"judge.rivals: none of sft can be compared with 'tuned'"):
        against("tuned", ["sft"], ["tuned"], 0)


def test_shares_count_for_the_second_model_and_failures_for_none() -> None:
    def row(criterion: str, winner: str | None, order: str) -> dict[str, object]:
        return {"model_0": "a", "model_1": "b", "criterion": criterion, "winner": winner, "order": order}

    words = [("1", "01")] * 6 + [("tie", "01")] * 2 + [("0", "10")] * 2 + [(None, "01")] * 5
    (pair,) = shares([row("visual_appeal", *w) for w in words], [("a", "b"), ("a", "b")])
    found = pair["criteria"]["visual_appeal"]
    assert found["n"] == 10
    assert [found[k]["value"] for k in ("win", "tie", "loss", "win_rate")] == pytest.approx([0.6, 0.2, 0.2, 0.7])
    assert found["win"]["low"] == pytest.approx(0.3127, abs=1e-4)  # Wilson, 6 of 10
    assert found["shown_first"]["value"] == 0, "every decided verdict was for the picture shown second"
    empty = pair["criteria"]["general_preference"]
    assert (empty["n"], empty["win"]) == (0, {"value": None, "low": None, "high": None})


@pytest.mark.parametrize(
    ("size", "tokens"), [((16, 16), 258), ((384, 384), 258), ((385, 10), 258), ((1024, 1024), 1032), ((800, 700), 516)]
)
def test_a_picture_costs_its_tiles(size: tuple[int, int], tokens: int) -> None:
    assert cost.image_tokens(*size) == tokens


def test_dollars_are_prices_times_tokens() -> None:
    assert cost.dollars(JudgeConfig(price_input=0.3, price_output=2.5), 1_000_000, 100_000) == pytest.approx(0.55)
    assert cost.answer_tokens(-1) == cost.answer_tokens(None) == cost.answer_tokens(0)
    assert cost.answer_tokens(500) == cost.answer_tokens(0) + 500
