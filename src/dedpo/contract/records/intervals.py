"""Numbers with 95 % intervals, as JSON has them: None is what cannot be known, or ∞."""

from __future__ import annotations

from typing_extensions import TypedDict

# A value and its interval.
Bounded = TypedDict("Bounded", {"value": float | None, "low": float | None, "high": float | None})


class Counted(Bounded):
    """With the number of cases that it rests on."""

    n: int


# A mean over `n` training seeds or prompts.
Mean = TypedDict("Mean", {"mean": float | None, "low": float | None, "high": float | None, "n": int})
