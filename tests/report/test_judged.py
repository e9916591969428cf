from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dedpo.report.judged import Judged, judged, sentence
from dedpo.report.summary import Estimate, Grid

PROMPTS = [f"p{i:02}" for i in range(40)]


def grid(gaps: list[float]) -> Grid:
    """The primary arm's score minus the rival's, prompt by prompt, at sampling seed 7."""
    mine = np.array(gaps)[None, :, None]
    return Grid([0], PROMPTS[: len(gaps)], [7], {"taste": {"dedpo": mine, "sft": 0 * mine, "reference": 0 * mine}})


def verdict(
    prompt: str, winner: str | None, *, rival: str = "sft-0", flipped: bool = False, **other: Any
) -> dict[str, Any]:
    models = ("dedpo-0", rival) if flipped else (rival, "dedpo-0")
    named = {"judge": "j", "model_0": models[0], "model_1": models[1], "prompt_id": prompt, "seed": 7}
    return named | {"criterion": "general_preference", "winner": winner} | other


def found(gaps: list[float], rows: list[dict[str, Any]]) -> Judged:
    result = judged("dedpo", "taste", rows, grid(gaps))
    assert result is not None
    return result


def rate(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 9, "prompts")


def test_shares_are_the_primary_arms_whichever_model_it_is() -> None:
    rows = [verdict("p00", "1"), verdict("p01", "0", flipped=True), verdict("p02", "tie"), verdict("p03", "0")]
    shares = found([1] * 5, [*rows, verdict("p04", None)])
    own = shares.rivals["sft"]["general_preference"]
    assert (own.win.mean, own.tie.mean, own.loss.mean, own.rate.mean, own.rate.n) == (0.5, 0.25, 0.25, 0.625, 4)
    assert shares.failed == 1


def test_agreement_is_counted_where_both_name_a_winner() -> None:
    rows = [verdict("p00", "1"), verdict("p01", "1"), verdict("p02", "tie"), verdict("p03", "1"), verdict("p04", "0")]
    result = found([1.0, -1.0, 1.0, 0.0, -2.0], rows)
    assert result.agreement is not None
    assert result.agreement.mean == pytest.approx(2 / 3)
    assert result.decided == 3


def test_what_was_not_scored_cannot_agree() -> None:
    rows = [
        verdict("unknown", "1"),
        verdict("p00", "1", seed=8),
        verdict("p00", "1", rival="other-0"),
        verdict("p01", "1"),
    ]
    result = found([1.0, np.nan], rows)
    assert (result.agreement, result.decided) == (None, 0)
    assert "in no comparison do both name a winner" in sentence(result, "dedpo", "taste", {})


def test_other_models_are_no_verdicts_on_the_primary_arm() -> None:
    rows = [verdict("p00", "1") | {"model_1": m} for m in ("sft-1", "my model", "<script>")]
    assert judged("dedpo", "taste", rows, grid([1.0])) is None
    assert judged("dedpo", "taste", [], grid([1.0])) is None


@pytest.mark.parametrize(
    ("wins", "lead"),
    [
        (40, "Judge and metric agree: of 40 comparisons"),
        (20, "It is not shown that judge and metric agree: "),
        (0, "Judge and metric contradict each other: "),
    ],
)
def test_the_sentence_is_as_strong_as_the_interval(wins: int, lead: str) -> None:
    rows = [verdict(p, "1" if i < wins else "0") for i, p in enumerate(PROMPTS)]
    assert sentence(found([1.0] * 40, rows), "dedpo", "taste", {}).startswith(lead)


@pytest.mark.parametrize(
    ("metric", "winner", "said"),
    [
        (rate(0.6, 0.8), "1", "DeDPO: both see it ahead of SFT."),
        (rate(0.1, 0.4), "0", "DeDPO: both see it behind SFT."),
        (rate(0.4, 0.6), "tie", "DeDPO: neither tells it from SFT."),
        (rate(0.6, 0.8), "0", "DeDPO: against SFT the metric sees it ahead, the judge sees it behind."),
        (rate(0.4, 0.8), "1", "DeDPO: against SFT the metric cannot tell, the judge sees it ahead."),
    ],
)
def test_rival_by_rival(metric: Estimate, winner: str, said: str) -> None:
    rows = [verdict(p, winner) for p in PROMPTS]
    assert sentence(found([1.0] * 40, rows), "dedpo", "taste", {"sft": metric}).endswith(said)


def test_rivals_of_one_opinion_share_a_clause() -> None:
    rows = [verdict(p, "1", rival=r) for p in PROMPTS for r in ("sft-0", "reference")]
    said = sentence(found([1.0] * 40, rows), "dedpo", "taste", dict.fromkeys(("sft", "reference"), rate(0.6, 0.8)))
    assert said.endswith("DeDPO: both see it ahead of Reference and SFT.")
