"""trust.json: what each annotator's labels are worth, alone and together, on the human-labelled part."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from dedpo.contract.records.intervals import Bounded, Counted
from dedpo.contract.records.targets import Bounds

# What asking showed, on every pair with an answer. `first`: how often the picture shown first is chosen, ½ without a
# lean; `requests`: for a label.
Asking = TypedDict("Asking", {
    "answered": int, "consistency": Counted, "first": Bounded, "mass": float | None, "requests": float | None,
})  # fmt: skip

# On the labelled pairs with an answer: agreement without ties, the expected calibration error as given and
# recalibrated, λ̂ and effective labels. Of one annotator alone: what asking showed, and effective labels of the others
# without it, and of itself if each pair were asked in one order.
Trusted = TypedDict("Trusted", {
    "agreement": Counted, "calibration_error": float | None, "recalibrated_error": float | None, "power": float,
    "n_eff": float | None, "n_eff_interval": Bounds, "asking": Asking | None, "n_eff_without": float | None,
    "n_eff_one_order": float | None,
})  # fmt: skip

# The annotators by name, and together if there are several; `ess`: what the labelled pairs are worth without them.
Trust = TypedDict("Trust", {
    "regime": Literal["probe", "reference"], "n": int, "n_labelled": int, "ess": float,
    "annotators": dict[str, Trusted], "together": Trusted | None,
})  # fmt: skip
