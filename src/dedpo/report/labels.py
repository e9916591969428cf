"""What the labels were worth: from each arm's targets.json, whose pieces may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dedpo.report.reading import Json, Run, finite
from dedpo.report.summary import Estimate


class Worth(NamedTuple):
    """What one arm knew in one draw of the labelled pairs; None where it was not written.

    Attributes:
        n_eff: effective human labels in `regime`, 'probe' or 'reference'.
        accuracy: share of labelled pairs where the annotator sides with the human; n is their number.
    """

    seed: int
    annotator: str | None
    n_labelled: float | None
    n: float | None
    power: float | None
    n_eff: float | None
    regime: str | None
    accuracy: Estimate | None


def worth(targets: Mapping[Run, Json]) -> dict[str, dict[int, Worth]]:
    """Method → training seed → what its labels were worth."""
    table: dict[str, dict[int, Worth]] = {}
    for (arm, seed), found in targets.items():
        annotator = found.get("annotator")
        table.setdefault(arm, {})[seed] = Worth(
            seed=seed,
            annotator=str(annotator) if annotator is not None else None,
            n_labelled=finite(found.get("n_labelled")),
            n=finite(found.get("n")),
            power=finite(found.get("power")),
            n_eff=finite(found.get("n_eff")),
            regime=str(found["regime"]) if "regime" in found else None,
            accuracy=written(found.get("accuracy")),
        )
    return table


def place(table: Mapping[str, Mapping[int, Worth]]) -> str:
    """Where the policy is taken to stand when n_eff is counted, in words."""
    regimes = {w.regime for draws in table.values() for w in draws.values() if w.n_eff is not None}
    probe = "the residuals of a probe, where a policy stands that has learnt what the human labels teach"
    if regimes == {"probe"}:
        return probe
    reference = "the reference, where training begins"
    return f"{probe}, or without a probe at {reference}" if "probe" in regimes else reference


def written(found: object) -> Estimate | None:
    """A share as a stage wrote it, {value, low, high, n}; None if it is anything else."""
    if not isinstance(found, dict) or (value := finite(found.get("value"))) is None:
        return None
    low, high, n = (finite(found.get(k)) for k in ("low", "high", "n"))
    return Estimate(value, np.nan if low is None else low, np.nan if high is None else high, int(n or 0), "prompts")


def means(draws: Mapping[int, Worth]) -> dict[str, float | None]:
    """Means over training seeds, for metrics.json: n_labelled, n, power, n_eff, accuracy; None where none has it."""
    columns = {
        "n_labelled": [w.n_labelled for w in draws.values()],
        "n": [w.n for w in draws.values()],
        "power": [w.power for w in draws.values()],
        "n_eff": [w.n_eff for w in draws.values()],
        "accuracy": [w.accuracy.mean if w.accuracy else None for w in draws.values()],
    }
    known = {name: [v for v in values if v is not None] for name, values in columns.items()}
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}


def warnings(targets: Mapping[Run, Json]) -> list[str]:
    """Warnings of the targets, each once, with the training seeds that raised it unless all did."""
    seeds: dict[str, set[int]] = {}
    for (_, seed), found in targets.items():
        texts = found.get("warnings")
        for text in texts if isinstance(texts, list) else []:
            seeds.setdefault(str(text), set()).add(seed)
    every = {seed for _, seed in targets}
    return [
        text if found == every else f"{text} (training seed {', '.join(map(str, sorted(found)))})"
        for text, found in seeds.items()
    ]
