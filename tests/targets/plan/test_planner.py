"""The planner: hand arithmetic, both regimes, what it warns of and refuses, and its words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dedpo.contract.sections import PlanConfig, TargetsConfig
from dedpo.errors import UserError
from dedpo.stats.power import effective_labels_interval
from dedpo.targets.estimates import Regime, estimate, residual_products
from dedpo.targets.plan import planner, words
from dedpo.targets.reading import TrainingPairs
from tests.targets.cases import agreeing, opinions
from tests.targets.plans import CASES, PILOT, hard, learnable, plan


def test_the_facts_by_hand() -> None:
    facts = plan(PILOT)
    case = facts["regimes"]["reference"]
    assert (facts["n_labelled"], facts["n"], facts["target"], facts["multiple"]) == (100, 500, 281, 2.0)
    assert case["power"] == pytest.approx(0.6)
    assert case["help"]["value"] == pytest.approx(0.36)
    assert case["n_eff"]["value"] == pytest.approx(140.449, abs=1e-3)
    assert case["next_labels"]["gain"]["value"] == pytest.approx(200 / (1 - 0.6 * 0.36) - 140.449, abs=1e-3)
    assert case["next_labels"]["cost"] == 100
    assert case["next_labels"]["cost_each"]["value"] == pytest.approx(100 / 114.653, abs=1e-3)
    assert case["next_pairs"]["gain"]["value"] == pytest.approx(100 / (1 - 1400 / 1500 * 0.36) - 140.449, abs=1e-3)
    assert case["next_pairs"]["cost"] == 500
    assert facts["humans_alone"] == {"more_labels": 181, "more_pairs": 0, "cost": 181}
    # 281·0.64 + 281·√(0.36·0.64·½) = 275 labels are more than 281·0.64·500/(500 − 281·0.36) = 226, all 500 pairs need.
    assert (case["mix"]["more_labels"]["value"], case["mix"]["more_pairs"]["value"]) == (126, 0)
    assert case["annotated_alone"] == {"more_pairs": None, "cost": None, "limit": pytest.approx(156.25)}


def test_the_advice_names_the_purchase_and_its_cost() -> None:
    advice = words.advice(plan(PILOT))
    assert advice.startswith("For 281 effective human labels (2 × today's 140), collect 126 human labels on pairs that")
    assert advice.endswith("human labels alone would cost $181.")
    cheap = words.advice(plan(PILOT, price_annotator=0, gpu_hours_per_1000_pairs=0.1, target=2000))
    assert "effective human labels (today 140), collect 1," in cheap
    assert "human labels and annotate" in cheap
    perfect = words.advice(plan(hard(100, 0, 500), price_human=100))
    assert "annotate 500 new pairs, and collect no human label: $250" in perfect


def test_today_and_its_interval_are_those_of_the_targets() -> None:
    facts, found = plan(PILOT), estimate(PILOT, TargetsConfig())
    expected = effective_labels_interval(found.reference, 100, 500, found.power_reference)
    case = facts["regimes"]["reference"]["n_eff"]
    assert (case["value"], case["low"], case["high"]) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("regime", planner.REGIMES)
def test_the_bootstrap_resamples_what_the_moments_are_made_of(regime: Regime) -> None:
    rows = learnable()
    uneven = np.where(np.arange(1500) % 2, 0.1, 0.4)
    rows = opinions(
        rows.human[:300].tolist(), rows.annotations[:, 0].tolist(), n=1500, features=rows.features, propensity=uneven
    )
    rows.annotations[5], rows.features[7] = np.nan, np.nan
    found = estimate(rows, TargetsConfig())
    values, groups = residual_products(rows, found.preference, found.probe if regime == "probe" else None)
    m = found.at(regime)
    assert values.mean(axis=1) == pytest.approx([m.human, m.annotator, m.cross])
    assert values.shape == (3, m.n)
    assert groups.shape == (m.n,)


def test_the_probe_decides_where_there_is_one() -> None:
    rows = learnable()
    late, early = plan(rows), plan(rows, "reference")
    assert set(late["regimes"]) == {"probe", "reference"}
    both = late["regimes"]
    assert both["probe"]["n_eff"]["value"] < 0.85 * both["reference"]["n_eff"]["value"]
    assert late["target"] == pytest.approx(2 * both["probe"]["n_eff"]["value"], abs=1)
    assert early["target"] == pytest.approx(2 * both["reference"]["n_eff"]["value"], abs=1)
    assert both["probe"]["mix"]["cost"]["value"] > both["reference"]["mix"]["cost"]["value"]
    assert "late in training" in words.describe(late)


def test_without_a_probe_the_reference_decides_and_is_warned_of() -> None:
    facts = plan(PILOT)
    assert (facts["regime"], set(facts["regimes"])) == ("reference", {"reference"})
    assert any("too hopeful" in w and "dedpo data features" in w for w in words.warnings(facts))


def test_an_annotator_without_use_leaves_the_humans() -> None:
    facts = plan(hard(50, 50, 5000), target=3)
    case = facts["regimes"]["reference"]
    assert (case["help"]["value"], case["mix"]["humans_only"]) == (0.0, True)
    assert case["next_pairs"]["cost_each"]["value"] is None
    assert case["annotated_alone"]["limit"] == 100
    assert "collect 200 human labels: $200. No mix with the annotator is cheaper." in words.advice(facts)
    assert any("of no use" in w for w in words.warnings(facts))
    assert "nothing gained" in words.describe(facts)


def test_humans_beyond_the_pairs_need_new_ones() -> None:
    facts = plan(hard(50, 50, 200), target=300)
    assert facts["humans_alone"] == {"more_labels": 200, "more_pairs": 100, "cost": 225}
    assert "collect 200 human labels, 100 of them on new pairs: $225" in words.advice(facts)


def test_where_all_pairs_are_labelled_new_ones_help() -> None:
    facts = plan(hard(80, 20, 100), target=3, price_human=10)
    case = facts["regimes"]["reference"]
    assert case["n_eff"] == {"value": 100, "low": 100, "high": 100}
    assert case["mix"]["more_pairs"]["value"] > case["mix"]["more_labels"]["value"] > 0
    assert case["curves"]["labels"]["n_labelled"][-1] == 300


def test_few_labels_are_warned_of() -> None:
    assert any("only 12 labelled pairs" in w for w in words.warnings(plan(hard(9, 3, 500))))
    assert not any("labelled pairs have" in w for w in words.warnings(plan(hard(16, 4, 500))))


def test_the_same_seed_gives_the_same_plan_and_another_other_intervals() -> None:
    one, same, other = plan(PILOT), plan(PILOT), plan(PILOT, seed=1)
    assert one == same
    assert one["regimes"]["reference"]["mix"]["cost"] != other["regimes"]["reference"]["mix"]["cost"]


def test_unevenly_labelled_pairs_count_for_less() -> None:
    uneven = plan(opinions(*agreeing(80, 20), n=500, propensity=[0.1, 0.9] * 250))
    assert uneven["ess"] < 70
    assert uneven["n_labelled"] == 100
    assert uneven["regimes"]["reference"]["n_eff"]["value"] < 110


@pytest.mark.parametrize(
    ("found", "settings", "message"),
    [
        (PILOT, {"target": 120}, r"plan.target 120: 120 effective human labels are already reached, today's are 140"),
        (PILOT, {"target": 1.0}, r"plan.target 1: .* multiple above 1"),
        (PILOT, {"target": 0.5}, r"plan.target 0.5: 71 effective human labels are already reached"),
        (PILOT, {"price_annotator": 0, "price_gpu_hour": 0}, r"plan.price_annotator, .* costs \$0.* give one of them"),
        (opinions([], [], n=30), {}, r"no training pair of the 30 .* label 200 pairs"),
        (opinions([0.5] * 30, [1.0] * 30, n=90), {}, r"all 30 human labels are ties.*; label pairs that differ"),
    ],
)
def test_what_cannot_be_planned_is_refused(found: TrainingPairs, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(found, **settings)


def test_a_free_human_is_refused_by_the_settings() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        PlanConfig(price_human=0)


@pytest.mark.parametrize("name", CASES)
def test_every_case_has_words(name: str) -> None:
    facts = CASES[name]()
    for text in (words.describe(facts), words.page(facts)):
        assert "nan" not in text
        assert "None" not in text
        assert words.advice(facts) in text
