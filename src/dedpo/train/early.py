"""When to stop before the last step, and when to warn: a decision on numbers alone.

The debiased loss has no lower bound, so a falling loss proves nothing; held-out human pairs and the logits' size do.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Final

# Steps in a row with too large logits that are no accident of one batch.
PATIENCE: Final = 10
# σ(20) differs from 1 by 2e-9: such a pair has no gradient left, and a wrong one pulls with all its weight.
LARGE_LOGIT: Final = 20.0
# Measurements in a row with a higher held-out NLL.
RISES: Final = 3


def remedy(is_untouched: bool, precision: str) -> str:
    """What to do about steps that were not finite.

    Args:
        is_untouched: no step was good so far, so policy and reference are still the same model.
        precision: of `train.precision`.
    """
    if not is_untouched:
        return "lower train.learning_rate or train.beta, or set train.guard=5"
    half = ", set train.precision=fp32" if precision != "fp32" else ""
    return f"no step was taken, so it is the base model that gives no numbers{half}, or fetch it again"


@dataclass
class Watch:
    """Follows a run's logits and its held-out NLL.

    Attributes:
        early_stop: stop after so many measurements in a row without a lower held-out NLL; None: never.
        max_logit: stop after ten steps in a row with a mean |h| above this; None: never, warn above 20.
        stopped: why training is to stop now, one line; None while it may go on.
        warnings: what a person should know, a line each, each kind once a run.
        best_step: the step after which held-out NLL was lowest; None before the first measurement.
    """

    early_stop: int | None = None
    max_logit: float | None = None
    stopped: str | None = None
    warnings: list[str] = field(default_factory=list)
    best_step: int | None = None
    best_nll: float = math.inf
    last_nll: float = math.inf
    measurements_since: int = 0
    rises: int = 0
    large_steps: int = 0
    has_warned_of_logit: bool = False
    has_warned_of_nll: bool = False
    has_warned_of_skips: bool = False

    def stepped(self, step: int, mean_abs_logit: float) -> None:
        """Take the mean |h| of step number `step` (from 0) into account; NaN counts as not large."""
        if self.max_logit is not None:
            self.large_steps = self.large_steps + 1 if mean_abs_logit > self.max_logit else 0
            if self.large_steps >= PATIENCE:
                self.stopped = (
                    f"stopped after step {step}: mean |h| was above train.max_logit={self.max_logit:g} for {PATIENCE} "
                    f"steps, at last {mean_abs_logit:.1f}"
                )
        elif mean_abs_logit > LARGE_LOGIT and not self.has_warned_of_logit:
            self.has_warned_of_logit = True
            self.warnings.append(
                f"step {step}: mean |h| is {mean_abs_logit:.1f}, above {LARGE_LOGIT:.0f}: the loss may fall without "
                "end; see held_out_nll, and set train.guard=5 or train.max_logit"
            )

    def skipped(self, step: int) -> None:
        """Step number `step` changed nothing: its loss or gradient was not finite."""
        if not self.has_warned_of_skips:
            self.has_warned_of_skips = True
            self.warnings.append(
                f"step {step}: its loss or gradient is not finite, so it was skipped; skipped_steps in metrics.json "
                "counts them"
            )

    def measured(self, step: int, held_out_nll: float) -> bool:
        """Take the held-out NLL after step number `step` into account; NaN counts as worse than any number.

        Returns:
            whether it is the lowest so far.
        """
        is_best = held_out_nll < self.best_nll
        self.rises = 0 if held_out_nll <= self.last_nll else self.rises + 1
        self.last_nll = held_out_nll if math.isfinite(held_out_nll) else self.last_nll
        if is_best:
            self.best_step, self.best_nll, self.measurements_since = step, held_out_nll, 0
        else:
            self.measurements_since += 1
        if self.early_stop is not None and self.measurements_since >= self.early_stop:
            self.stopped = (
                f"stopped after step {step}: held-out NLL has not been below {self.best_nll:.4f} (step "
                f"{self.best_step}) in {self.measurements_since} measurements; train.early_stop={self.early_stop}"
            )
        elif self.rises >= RISES and not self.has_warned_of_nll:
            self.has_warned_of_nll = True
            self.warnings.append(
                f"step {step}: held-out NLL has risen {RISES} times in a row, to {held_out_nll:.4f} (least: "
                f"{self.best_nll:.4f} at step {self.best_step}); train.early_stop={RISES} would keep the best weights"
            )
        return is_best

    def state(self) -> dict[str, Any]:
        """What a resumed run needs; its settings are its own."""
        return {k: v for k, v in asdict(self).items() if k not in ("early_stop", "max_logit")}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        for name in self.state():
            setattr(self, name, state[name])
