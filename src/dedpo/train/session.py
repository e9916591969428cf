"""One training from its last checkpoint to its end: steps, evaluations, strips of pictures, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from dedpo.errors import UserError
from dedpo.terminal import note
from dedpo.train import checkpoint, diagnostics, launch, snapshots
from dedpo.train.early import Watch, remedy
from dedpo.train.loop import Trainer
from dedpo.train.record import Record, recording
from dedpo.train.validation import Validation


@dataclass
class Outcome:
    """How a training ended.

    Attributes:
        measured: with the weights that are to be saved; empty on all but the main process.
        steps: taken.
        best_step: whose weights `weights` are; None: the trainer's own are to be saved.
        weights: as `Networks.weights` gives them, on the main process; None: the trainer's own.
        stopped: why it ended before its last step, if it did.
        warnings: of the run, a line each.
    """

    measured: dict[str, float | None]
    steps: int
    best_step: int | None = None
    weights: dict[str, Tensor] | None = None
    stopped: str | None = None
    warnings: list[str] = field(default_factory=list)


def train(
    trainer: Trainer,
    folder: Path,
    run: str,
    settings: Mapping[str, Any],
    validation: Validation | None = None,
    write_step: snapshots.Write | None = None,
) -> Outcome:
    """Take the steps that are left; every rank must call it at the same time.

    Args:
        folder: where checkpoints and metrics.jsonl lie.
        run: its name in the trackers, where the settings are shown.
        validation: draws at each evaluation.
        write_step: writes the weights of `train.snapshots`; None: they are not kept.

    Raises:
        UserError: training diverged, early stopping has no held-out pairs, or a tracker cannot be started.
        SystemExit: SIGTERM came and a checkpoint has been written; its code is 143.
    """
    config, accelerator = trainer.config, trainer.accelerator
    if config.early_stop and not trainer.held_out.pair_ids:
        raise UserError("train.early_stop: no human-rated pair is held out; raise data.holdout or set it to null")
    watch = Watch(config.early_stop, config.max_logit)
    done, row = _resume(trainer, folder, watch, validation)
    accelerator.wait_for_everyone()
    if validation:
        with trainer.networks.reference() as reference:
            validation.draw_reference(reference, accelerator.autocast(), is_main=accelerator.is_main_process)
    main = recording(folder, config, run, settings, done, row) if accelerator.is_main_process else nullcontext()
    with launch.sigterm() as is_stopping, main as record:
        while done < config.steps and not watch.stopped:
            measured = {"step": done, **trainer.step(done)}
            done += 1
            if write_step and done in config.snapshot_steps:
                snapshots.save(trainer, folder, done, write_step)
            beside, before = _look(trainer, folder, measured, watch, validation)
            if record:
                record.step(measured, beside)
            must_stop = _any(accelerator, is_stopping())
            is_last = done == config.steps or watch.stopped is not None
            if is_last or must_stop or done % config.checkpoint_every == 0:
                _save(trainer, folder, done, watch, before, record)
            if must_stop and not is_last:
                _say(
                    accelerator,
                    f"stopped by SIGTERM after step {done} of {config.steps}; start again to go on from there",
                )
                raise SystemExit(launch.TERMINATED)
    if trainer.skipped_steps >= done:
        raise UserError(
            f"training: none of {done} steps had a finite loss and gradient; {remedy(True, config.precision)}"
        )
    return _outcome(config.early_stop is not None, folder, watch, record, done)


def _resume(
    trainer: Trainer, folder: Path, watch: Watch, validation: Validation | None
) -> tuple[int, Mapping[str, float] | None]:
    """Take up the last checkpoint, if there is one.

    Returns:
        the steps that it knows of, and what the last of them measured, if that was more than is to stand there now.
    """
    if not (state := checkpoint.latest(folder)):
        return 0, None
    done = trainer.restore(state)
    watch.restore(state["watch"])
    if done >= trainer.config.steps or not state["before"]:
        return done, None
    # It was measured and drawn because it was the last step, which it is no more.
    watch.restore(state["before"]["watch"])
    if validation and trainer.accelerator.is_main_process:
        validation.forget(done)
    return done, state["before"]["row"]


def _look(
    trainer: Trainer, folder: Path, measured: dict[str, float], watch: Watch, validation: Validation | None
) -> tuple[dict[str, float], dict[str, Any] | None]:
    """Watch the step, and evaluate if it is time: into `measured`.

    Returns:
        what is for the trackers alone, and, if only the run's end made it time, how things stood before, for a longer
        run to go on from.
    """
    config, accelerator, warned = trainer.config, trainer.accelerator, len(watch.warnings)
    step = int(measured["step"])
    watch.stepped(step, measured["mean_abs_logit"])
    if trainer.bad_steps:
        watch.skipped(step)
    is_due = (step + 1) % config.evaluate_every == 0 or watch.stopped is not None
    is_end = step + 1 == config.steps and not is_due
    before = {"watch": watch.state(), "row": measured.copy()} if is_end else None
    # A snapshot is measured beside the turn: early stopping and its warnings know nothing of it.
    if is_due or is_end or step + 1 in config.snapshot_steps:
        measured |= trainer.evaluate()
    if is_due or is_end:
        if validation:
            with trainer.averaged():
                autocast, is_main = accelerator.autocast(), accelerator.is_main_process
                validation.draw(trainer.policy, step + 1, autocast, is_main=is_main)
        if "held_out_nll" in measured and watch.measured(step, measured["held_out_nll"]) and config.early_stop:
            _keep_best(trainer, folder, step, before)
    for warning in watch.warnings[warned:]:
        _say(accelerator, f"warning: {warning}")
    return (diagnostics.memory() if is_due or is_end else {}), before


def _keep_best(trainer: Trainer, folder: Path, step: int, before: Mapping[str, Any] | None) -> None:
    """The weights that were just measured, for the end; a run that goes on from before them measures them again."""
    former = before["watch"]["best_step"] if before else None
    with trainer.averaged():
        weights = trainer.networks.weights()
        if trainer.accelerator.is_main_process:
            checkpoint.save_best(folder, step, weights, former)
    trainer.accelerator.wait_for_everyone()


def _outcome(keeps_best: bool, folder: Path, watch: Watch, record: Record | None, steps: int) -> Outcome:
    if record is None:
        return Outcome({}, steps)
    outcome = Outcome(record.rows[-1], steps, stopped=watch.stopped, warnings=watch.warnings)
    if keeps_best and watch.best_step is not None:
        outcome.measured, outcome.best_step = record.rows[watch.best_step], watch.best_step
        outcome.weights = checkpoint.best(folder, watch.best_step)
    return outcome


def _any(accelerator: Accelerator, flag: bool) -> bool:
    """Whether any rank says so: all must stop after the same step."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum") > 0)


def _save(
    trainer: Trainer, folder: Path, steps_done: int, watch: Watch, before: dict[str, Any] | None, record: Record | None
) -> None:
    state = trainer.state(steps_done) | {"watch": watch.state(), "before": before}
    if record:
        # What it refers to comes first: a power cut leaves no checkpoint that knows more than there is.
        record.sync()
        for errors in trainer.references.values():
            errors.sync()
        checkpoint.save(folder, steps_done, state, trainer.config.keep_checkpoints)
    # A rank that ended now would take the writing one with it.
    trainer.accelerator.wait_for_everyone()


def _say(accelerator: Accelerator, line: str) -> None:
    if accelerator.is_main_process:
        note(line)
