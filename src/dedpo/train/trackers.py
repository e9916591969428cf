"""Measurements also go to TensorBoard, Weights & Biases, MLflow or DVCLive, through accelerate's trackers.

`metrics.jsonl` is the record and a tracker its copy: one that fails while training goes on is let go with a warning.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from accelerate.tracking import (
    DVCLiveTracker,
    GeneralTracker,
    MLflowTracker,
    TensorBoardTracker,
    WandBTracker,
)

from dedpo import redact
from dedpo.errors import UserError, excerpt
from dedpo.outputs.manifest import write_json
from dedpo.terminal import note

PROJECT: Final = "dedpo"
# The services' names for this run, so that a resumed one goes on with it; removed when the run is finished.
IDS: Final = ".trackers.json"


class Trackers:
    """The trackers of one run; made on the main process alone, after accelerate's state."""

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        run: str,
        settings: Mapping[str, Any],
        rows: Sequence[Mapping[str, float | None]],
    ) -> None:
        """
        Args:
            names: of `train.trackers`.
            folder: where those that write files put them, each in a folder of its name.
            run: the run's name in the services; the project is 'dedpo'.
            settings: shown beside the curves.
            rows: measurements that an interrupted run has already logged, a step each; empty for a new run.

        Raises:
            UserError: a tracker's package is missing, or it cannot be started.
        """
        check(names)
        self._trackers: list[GeneralTracker] = []
        ids = _ids(folder) if names else {}
        for name in names:
            try:
                tracker = _make(name, folder, run, ids, len(rows))
                tracker.start()
                _describe(tracker, redact.values(settings))
            except Exception as error:
                # Each service has its own exceptions: no login, no server, no disk.
                raise UserError(
                    f"train.trackers: {name} cannot be started ({_line(error)}); put that right or take it out of the "
                    "list (wandb: 'wandb login' or WANDB_MODE=offline; mlflow: MLFLOW_TRACKING_URI)"
                ) from None
            self._trackers.append(tracker)
            if name == "dvclive":
                # Its files do not know a second start: steps after the last checkpoint would stand in them twice.
                for row in rows:
                    tracker.log(_numbers(row), step=int(row["step"] or 0))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the finite ones of the values that belong to step number `step` (from 0)."""
        numbers = _numbers(values)
        self._each("logging", lambda tracker: tracker.log(numbers, step=step))

    def close(self) -> None:
        """Send what is left and end the run there."""
        self._each("closing", lambda tracker: tracker.finish())
        self._trackers = []

    def _each(self, what: str, act: Callable[[GeneralTracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                act(tracker)
            except Exception as error:
                self._trackers.remove(tracker)
                note(
                    f"warning: train.trackers: {what} to {tracker.name} failed ({_line(error)}); training goes on "
                    "without it, metrics.jsonl has everything"
                )


def check(names: Sequence[str]) -> None:
    """Refuse trackers whose package is missing, before any time is spent.

    Raises:
        UserError: it names the extra to install.
    """
    for name in names:
        if find_spec(name) is None:
            raise UserError(
                f"train.trackers: the package of '{name}' is not installed; pip install 'dedpo[trackers]' or take it "
                "out of the list"
            )


def _make(name: str, folder: Path, run: str, ids: Mapping[str, str], done: int) -> GeneralTracker:
    if name == "tensorboard":
        # Steps after the last checkpoint come again: TensorBoard hides the first ones.
        return TensorBoardTracker(run, folder / "tensorboard", purge_step=done)
    if name == "dvclive":
        return DVCLiveTracker(dir=str(folder / "dvclive"), save_dvc_exp=False, dvcyaml=None)
    if name == "wandb":
        place = folder / "wandb"
        place.mkdir(exist_ok=True)
        return WandBTracker(PROJECT, name=run, id=ids["wandb"], resume="allow", dir=str(place))
    assert name == "mlflow", name
    return MLflowTracker(PROJECT, run_name=run, tags={"dedpo.run": ids["mlflow"]}, run_id=_mlflow_run(ids["mlflow"]))


def _mlflow_run(tag: str) -> str | None:
    """The service's id of the run that an interrupted start opened; None if there is none."""
    import mlflow

    found = mlflow.search_runs(
        experiment_names=[PROJECT], filter_string=f"tags.`dedpo.run` = '{tag}'", output_format="list", max_results=1
    )
    return str(found[0].info.run_id) if found else None


def _describe(tracker: GeneralTracker, settings: Mapping[str, Any]) -> None:
    if tracker.name == "tensorboard":
        # Its hyperparameters' plugin opens another run for each start.
        tracker.tracker.add_text("settings", f"```json\n{json.dumps(settings, indent=2, default=str)}\n```")
    else:
        tracker.store_init_configuration(dict(settings))


def _ids(folder: Path) -> dict[str, str]:
    path = folder / IDS
    if not path.is_file():
        write_json(path, {name: uuid.uuid4().hex for name in ("wandb", "mlflow")})
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {k: v for k, v in values.items() if k != "step" and v is not None and math.isfinite(v)}


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {excerpt(str(error), 200)}"
