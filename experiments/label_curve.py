"""How many human labels alone reach what few labels with the annotator reach: the curve of dpo_human over labels.

python experiments/label_curve.py --worlds 401 402 403 404 --work .cache/worlds --figure docs/img/label-curve.svg

Worlds of fresh_worlds.py with 50 labels, and in the same worlds human labels alone at more of them. Every arm is taken
at its last step and at its own best one, chosen on validation prompts; intervals are Student's t over worlds.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fresh_worlds import ARMS, PRIMARY, found, place, run

from dedpo.stats.intervals import student

HUMAN, CEILING = "dpo_human", "dpo_all_human"
TAKEN = ("at the last step", "at its best step")


class Level(NamedTuple):
    """An arm's mean reward in each world, shape (worlds,), after its last step and after its best."""

    last: np.ndarray
    best: np.ndarray


def level(folders: list[Path], arms: list[str], arm: str) -> Level:
    """Of one arm, the best step chosen over all worlds by the rule of the report."""
    cells, fair = found(folders, arms)
    assert fair is not None, "every arm was trained with snapshots"
    step = fair.best[arm]
    chosen = cells.get(f"{arm}@{step}", cells[arm])
    return Level(*(values.mean(axis=(1, 2)) for values in (cells[arm], chosen)))


def reached(labels: list[int], rewards: list[float], goal: float) -> float | None:
    """The count of labels at which the curve reaches `goal` first, linear in log labels; None: nowhere on it."""
    logs = np.log(labels)
    for i in range(1, len(labels)):
        low, high = rewards[i - 1], rewards[i]
        if low < goal <= high:
            return float(np.exp(logs[i - 1] + (goal - low) / (high - low) * (logs[i] - logs[i - 1])))
    return None


def effective(folder: Path, world: int) -> dict[str, float]:
    """What `dedpo targets` said that the labels are worth there, by regime."""
    facts = json.loads((folder / "outputs/targets" / str(world) / PRIMARY / "targets.json").read_text())
    return {regime: facts[f"n_eff_{regime}"] for regime in ("reference", "probe")}


def draw(curve: dict[int, Level], lines: dict[str, Level], path: Path) -> None:
    """Reward over labels with intervals, and what other arms reach as lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    from figures import COLOURS
    from matplotlib import pyplot as plt

    colours = {PRIMARY: COLOURS["tuned"], CEILING: COLOURS["synthetic"]}
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 3.1), sharey=True, layout="constrained")
    for i, (axes, title) in enumerate(zip(panels, TAKEN, strict=True)):
        bounds = [student(levels[i]) for levels in curve.values()]
        means = [levels[i].mean() for levels in curve.values()]
        axes.plot(list(curve), means, "o-", color=COLOURS["human_only"], label="human labels alone")
        axes.vlines(
            list(curve), [b.low for b in bounds], [b.high for b in bounds], color=COLOURS["human_only"], alpha=0.5
        )
        for name, levels in lines.items():
            axes.axhline(levels[i].mean(), color=colours[name], label=name)
            bound = student(levels[i])
            axes.axhspan(bound.low, bound.high, color=colours[name], alpha=0.12, linewidth=0)
        axes.set_xscale("log")
        axes.set_xticks(list(curve), [str(n) for n in curve], minor=False)
        axes.minorticks_off()
        axes.set(title=f"Each arm {title}", xlabel="human labels")
    panels[0].set_ylabel("mean reward, test prompts")
    panels[0].legend(frameon=False, loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run what is not there, show the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--labels", type=int, nargs="+", default=[50, 100, 200, 400], help="ascending, the least first")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--figure", type=Path)
    asked = parser.parse_args()
    work, least = asked.work.absolute(), asked.labels[0]
    arms = {n: list(ARMS) if n == least else [HUMAN] for n in asked.labels}
    tasks = [(world, place(work, world, n, arms[n]), n, arms[n]) for n in asked.labels for world in asked.worlds]
    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(lambda task: run(*task), tasks))
    folders = {n: [place(work, world, n, arms[n]) for world in asked.worlds] for n in asked.labels}
    curve = {n: level(folders[n], arms[n], HUMAN) for n in asked.labels}
    lines = {arm: level(folders[least], arms[least], arm) for arm in (PRIMARY, CEILING)}
    print("| arm | labels |", " | ".join(TAKEN), "|\n|---|---|---|---|")
    for name, n, levels in [*((HUMAN, n, c) for n, c in curve.items()), *((a, least, c) for a, c in lines.items())]:
        told = [f"{v.mean():.3f} ({student(v).low:.3f} to {student(v).high:.3f})" for v in levels]
        print(f"| {name} | {'all' if name == CEILING else n} | {' | '.join(told)} |")
    for i, title in enumerate(TAKEN):
        count = reached(list(curve), [levels[i].mean() for levels in curve.values()], lines[PRIMARY][i].mean())
        print(
            f"{PRIMARY} with {least} labels, {title}: as {count:.0f} human labels alone" if count else f"{title}: none"
        )
    worth = [effective(folder, world) for folder, world in zip(folders[least], asked.worlds, strict=True)]
    for regime in worth[0]:
        print(f"n_eff at the {regime}: {np.mean([w[regime] for w in worth]):.0f}")
    if asked.figure:
        draw(curve, lines, asked.figure)


if __name__ == "__main__":
    main()
