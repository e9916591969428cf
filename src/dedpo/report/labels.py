"""What the labels were worth: from each arm's targets.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from dedpo.contract.records.intervals import Bounded, Counted
from dedpo.contract.records.report import LabelMeans
from dedpo.contract.records.targets import Targets
from dedpo.contract.records.trust import Trust, Trusted
from dedpo.report.reading import Run
from dedpo.report.summary import Estimate

Draws = Mapping[int, Targets]  # by training seed: each draws its own labelled pairs


def worth(targets: Mapping[Run, Targets]) -> dict[str, Draws]:
    """Method → training seed → what its labels were worth."""
    methods = dict.fromkeys(arm for arm, _ in targets)
    return {method: {seed: t for (arm, seed), t in targets.items() if arm == method} for method in methods}


def trusted(found: Trust | None) -> dict[str, Trusted]:
    """Every annotator, and all together where there are several."""
    if found is None:
        return {}
    return {**found["annotators"]} | ({"together": found["together"]} if found["together"] else {})


def place(table: Mapping[str, Draws]) -> str:
    """Where the policy is taken to stand when n_eff is counted, in words."""
    regimes = {w["regime"] for draws in table.values() for w in draws.values() if w["n_eff"] is not None}
    probe = "the residuals of a probe, where a policy stands that has learnt what the human labels teach"
    if regimes == {"probe"}:
        return probe
    reference = "the reference, where training begins"
    return f"{probe}, or without a probe at {reference}" if "probe" in regimes else reference


def share(found: Bounded | None, n: int = 0) -> Estimate | None:
    """A share as a stage wrote it; None without a value."""
    if found is None or found["value"] is None:
        return None
    low, high = (np.nan if bound is None else bound for bound in (found["low"], found["high"]))
    return Estimate(found["value"], low, high, n, "prompts")


def counted(found: Counted | None) -> Estimate | None:
    """The same of `n` cases."""
    return found and share(found, found["n"])


def means(draws: Draws) -> LabelMeans:
    """Means over training seeds, for metrics.json: n_labelled, n, power, n_eff, accuracy; None where none has it."""

    def mean(values: Iterable[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return float(np.mean(known)) if known else None

    return {
        "n_labelled": mean(w["n_labelled"] for w in draws.values()),
        "n": mean(w["n"] for w in draws.values()),
        "power": mean(w["power"] for w in draws.values()),
        "n_eff": mean(w["n_eff"] for w in draws.values()),
        "accuracy": mean(w["accuracy"]["value"] for w in draws.values()),
    }


def warnings(targets: Mapping[Run, Targets]) -> list[str]:
    """Warnings of the targets, each once, with the training seeds that raised it unless all did."""
    seeds: dict[str, set[int]] = {}
    for (_, seed), found in targets.items():
        for text in found["warnings"]:
            seeds.setdefault(text, set()).add(seed)
    every = {seed for _, seed in targets}
    return [
        text if found == every else f"{text} (training seed {', '.join(map(str, sorted(found)))})"
        for text, found in seeds.items()
    ]
