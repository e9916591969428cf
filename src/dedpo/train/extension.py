"""A finished run that goes on: its last checkpoint stays beside the policy, for the same run with more steps.

`.<policy>.dedpo.last` holds what the run's partial folder held at its last step, and what it was asked for. It lies
beside the policy and not in it, so that no policy is three times as large, and under a name that Git and DVC ignore.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dedpo import disk
from dedpo.contract.sections import TrainConfig
from dedpo.errors import UserError
from dedpo.outputs import ownership
from dedpo.outputs.origin import hub_commits, read_json
from dedpo.outputs.ownership import REQUEST
from dedpo.terminal import note
from dedpo.train import checkpoint
from dedpo.train.record import METRICS
from dedpo.train.trackers import IDS
from dedpo.vision import step_files

# What the hub had when the run ended: a name there may mean another model by now.
_HUB: Final = ".hub.json"
# What a run that goes on finds of itself; DVCLive's files are written anew from the measurements.
_KEPT: Final = (METRICS, checkpoint.BEST, "validation", step_files.STEPS, "tensorboard", "wandb", IDS)
_BY_LENGTH: Final = ("linear", "cosine")


def take_up(out: Path, partial: Path, config: TrainConfig, objective: str, models: Mapping[str, str]) -> None:
    """Let a run that begins in `partial` go on from the end of a shorter one, if it differs in nothing but its length.

    Args:
        objective: of the targets.
        models: name → id, of those that come from the hub.

    Raises:
        UserError: where the last checkpoint would lie, something lies that no training left.
    """
    last = ownership.last_of(out)
    ownership.check_partial(last, "train")
    former, now = read_json(last / REQUEST), read_json(partial / REQUEST)
    is_new = checkpoint.newest(partial) is None
    if not is_new or not _is_longer(former, now) or read_json(last / _HUB) != hub_commits(models):
        return
    steps = former["config"]["steps"]
    if reason := _another_run(config, objective):
        note(f"{out}: {reason}, so a run of {config.steps} steps is another one than that of {steps}: it begins anew")
    elif weights := _readable(last):
        _copy(last, partial, weights)
        note(f"{out}: the run of {steps} steps that lies there goes on to {config.steps}")


def keep(out: Path, partial: Path, config: TrainConfig, objective: str, models: Mapping[str, str]) -> None:
    """Keep what a longer run will need of the finished one in `partial`, in place of what was kept before.

    A disk that is full costs a warning and not the policy.
    """
    last = ownership.last_of(out)
    made, weights = ownership.partial_of(last), checkpoint.newest(partial)
    try:
        for old in (made, last):
            if old.exists():
                ownership.remove(old, last)
        if not config.keep_last or weights is None:
            return
        made.mkdir()
        shutil.copy2(partial / REQUEST, made / REQUEST)
        disk.write_text(made / _HUB, json.dumps(hub_commits(models)))
        # Of a run that cannot go on, what it was is enough to say so.
        if not _another_run(config, objective):
            _copy(partial, made, weights)
        made.replace(last)
        disk.sync(last.parent)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        note(f"warning: {last}: cannot be kept ({error.strerror}); a run of more steps will begin anew")


def _is_longer(former: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two requests are the same but for the second one's larger number of steps."""
    try:
        is_more = now["config"]["steps"] > former["config"]["steps"]
    except (KeyError, TypeError):
        return False
    return bool(is_more) and _without_steps(former) == _without_steps(now)


def _without_steps(request: Mapping[str, Any]) -> dict[str, Any]:
    return {**request, "config": {k: v for k, v in request["config"].items() if k != "steps"}}


def _another_run(config: TrainConfig, objective: str) -> str | None:
    """Why the first steps of a longer run would be others; None: they are the same."""
    if config.schedule in _BY_LENGTH:
        return f"train.schedule {config.schedule}: the learning rate depends on the last step"
    if isinstance(config.snapshots, int) and config.snapshots:
        return "train.snapshots is a number, so they lie at other steps"
    if objective == "self_training_split":
        return "its annotator trains as many steps, so it depends on their number"
    return None


def _readable(last: Path) -> Path | None:
    """The kept checkpoint; None, with a warning if it is damaged, where there is none to go on from."""
    try:
        checkpoint.latest(last)
    except UserError as error:
        note(f"warning: {error}")
        return None
    return checkpoint.newest(last)


def _copy(source: Path, target: Path, weights: Path) -> None:
    """Bring over what a run needs of itself, its last checkpoint `weights` at the end: without it nothing is taken up.

    Weights are linked where that can be done, for they are replaced and never changed; what is written to is copied.
    """
    for path in [path for pattern in _KEPT for path in source.glob(pattern)]:
        if path.is_dir():
            # What a killed attempt has left: there is no checkpoint yet that knows of it.
            shutil.rmtree(target / path.name, ignore_errors=True)
            shutil.copytree(path, target / path.name, copy_function=_copy_file)
        else:
            _link(path, target / path.name)
    _link(weights, target / weights.name)
    disk.sync(target)


def _link(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    _copy_file(source, temporary)
    disk.replace(temporary, target)


def _copy_file(source: str | Path, target: str | Path) -> None:
    if Path(source).suffix in (".pt", ".safetensors"):
        try:
            os.link(source, target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copy2(source, target)
