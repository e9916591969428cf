"""metrics.json of a training, and base.json of low-rank adapters: which model they belong to."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

# What a training counted, and what its last step measured: numbers that are not finite are left out.
Training = TypedDict("Training", {
    "steps": int, "skipped_steps": int, "resolution": int, "pairs": int, "held_out_pairs": int, "pairs_set_aside": int,
    "pairs_enlarged": int, "pairs_cropped": int, "prompts_cut_at_token_limit": int,
    "targets_outside_unit_interval": float, "best_step": NotRequired[int], "drift": NotRequired[float],
    "implicit_accuracy": NotRequired[float], "held_out_nll": NotRequired[float],
})  # fmt: skip


class Trained(Training):
    """What training returns: with this process's peaks of memory."""

    peak_rss_mib: float
    peak_cuda_mib: NotRequired[float]


class Base(TypedDict):
    """The base model.

    Attributes:
        base: as train.base named it.
        place: where it lay, as seen from the adapters' folder; None for a model of the hub.
        commit: of the hub's copy, if it is known.
        variant, vae: as in the section 'train'.
        resolution: side of the squares in pixels that the adapters were trained at.
        sha256: part of the model → hash of its settings and weights.
    """

    base: str
    place: str | None
    commit: str | None
    variant: str | None
    vae: str | None
    resolution: int | None
    sha256: dict[str, str]
