"""What the trainings measured: a number at the end of each, and curves on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from dedpo.contract.records.training import Training
from dedpo.report.methods import REFERENCE, Method
from dedpo.report.reading import Logged, Run, finite
from dedpo.report.summary import Estimate
from dedpo.stats.intervals import student

# Measure → how a table's head or a chart's caption calls it.
MEASURES: Final[dict[Literal["drift", "implicit_accuracy", "held_out_nll"], str]] = {
    "drift": "drift",
    "implicit_accuracy": "implicit accuracy",
    "held_out_nll": "held-out NLL",
}
CURVES: Final = {
    "loss": "Loss",
    "mean_abs_logit": "Mean |h| of a batch",
    "held_out_nll": "Held-out NLL, nats a pair",
    "implicit_accuracy": "Implicit accuracy on held-out pairs",
}
CURVE_POINTS: Final = 60
_NOTES: Final[dict[Literal["skipped_steps", "pairs_enlarged", "pairs_cropped"], str]] = {
    "skipped_steps": "{skipped_steps} of {steps} training steps were not finite and were skipped",
    "pairs_enlarged": "{pairs_enlarged} pairs have an image that was enlarged",
    "pairs_cropped": "{pairs_cropped} pairs have an image of which less than half was trained on",
}


class Line(NamedTuple):
    """One method's curve."""

    method: Method
    steps: list[float]
    values: list[float]


def measures(method: str, policies: Mapping[Run, Training]) -> dict[str, Estimate]:
    """Measure → mean over the method's training seeds, with Student's t interval from two seeds up."""
    if method == REFERENCE:
        return {"drift": Estimate(0.0, np.nan, np.nan, 0, "seeds")}
    found: dict[str, Estimate] = {}
    for measure in MEASURES:
        runs = [metrics.get(measure) for (arm, _), metrics in policies.items() if arm == method]
        values = [value for value in runs if value is not None]
        if values:
            found[measure] = Estimate(*student(np.array(values)), len(values), "seeds")
    return found


def warnings(policies: Mapping[Run, Training]) -> list[str]:
    """What went wrong on the way, or was trained on squares that are not the images, a line a training."""
    found = []
    for (arm, seed), metrics in sorted(policies.items()):
        told = [note.format(**metrics) for key, note in _NOTES.items() if metrics[key]]
        if told:
            found.append(f"{arm}, seed {seed}: {'; '.join(told)}")
    return found


def steps(policies: Mapping[Run, Training]) -> dict[str, int]:
    """Arm → after how many steps its policy's weights were saved."""
    found: dict[str, int] = {}
    for (arm, _), metrics in policies.items():
        taken = metrics["best_step"] + 1 if "best_step" in metrics else metrics["steps"]
        found[arm] = max(found.get(arm, 0), taken)
    return found


def drifts(logs: Mapping[Run, list[Logged]], policies: Mapping[Run, Training]) -> dict[Run, dict[int, float]]:
    """Arm and training seed → steps taken → ‖θ−θ_ref‖ / ‖θ_ref‖, where it was measured; at `steps` the policy's own."""
    found = {
        run: {
            int(step) + 1: drift
            for row in log
            if (step := finite(row.get("step"))) is not None and (drift := finite(row.get("drift"))) is not None
        }
        for run, log in logs.items()
    }
    last = steps(policies)
    for (arm, seed), metrics in policies.items():
        if "drift" in metrics:
            found.setdefault((arm, seed), {})[last[arm]] = metrics["drift"]
    return found


def curves(methods: Sequence[Method], logs: Mapping[Run, list[Logged]]) -> dict[str, list[Line]]:
    """Measure → a line for each method that logged it."""
    drawn = {key: [line for m in methods if (line := _line(key, m, logs))] for key in CURVES}
    return {key: lines for key, lines in drawn.items() if lines}


def table(logs: Mapping[Run, list[Logged]]) -> str:
    """CSV of every step's loss, a row an arm, seed and step: for `dvc plots`."""
    rows = [
        f"{arm},{seed},{row.get('step')},{row.get('loss')}"
        for (arm, seed), log in sorted(logs.items())
        for row in log
        if finite(row.get("loss")) is not None
    ]
    return "\n".join(["arm,seed,step,loss", *rows, ""])


def _line(key: str, method: Method, logs: Mapping[Run, list[Logged]]) -> Line | None:
    points = [
        (step, value)
        for (arm, _), log in logs.items()
        if arm == method.name
        for row in log
        if (step := finite(row.get("step"))) is not None and (value := finite(row.get(key))) is not None
    ]
    return Line(method, *_binned(points)) if points else None


def _binned(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Mean over training seeds and over neighbouring steps, so that no curve has more than CURVE_POINTS points."""
    steps, values = (np.array(v) for v in zip(*points, strict=True))
    places = np.unique(steps)
    if len(places) > CURVE_POINTS:
        edges = np.linspace(places[0], places[-1], CURVE_POINTS + 1)
        group = np.clip(np.searchsorted(edges, steps, side="right") - 1, 0, CURVE_POINTS - 1)
    else:
        group = np.searchsorted(places, steps)
    kept = np.unique(group)
    return [float(steps[group == g].mean()) for g in kept], [float(values[group == g].mean()) for g in kept]
