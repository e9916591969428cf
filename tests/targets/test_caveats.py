"""What a user is told of an arm before it is trained: numbers by hand, each warning, each word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dedpo.contract import tables
from dedpo.errors import UserError
from dedpo.stats.logistic import sigmoid
from dedpo.targets import stage
from dedpo.targets.reading import TrainingPairs
from tests.targets.cases import agreeing, opinions, run

DEBIASED = ("dedpo", "dedpo_tuned", "dedpo_ipo")


def _hard(right: int, wrong: int, n: int) -> TrainingPairs:
    return opinions(*agreeing(right, wrong), n=n)


def _has(facts: dict[str, Any], *parts: str) -> bool:
    """Whether one warning has all the parts."""
    return any(all(part in text for part in parts) for text in facts["warnings"])


def _learnable(n: int = 3000, n_labelled: int = 1500) -> TrainingPairs:
    """An annotator that knows what the features say, and nothing else."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 3))
    human = (rng.random(n) < sigmoid(2 * x.sum(axis=1))).astype(float)
    return opinions(human[:n_labelled], (x.sum(axis=1) > 0).astype(float), n=n, features=x)


def test_effective_labels_by_hand(tmp_path: Path) -> None:
    """120 of 150 agree, 600 pairs: ρ = 0.6; 150 / (1 + ¾(1 − 1.2)) and 150 / (1 + ¾(0.36 − 0.72))."""
    facts = run(tmp_path, _hard(120, 30, 600), *DEBIASED, "dpo_human", "dpo_all_human", "dpo_synthetic")
    assert (facts["dedpo"]["power"], facts["dedpo"]["n_eff"]) == (1.0, round(150 / 0.85, 1))
    for arm in ("dedpo_tuned", "dedpo_ipo"):
        assert facts[arm]["power"] == pytest.approx(0.6)
        assert facts[arm]["n_eff"] == facts[arm]["n_eff_reference"] == round(150 / 0.73, 1)
        assert facts[arm]["n_eff_interval"]["low"] < facts[arm]["n_eff"] < facts[arm]["n_eff_interval"]["high"]
        assert facts[arm]["n_eff_probe"] is None
    assert facts["dpo_human"]["n_eff"] == facts["dpo_human"]["n_eff_probe"] == 150
    assert facts["dpo_all_human"]["n_eff"] == 150
    assert facts["dpo_synthetic"]["n_eff"] is None
    assert facts["dedpo_ipo"]["objective"] == "ipo"


def test_uneven_labels_count_by_kish_size_and_inverse_propensity(tmp_path: Path) -> None:
    """The case of test_estimates: λ̂ = 68/76, ESS 784/104 of 20 pairs, v² = u² and u·v = 68/76·u²."""
    human, annotator = agreeing(6, 2)
    known = opinions(human, annotator, n=20, propensity=[0.25] * 6 + [0.5] * 14)
    facts = run(tmp_path, known, "dedpo_tuned", "dpo_human")
    ess, rho = 784 / 104, 68 / 76
    assert facts["dedpo_tuned"]["power"] == pytest.approx(rho)
    assert facts["dedpo_tuned"]["n_eff"] == round(ess / (1 - (1 - ess / 20) * rho**2), 1)
    assert facts["dpo_human"]["n_eff"] == facts["dpo_human"]["ess"] == round(ess, 1)
    table = tables.read(tmp_path / "targets/dpo_human/targets.parquet", tables.TARGETS)
    assert table.column("a").to_pylist() == [4.0] * 6 + [2.0] * 2 + [0.0] * 12
    very = run(tmp_path, opinions(human, annotator, n=20, propensity=[0.1] * 6 + [0.5] * 14), "dedpo_tuned")
    assert "labelled unevenly and so worth 7 evenly drawn" in very["dedpo_tuned"]["explanation"]


def test_at_the_probe_less_is_promised_than_at_the_reference(tmp_path: Path) -> None:
    known = _learnable()
    at_probe = run(tmp_path, known, *DEBIASED)
    tuned = at_probe["dedpo_tuned"]
    assert (tuned["regime"], tuned["power"]) == ("probe", tuned["power_probe"])
    assert tuned["power_probe"] < 0.1 < 0.6 < tuned["power_reference"]
    assert tuned["n_eff"] == tuned["n_eff_probe"]
    assert tuned["probe"]["n_features"] == 3
    assert tuned["probe"]["loss"] < np.log(2)
    assert at_probe["dedpo"]["n_eff_probe"] < 1500 < at_probe["dedpo"]["n_eff_reference"]
    assert _has(at_probe["dedpo"], "at the probe's residuals, fewer than the 1,500 there are", "use dedpo_tuned")
    at_reference = run(tmp_path, known, "dedpo_tuned", regime="reference")["dedpo_tuned"]
    assert (at_reference["regime"], at_reference["power"]) == ("reference", tuned["power_reference"])
    assert at_reference["n_eff"] == at_reference["n_eff_reference"]
    assert not _has(at_reference, "dedpo data features")


def test_without_features_the_reference_serves_and_it_is_said(tmp_path: Path) -> None:
    facts = run(tmp_path, _hard(120, 30, 600), *DEBIASED, "dpo_human")
    for arm in DEBIASED:
        assert facts[arm]["regime"] == "reference"
        assert _has(facts[arm], "too hopeful", "there are no features", "run 'dedpo data features'")
    assert facts["dpo_human"]["warnings"] == []
    assert facts["dedpo_tuned"]["probe"] is None


def test_the_75_percent_rule(tmp_path: Path) -> None:
    weak = run(tmp_path / "weak", _hard(110, 40, 600), "dedpo", "dedpo_tuned")
    assert _has(weak["dedpo"], "accuracy, 73% (66% to 80%), is not clearly above 75%", "use dedpo_tuned")
    assert _has(weak["dedpo"], "worth 143 human labels at the reference, fewer than the 150 there are")
    assert not _has(weak["dedpo_tuned"], "75%")
    assert not _has(weak["dedpo_tuned"], "fewer than")
    strong = run(tmp_path / "strong", _hard(140, 10, 600), "dedpo")["dedpo"]
    assert not _has(strong, "accuracy")
    assert not _has(strong, "fewer than")


def test_a_power_that_was_set_too_high_is_warned_of(tmp_path: Path) -> None:
    facts = run(tmp_path, _hard(90, 60, 600), "dedpo_tuned", power=0.9)["dedpo_tuned"]
    assert facts["power"] == 0.9
    assert _has(facts, "at λ = 0.90", "fewer than the 150", "let targets.power be null")
    assert "Chosen: λ = 0.90, set by targets.power." in facts["explanation"]


def test_few_labels(tmp_path: Path) -> None:
    few = run(tmp_path / "few", _hard(90, 9, 200), "dedpo_tuned", "dpo_human")
    assert _has(few["dedpo_tuned"], "only 99 human labels", "label 100 or more")
    assert few["dpo_human"]["warnings"] == []
    assert not _has(run(tmp_path / "many", _hard(90, 10, 200), "dedpo_tuned")["dedpo_tuned"], "human labels: λ and")


def test_poor_overlap(tmp_path: Path) -> None:
    """1/π of 1 on 90 and of 20 on 10: (90 + 200)² / (90 + 4000) = 20.6 of 100."""
    human, annotator = agreeing(90, 10)
    poor = run(tmp_path, opinions(human, annotator, n=300, propensity=[1.0] * 90 + [0.05] * 210), *DEBIASED, "cdpo")
    for arm in DEBIASED:
        assert _has(poor[arm], "the 100 labelled pairs count like 21", "label more of their kind")
    assert not _has(poor["cdpo"], "count like")


def test_an_annotator_that_adds_nothing(tmp_path: Path) -> None:
    known = _learnable()
    facts = run(tmp_path, known, *DEBIASED)
    assert facts["dedpo_tuned"]["power_probe"] < 0.05
    for arm in ("dedpo_tuned", "dedpo_ipo"):
        assert _has(facts[arm], "at the probe's residuals: the annotator adds next to nothing", "label more pairs")
    assert not _has(facts["dedpo"], "next to nothing")


def test_a_constant_annotator_is_named(tmp_path: Path) -> None:
    human, annotator = agreeing(80, 20)
    known = opinions(human, [*annotator, *[0.0] * 100], [0.5] * 200, n=200)
    facts = run(tmp_path, known, "dedpo", "dpo_synthetic", "dpo_human")
    for arm in ("dedpo", "dpo_synthetic"):
        assert _has(facts[arm], "annotator b answers 0.50 on all 200 pairs", "another template or annotator")
        assert not _has(facts[arm], "annotator a answers")
    assert facts["dpo_human"]["warnings"] == []


@pytest.mark.parametrize(("right", "rate", "said"), [(65, 0.35, False), (58, 0.42, True), (40, 0.45, True)])
def test_flip_rates_near_a_half(tmp_path: Path, right: int, rate: float, said: bool) -> None:
    facts = run(tmp_path, _hard(right, 100 - right, 400), "cdpo", "rdpo", "dedpo")
    assert facts["cdpo"]["flip_rate"] == facts["rdpo"]["flip_rate"] == pytest.approx(rate)
    assert facts["dedpo"]["flip_rate"] is None
    assert _has(facts["rdpo"], f"flip rate {rate:.2f}", "1 − 2ε") is said
    assert _has(facts["rdpo"], "capped at 0.45") is (rate == 0.45)
    assert not _has(facts["cdpo"], "flip rate")
    assert f"flip rate {rate:.2f}" in facts["cdpo"]["explanation"]


def test_a_flip_rate_that_was_set_is_used(tmp_path: Path) -> None:
    facts = run(tmp_path, _hard(4, 0, 8), "cdpo", "rdpo", flip_rate=0.25)
    assert facts["cdpo"]["flip_rate"] == 0.25
    smooth, robust = (
        tables.read(tmp_path / f"targets/{arm}/targets.parquet", tables.TARGETS).column("b").to_pylist()
        for arm in ("cdpo", "rdpo")
    )
    assert smooth == [0.25, 0.75, 0.25, 0.75] + [0.75] * 4
    assert robust == [-0.5, 1.5, -0.5, 1.5] + [1.5] * 4


def test_an_unknown_flip_rate_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="arm rdpo: .* flip rate is unknown; set targets.flip_rate or drop the arm"):
        run(tmp_path, opinions([0.5, 0.5], [1, 0], n=4), "rdpo")


def test_the_range_of_the_targets(tmp_path: Path) -> None:
    """25 % labelled, hard answers: 1 + 4(0 − 1) = −3 and 0 + 4(1 − 0) = 4."""
    facts = run(tmp_path, _hard(80, 20, 400), *DEBIASED, "rdpo", "cdpo", "dpo_human", "sft")
    assert _has(facts["dedpo"], "targets b/a run from -3.00 to 4.00", "no lower bound", "or train dedpo_ipo")
    assert _has(facts["dedpo_tuned"], "outside [0, 1]", "set train.guard")
    assert _has(facts["rdpo"], "targets b/a run from -0.33 to 1.33", "set train.guard")
    assert not _has(facts["rdpo"], "dedpo_ipo")
    for arm in ("dedpo_ipo", "cdpo", "dpo_human", "sft"):
        assert not _has(facts[arm], "b/a")


def test_the_tuned_arm_is_explained(tmp_path: Path) -> None:
    text = run(tmp_path, _learnable(), "dedpo_tuned", calibrate=True)["dedpo_tuned"]["explanation"]
    for part in (
        "dedpo_tuned: 1,500 human-labelled of 3,000 pairs.",
        "The annotator a, recalibrated (isotonic), sides with the human on ",
        "n = 1,500 without ties",
        "λ says how much the annotator counts, from 0, the human labels alone, to 1, DeDPO.",
        "at the reference, where training begins, and ",
        "at the residuals of a probe of 3 features (cross-entropy 0.",
        "the probe's.",
        "At that λ labels and annotator together are worth ",
    ):
        assert part in text


def test_several_annotators_are_named_with_their_shares(tmp_path: Path) -> None:
    human, annotator = agreeing(80, 20)
    facts = run(tmp_path, opinions(human, annotator, annotator, n=400), "dedpo_tuned")["dedpo_tuned"]
    assert facts["annotator"] == "a + b"
    assert facts["annotators"] == {"a": pytest.approx(0.5), "b": pytest.approx(0.5)}
    assert "The annotators together (a 50%, b 50%) side with the human" in facts["explanation"]


def test_the_overview_is_a_table_a_paragraph_and_each_warning_once(tmp_path: Path) -> None:
    known = _hard(80, 20, 1400)
    facts = run(tmp_path, known, "dpo_human", "dpo_synthetic", *DEBIASED)
    table, paragraph, warnings = stage.overview(facts).split("\n\n")
    rows = [line.split() for line in table.splitlines()]
    assert rows[0][:5] == ["arm", "labelled", "pairs", "λ", "n_eff"]
    assert rows[1] == ["dpo_human", "100", "1,400", "–", "100", "–"]
    assert rows[2] == ["dpo_synthetic", "100", "1,400", "–", "–", "–"]
    assert rows[4][:5] == ["dedpo_tuned", "100", "1,400", "0.60", "150"]
    assert paragraph == facts["dedpo_tuned"]["explanation"]
    assert warnings.count("there are no features") == 1
    assert "warning (dedpo, dedpo_tuned, dedpo_ipo): λ̂ and n_eff are those at the reference" in warnings


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(opinions([1, 0], [1, 0], n=10), id="two labels"),
        pytest.param(opinions([0.5, 0.5, 0.5], [1, 0, 1], n=10), id="all ties"),
        pytest.param(opinions([1, 0, 1], [0.5] * 10, n=10), id="an undecided annotator"),
        pytest.param(opinions([1, 0, 1], [1, 0, 0]), id="all labelled"),
        pytest.param(opinions([1, 0] * 15, [1, 1] * 15, n=60, features=np.ones((60, 1))), id="a constant column"),
        pytest.param(
            opinions([1, 0] * 15, [1, 1] * 15, n=60, features=np.vstack([[[np.nan]], np.eye(59)[:, :1] + 1])),
            id="a labelled pair without features",
        ),
    ],
)
def test_little_knowledge_is_no_error(tmp_path: Path, known: TrainingPairs) -> None:
    arms = ("sft", "dpo_human", "dpo_synthetic", "dpo_synthetic_split", "cdpo", "rdpo", *DEBIASED)
    facts = run(tmp_path, known, *arms, flip_rate=0.1)
    text = stage.overview(facts) + "".join(stage.describe(found) for found in facts.values())
    assert "nan" not in text.lower().replace("annotator", "")
    for arm in arms:
        table = tables.read(tmp_path / f"targets/{arm}/targets.parquet", tables.TARGETS)
        assert np.isfinite(table.column("b").to_numpy()).all()


def test_all_ties_are_worth_nothing_that_can_be_said(tmp_path: Path) -> None:
    facts = run(tmp_path, opinions([0.5, 0.5, 0.5], [1, 0, 1], n=10), "dedpo", "dedpo_tuned")
    assert facts["dedpo_tuned"]["n_eff"] is None
    assert "What the labels are worth cannot be said" in facts["dedpo_tuned"]["explanation"]
    assert _has(facts["dedpo"], "the accuracy is unknown")
