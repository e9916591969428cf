"""Train one policy on one table of targets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dedpo.contract.records.training import Trained
from dedpo.contract.sections import TrainConfig
from dedpo.errors import UserError
from dedpo.outputs import origin
from dedpo.outputs.manifest import output_folder
from dedpo.outputs.ownership import partial_of
from dedpo.terminal import note
from dedpo.train import launch
from dedpo.vision.memory import memory_errors

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from dedpo.train.loop import Trainer
    from dedpo.train.reading import TrainingSet
    from dedpo.train.validation import Validation

# World size and micro-batch change nothing beyond round-off, so a run that memory stopped may go on with less.
CHANGEABLE = (
    "checkpoint_every", "gradient_checkpointing", "keep_checkpoints", "keep_last", "micro_batch", "processes",
    "trackers",
)  # fmt: skip


# What no encoding shows: the UNet, and what a policy draws with.
_UNSEEN = ("unet.", "vae.decoder.", "vae.post_quant_conv.")


@dataclass(frozen=True)
class _Job:
    """The arguments of `run`, as each rank gets them."""

    config: TrainConfig
    pairs: Path
    ratings: Path
    splits: Path
    targets: Path
    out: Path
    cache: Path
    seed: int
    max_pixels: int

    @property
    def name(self) -> str:
        """In trackers: the arm, by the convention that its targets lie in a folder of its name, and the seed."""
        return f"{self.targets.name}-{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        return self.config.model_dump() | {"seed": self.seed}

    @property
    def inputs(self) -> dict[str, Path]:
        inputs = {"pairs": self.pairs, "ratings": self.ratings, "splits": self.splits, "targets": self.targets}
        return inputs | origin.split_models(self.models)[0]

    @property
    def models(self) -> dict[str, str | None]:
        return {"base": self.config.base, "vae": self.config.vae}


def run(
    config: TrainConfig,
    *,
    pairs: Path,
    ratings: Path,
    splits: Path,
    targets: Path,
    out: Path,
    cache: Path,
    seed: int,
    max_pixels: int = 40_000_000,
) -> Trained | None:
    """Minimise the targets' loss from the base model and write the policy: a diffusers folder, or LoRA weights.

    Starts a process a rank if there is to be more than one, unless it is itself one of torchrun's. Killed and started
    again, it goes on from its last checkpoint and ends with the same weights.

    Args:
        pairs: shards of the pairs table.
        ratings, splits: tables; the holdout's human ratings measure implicit accuracy and are not trained on.
        targets: one arm's folder (targets.parquet, targets.json).
        cache: folder of encodings and reference errors, shared by runs.
        seed: of the order of pairs and of every draw of (t, ε).
        max_pixels: pairs with a larger image are set aside.

    Returns:
        what metrics.json holds, and the peak of memory; None on torchrun's ranks after the first.

    Raises:
        UserError: an input is missing or does not fit the others, memory ran out, or training diverged.
        SystemExit: SIGTERM came and a checkpoint has been written; its code is 143.
    """
    job = _Job(config, pairs, ratings, splits, targets, out, cache, seed, max_pixels)
    ranks = launch.ranks(config.device, config.processes)
    if config.batch_size % ranks:
        raise UserError(
            f"train.batch_size {config.batch_size}: {ranks} processes cannot share it equally; make it a multiple of "
            f"{ranks}"
        )
    return _work(job) if ranks == 1 or launch.is_rank() else launch.start(ranks, _work, job)


def _work(job: _Job) -> Trained | None:
    """What each rank does."""
    # Heavy imports wait until a training really starts.
    from dedpo.train import diagnostics, policy, reading, results, session
    from dedpo.train.loop import Trainer
    from dedpo.vision import diffusion

    accelerator = _join(job.config)
    at_once = job.config.micro_batch or job.config.batch_size // accelerator.num_processes
    many = memory_errors(f"training: {at_once} pairs a forward pass", launch.MEMORY_REMEDY)
    with _folder(job, accelerator) as partial, many:
        pipeline, cache, validation = _prepare(job, accelerator, partial)
        identity = diffusion.identity(job.config.base, pipeline) if job.config.lora else {}
        notes = results.notes(cache, pipeline)
        if accelerator.is_main_process:
            for line in notes:
                note(f"warning: {line}")
        data = reading.training_set(job.targets, cache.row, cache.set_aside)
        if data.objective == "self_training_split":
            data = _annotated(job, accelerator, pipeline, cache, data, partial)
            pipeline, cache, validation = _prepare(job, accelerator, partial)
        held_out = reading.held_out(job.ratings, job.splits, cache.row)
        trainer = Trainer(job.config, pipeline, cache, data, held_out, job.seed, accelerator)

        def write(weights: dict[str, Tensor], folder: Path, *, on_the_way: bool = True) -> None:
            made = {"resolution": cache.resolution, "identity": identity}
            policy.save(pipeline, weights, job.config, folder, **made, on_the_way=on_the_way)

        outcome = session.train(trainer, partial, job.name, job.settings, validation, write)
        metrics = None
        with trainer.averaged():
            weights = trainer.networks.weights()
            if accelerator.is_main_process:
                weights = outcome.weights or weights
                write(weights, partial, on_the_way=False)
                metrics = results.write(job.settings, job.targets, trainer, outcome, notes, partial)
        accelerator.wait_for_everyone()
    accelerator.end_training()
    return metrics and cast("Trained", metrics | diagnostics.memory())


def _join(config: TrainConfig) -> Accelerator:
    """Meet the other ranks, if there are any.

    Raises:
        UserError: the settings do not fit this machine.
    """
    from datetime import timedelta

    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    from dedpo.vision.device import choose_device

    device = choose_device(config.device)
    if config.precision == "fp16" and (device.type == "cpu" or config.strategy == "fsdp"):
        raise UserError("train.precision fp16: it needs a GPU and train.strategy=ddp; set train.precision=bf16")
    # While one rank encodes a large shard the others wait.
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=12))
    # Without them DDP holds every gradient twice: 10 GB more for SDXL.
    views = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    precision = {"fp32": "no"}.get(config.precision, config.precision)
    return Accelerator(mixed_precision=precision, cpu=device.type == "cpu", kwargs_handlers=[patience, views])


@contextmanager
def _folder(job: _Job, accelerator: Accelerator) -> Iterator[Path]:
    """The run's partial folder, on every rank; the main one opens and finishes it."""
    from dedpo.train import extension, reading

    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        yield partial_of(job.out)
        return
    models = origin.split_models(job.models)[1]
    with output_folder(
        job.out,
        stage="train",
        config=job.settings,
        inputs=job.inputs,
        models=models,
        resumable=True,
        changeable=CHANGEABLE,
        precious="**/.checkpoint-*.pt",
    ) as partial:
        asked = (job.config, reading.read_targets(job.targets)["objective"], models)
        extension.take_up(job.out, partial, *asked)
        accelerator.wait_for_everyone()
        yield partial
        extension.keep(job.out, partial, *asked)


def _prepare(job: _Job, accelerator: Accelerator, partial: Path) -> tuple[Any, Any, Validation | None]:
    """The base model, the encodings of the pairs, and who draws on the way."""
    from dedpo.train.cache import open_or_build
    from dedpo.train.validation import Validation
    from dedpo.vision import diffusion

    config = job.config
    pipeline = diffusion.load(config.base, "train.base", variant=config.variant, vae=config.vae)
    side = config.resolution or diffusion.side(pipeline, f"train.base: {config.base}")
    if broken := [name for name in diffusion.broken_weights(pipeline) if name.startswith(_UNSEEN)]:
        raise UserError(
            f"train.base: {config.base}: {len(broken)} of its weights are not finite, such as {broken[0]}; fetch the "
            "model again"
        )
    pipeline.to(accelerator.device)
    cache = open_or_build(job.cache, job.pairs, pipeline, side, job.max_pixels, flip=config.flip)
    prompts, validation = config.validation_prompts, None
    if prompts:
        validation = Validation(pipeline, prompts, side, partial / "validation")
    # Their work is done, and training needs the room; only pictures on the way need the VAE.
    for name in ("text_encoder", "text_encoder_2", *(() if validation else ("vae",))):
        if (encoder := getattr(pipeline, name, None)) is not None:
            encoder.to("cpu")
    return pipeline, cache, validation


def _annotated(
    job: _Job, accelerator: Accelerator, pipeline: Any, cache: Any, data: TrainingSet, partial: Path
) -> TrainingSet:
    """The set of `self_training_split`, annotated by a policy that `pipeline` is trained to first."""
    from dedpo.train import sample_splitting, session
    from dedpo.train.loop import Trainer
    from dedpo.train.reading import HeldOut

    def fit(first: TrainingSet, folder: Path) -> Trainer:
        quiet = job.config.model_copy(update={"trackers": [], "early_stop": None})
        trainer = Trainer(quiet, pipeline, cache, first, HeldOut([], np.array([])), job.seed, accelerator)
        session.train(trainer, folder, job.name, job.settings)
        return trainer

    filled = sample_splitting.annotated(data, partial, job.seed, job.config.self_training_threshold, fit)
    accelerator.free_memory()
    return filled
