from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dedpo.report.answer import Answer, answer, bounds, number
from dedpo.report.frontier import Frontier
from dedpo.report.summary import Estimate


def gap(mean: float, half: float, over: str = "seeds") -> Estimate:
    return Estimate(mean, mean - half, mean + half, 5, over)  # type: ignore[arg-type]


def ask(against: dict[str, Estimate], **means: float) -> Answer:
    own = {"dedpo": 1.0} | means
    return answer("dedpo", "taste", against, {m: gap(v, 0.1) for m, v in own.items()})


def test_better_than_both() -> None:
    found = ask({"dpo_synthetic": gap(0.3, 0.1), "dpo_human": gap(0.2, 0.1)})
    assert found.verdict == "better"
    assert found.headline == (
        "DeDPO beats DPO + synthetic by 0.300 (95 % interval +0.200 to +0.400) and "
        "beats DPO human by 0.200 (95 % interval +0.100 to +0.300) on taste."
    )
    assert found.notes == []


def test_an_interval_that_holds_zero_is_no_win() -> None:
    found = ask({"dpo_synthetic": gap(0.3, 0.4), "dpo_human": gap(-0.1, 0.4)})
    assert found.verdict == "unclear"
    assert found.headline.startswith("DeDPO cannot be told apart from DPO + synthetic (+0.300, 95 %")
    assert "or from DPO human (−0.100" in found.headline
    assert "beats" not in found.headline


def test_worse_is_said() -> None:
    found = ask({"dpo_synthetic": gap(-0.3, 0.1), "dpo_human": gap(-0.3, 0.1)}, dpo_human=1.3)
    assert found.verdict == "worse"
    assert "falls behind DPO + synthetic by 0.300 (95 % interval −0.400 to −0.200)" in found.headline
    assert found.notes == [
        "DPO human has the highest taste (1.300): DeDPO minus DPO human is −0.300 (95 % interval −0.400 to −0.200)."
    ]


def test_better_than_one_and_worse_than_another_is_mixed() -> None:
    assert ask({"dpo_synthetic": gap(0.3, 0.1), "dpo_human": gap(-0.3, 0.1)}).verdict == "mixed"
    assert ask({"dpo_synthetic": gap(0.3, 0.1), "dpo_human": gap(0.0, 0.1)}).verdict == "unclear"


def test_another_arm_that_leads_within_the_interval_is_named() -> None:
    found = ask({"dpo_synthetic": gap(0.3, 0.1), "dpo_human": gap(0.3, 0.1), "sft": gap(-0.1, 0.2)}, sft=1.1)
    assert found.notes == [
        "SFT has the highest taste (1.100): DeDPO minus SFT is −0.100 (95 % interval −0.300 to +0.100), so the two "
        "cannot be ranked."
    ]


def test_over_prompts_only_is_said() -> None:
    rivals = {"dpo_synthetic": gap(0.3, 0.1, "prompts"), "dpo_human": gap(0.3, 0.1, "prompts")}
    assert "over prompts only" in ask(rivals).notes[0]
    assert "Some methods" in ask(rivals | {"dpo_human": gap(0.3, 0.1)}).notes[0]


def test_no_gain_over_the_reference_is_said() -> None:
    found = ask({"dpo_synthetic": gap(0.3, 0.1), "dpo_human": gap(0.3, 0.1), "reference": gap(0.0, 0.1)})
    assert "not shown to be better than the untouched reference" in found.notes[0]


@pytest.mark.parametrize(
    ("mean", "verdict", "said"),
    [(0.3, "better", "beats"), (-0.3, "worse", "falls behind"), (0.05, "unclear", "cannot be told apart from")],
)
def test_one_arm_alone_is_answered_against_the_reference(mean: float, verdict: str, said: str) -> None:
    found = ask({"reference": gap(mean, 0.1)}, reference=0.5)
    assert found.verdict == verdict
    assert found.headline.startswith(f"DeDPO {said} ")
    assert "untouched reference alone: DPO + synthetic and DPO human were not trained" in found.notes[0]


def test_without_rivals_or_intervals() -> None:
    assert ask({"sft": gap(1, 0.1)}).headline.startswith("No comparison can be made")
    lone = Estimate(0.2, np.nan, np.nan, 1, "prompts")
    assert "is 0.200 above DPO human (too little data for an interval)" in ask({"dpo_human": lone}).headline


@pytest.mark.parametrize(
    ("value", "text"), [(-0.1234, "−0.123"), (12.34, "12.3"), (12345.6, "12,346"), (np.nan, "–"), (np.inf, "–")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
    assert bounds(Estimate(0, value, value, 1, "seeds")) == (f"{text} to {text}" if text != "–" else "no interval")


def fair(**gaps: tuple[float, float]) -> Frontier:
    """Arm → the primary minus it (at its best, at equal drift), each ± 0.1."""
    return Frontier(
        curves={},
        best={"dedpo": 200, **dict.fromkeys(gaps, 80)},
        drift=0.0124,
        at_best={arm: gap(best, 0.1) for arm, (best, _) in gaps.items()},
        at_drift={arm: gap(level, 0.1) for arm, (_, level) in gaps.items()},
    )


@pytest.mark.parametrize(
    ("same", "best", "verdict"),
    [
        (0.3, 0.2, "better"),
        (0.3, 0.05, "unclear"),
        (0.3, -0.2, "mixed"),
        (0.05, 0.3, "unclear"),
        (-0.3, -0.2, "worse"),
        (-0.3, 0.2, "mixed"),
    ],
)
def test_better_only_if_it_holds_at_each_ones_best_step_as_well(same: float, best: float, verdict: str) -> None:
    against = {"dpo_synthetic": gap(same, 0.1), "dpo_human": gap(same, 0.1)}
    means = {"dedpo": gap(1, 0.1)}
    found = answer("dedpo", "taste", against, means, fair(dpo_synthetic=(best, 0.1), dpo_human=(best, 0.1)))
    assert found.verdict == verdict
    assert "DeDPO 200, DPO + synthetic 80, DPO human 80" in found.fair[0]
    assert "drift 0.0124" in found.fair[1]
    # A rival that cannot be compared so is named, and leaves it open.
    alone = answer("dedpo", "taste", against, means, fair(dpo_human=(best, 0.1)))
    assert alone.verdict == "unclear"
    assert alone.fair[0].startswith("Not known against DPO + synthetic")


def test_all_human_labels_are_a_ceiling_with_a_signed_gap() -> None:
    found = ask({"dpo_human": gap(0.3, 0.1), "dpo_all_human": gap(-0.07, 0.02)}, dpo_all_human=1.1)
    (note,) = found.notes
    assert note.startswith(
        "DPO all-human sees every human label and is a ceiling, not a rival: DeDPO minus it is −0.070"
    )
    assert found.verdict == "better"


def test_without_validation_prompts_equal_drift_must_agree() -> None:
    level = replace(fair(dpo_human=(0, -0.2)), at_best={}, best={})
    found = answer("dedpo", "taste", {"dpo_human": gap(0.3, 0.1)}, {"dedpo": gap(1, 0.1)}, level)
    assert found.verdict == "mixed"
