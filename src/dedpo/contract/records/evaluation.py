"""What was sampled, scored and judged."""

from __future__ import annotations

from typing_extensions import TypedDict

from dedpo.contract.records.intervals import Bounded
from dedpo.contract.records.labels import Effort

# summary.json of the samples.
Samples = TypedDict("Samples", {
    "models": list[str], "prompts": int, "seeds": list[int], "pictures": int, "duplicate_prompts_dropped": int,
    "prompts_cut_at_token_limit": int,
})  # fmt: skip


class Sampled(Samples):
    """What sampling returns."""

    drawn: int
    carried_over: int


# summary.json of the scores: model → metric → mean, and what decided each metric's values.
Scores = TypedDict("Scores", {
    "samples": int, "means": dict[str, dict[str, float]], "measured_by": dict[str, dict[str, object]],
})  # fmt: skip


class Scored(Scores):
    """What scoring returns."""

    measured: int
    carried_over: int


# Of `n` verdicts, model_1's; a tie counts half in `win_rate`; `shown_first` among those without a tie.
Shares = TypedDict("Shares", {
    "n": int, "win": Bounded, "tie": Bounded, "loss": Bounded, "win_rate": Bounded, "shown_first": Bounded,
})  # fmt: skip

# Two models, by criterion.
Match = TypedDict("Match", {"model_0": str, "model_1": str, "criteria": dict[str, Shares]})

# What all askings took, in US dollars in the end.
Spent = TypedDict("Spent", {"requests": int, "input_tokens": int, "output_tokens": int, "dollars": float})

# What the verdicts say.
Counts = TypedDict("Counts", {
    "judge": str, "comparisons": int, "answered": int, "prompts": int, "pairs": list[Match],
    "failures": dict[str, int],
})  # fmt: skip


class Verdicts(Counts, Spent):
    """summary.json of the verdicts."""


class Judged(Verdicts, Effort):
    """What judging returns."""

    dollars_this_run: float
