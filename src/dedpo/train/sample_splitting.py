"""Self-training with an annotator of its own: ĝ from half of the labelled pairs, θ from all others.

`self_training` corrects ĝ with labels that the policy behind it was trained on, which leaves little to correct. The
paper's supplement asks for independent halves: train a policy on one half's human labels, let it annotate all other
pairs, and train again from the base with the other half's labels as the correction. Both trainings take `train.steps`
steps, so that θ has as many as in the other arms. What it costs is that ĝ and θ have half of the labels each.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from dedpo.errors import UserError
from dedpo.outputs.manifest import write_json
from dedpo.rng import generator
from dedpo.train.loop import EVALUATION_SEED, EVALUATION_VISITS, Trainer
from dedpo.train.reading import TrainingSet, rows, without_zeros
from dedpo.train.self_training import fill

# Working files of the run: what the annotator says, and, until it is known, its own checkpoints.
LOGITS: Final = ".annotator.json"
FOLDER: Final = ".annotator"


def annotated(
    data: TrainingSet, partial: Path, seed: int, threshold: float, fit: Callable[[TrainingSet, Path], Trainer]
) -> TrainingSet:
    """The table that the policy is trained on, after its annotator has been; every rank must ask at the same time.

    Args:
        partial: the run's folder, where an interrupted run finds what it had.
        fit: trains the base model on a set, resumably in a folder.

    Raises:
        UserError: the labelled pairs cannot be split.
    """
    first, second = halves(data, seed)
    if not (partial / LOGITS).is_file():
        (partial / FOLDER).mkdir(exist_ok=True)
        trainer = fit(first, partial / FOLDER)
        with trainer.averaged():
            h = trainer.logits(second.pair_ids, range(EVALUATION_VISITS), EVALUATION_SEED)
        if trainer.accelerator.is_main_process:
            write_json(partial / LOGITS, h.tolist())
        trainer.accelerator.wait_for_everyone()
    shutil.rmtree(partial / FOLDER, ignore_errors=True)
    known = json.loads((partial / LOGITS).read_text(encoding="utf-8"))
    return filled(second, torch.tensor(known, dtype=torch.float64), threshold)


def halves(data: TrainingSet, seed: int) -> tuple[TrainingSet, TrainingSet]:
    """Split a 'self_training_split' set into the annotator's pairs and the policy's.

    The first holds a random half of the labelled pairs, rounded down, and human labels alone. The second holds all
    other pairs, with r = n / n_l counted anew and zero rows kept, for `filled`.

    Raises:
        UserError: there are fewer than two labelled pairs, or they were labelled with unequal chances.
    """
    labelled = np.flatnonzero(data.is_labelled)
    if len(labelled) < 2:
        raise UserError(f"arm self_training_split: labelled pairs: {len(labelled)}; it needs one or more in each half")
    if not np.allclose(data.a[labelled], data.a[labelled[0]]):
        raise UserError(
            "arm self_training_split: pairs were labelled with unequal chances; train self_training instead"
        )
    half = generator("half", seed).permutation(labelled)[: len(labelled) // 2]
    first = np.isin(np.arange(len(data.pair_ids)), half)
    rate = data.a[labelled[0]]
    rest = len(data.pair_ids) - len(half)
    annotator = replace(rows(data, first, 1 / rate), objective="preference")
    return annotator, rows(data, ~first, rest / (len(labelled) - len(half)) / rate)


def filled(data: TrainingSet, h: Tensor, threshold: float) -> TrainingSet:
    """The policy's half with the annotator's ĝ = σ(h) filled in: an ordinary table, zero rows gone.

    Args:
        h: the annotator's logits, shape (n,).
    """
    a, b = fill(torch.from_numpy(data.a), torch.from_numpy(data.b), torch.sigmoid(h.double()), threshold)
    return without_zeros(replace(data, a=a.numpy(), b=b.numpy(), objective="preference"))
