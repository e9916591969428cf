"""What a finished run says of itself: metrics.json, the model card, and what a person should know before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dedpo.contract.records.training import Training
from dedpo.errors import UserError
from dedpo.outputs.manifest import input_hashes, write_json, write_text
from dedpo.train.card import model_card
from dedpo.train.diagnostics import outside_unit_interval
from dedpo.train.reading import read_targets
from dedpo.vision import adapter_files

if TYPE_CHECKING:
    from dedpo.train.cache import Cache
    from dedpo.train.loop import Trainer
    from dedpo.train.session import Outcome


def notes(cache: Cache, pipeline: Any) -> list[str]:
    """What a person should know of the squares that are trained on, a line each."""
    from dedpo.vision import diffusion

    found, pairs = [], len(cache.row)
    try:
        own = diffusion.side(pipeline, "train.base")
    except UserError:
        own = cache.resolution
    if cache.resolution != own:
        found.append(
            f"train.resolution: {cache.resolution} pixels, and the base model was made for {own}; it is drawn at "
            f"{cache.resolution}, too"
        )
    if cache.enlarged:
        found.append(
            f"{cache.enlarged} of {pairs} pairs have an image smaller than {cache.resolution} pixels: enlarged"
        )
    if cache.cropped:
        found.append(f"{cache.cropped} of {pairs} pairs have an image of which less than half is in the square")
    return found


def write(
    settings: Mapping[str, Any], targets: Path, trainer: Trainer, outcome: Outcome, notes: Sequence[str], partial: Path
) -> Training:
    """Write metrics.json and the model card; return the metrics.

    Args:
        settings: of the run, with its seed.
        targets: one arm's folder.
        notes: from `notes`.
    """
    data, cache = trainer.data, trainer.cache
    counts: Training = {
        "steps": outcome.steps,
        "skipped_steps": trainer.skipped_steps,
        "resolution": cache.resolution,
        "pairs": len(data.pair_ids),
        "held_out_pairs": len(trainer.held_out.pair_ids),
        "pairs_set_aside": len(cache.set_aside),
        "pairs_enlarged": cache.enlarged,
        "pairs_cropped": cache.cropped,
        "prompts_cut_at_token_limit": cache.cut,
        "targets_outside_unit_interval": outside_unit_interval(data.a, data.b),
    }
    if outcome.best_step is not None:
        counts["best_step"] = outcome.best_step
    measured = {name: value for name, value in outcome.measured.items() if name != "step" and value is not None}
    metrics = cast(Training, measured | counts)
    card = model_card(
        settings=settings,
        targets=read_targets(targets),
        metrics=metrics,
        inputs=input_hashes(partial),
        bases=adapter_files.bases(trainer.config.base),
        stopped=outcome.stopped,
        warnings=[*notes, *outcome.warnings, *_skips(trainer, outcome)],
    )
    write_json(partial / "metrics.json", metrics)
    write_text(partial / "README.md", card)
    return metrics


def _skips(trainer: Trainer, outcome: Outcome) -> list[str]:
    count = trainer.skipped_steps
    return [f"{count} of {outcome.steps} steps were skipped: loss or gradient was not finite."] if count else []
