"""Fresh worlds: other pairs, labels, labelled subsets and draws; arms compared fairly over them.

python experiments/fresh_worlds.py --worlds 401 402 403 --work .cache/worlds            # runs and shows
python experiments/fresh_worlds.py --worlds 401 402 403 --work .cache/worlds --labelled 100

Each world is a run of the product's own stages with params.yaml, in a folder of its own; a world that is there goes on
where it was. Intervals are Student's t over worlds, on test prompts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dedpo.report import training
from dedpo.report.answer import bounds, number
from dedpo.report.frontier import Frontier, frontier
from dedpo.report.methods import title
from dedpo.report.reading import Places, read
from dedpo.report.summary import Cells, Estimate, difference, estimate
from dedpo.terminal import note

REPOSITORY = Path(__file__).parent.parent
PRIMARY = "dedpo_tuned"
ARMS = ("dpo_human", "dpo_all_human", "dpo_synthetic", PRIMARY)
METRIC = "human_oracle"


def place(work: Path, world: int, labelled: int, arms: list[str]) -> Path:
    """The folder of one world's run."""
    return work / "-".join([str(world), str(labelled), *(arms if arms != list(ARMS) else [])])


def run(world: int, folder: Path, labelled: int, arms: list[str]) -> None:
    """All stages from pairs to scores of one world."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = {name: folder / "outputs" / "world" / f"prompts-{name}.txt" for name in ("test", "validation")}
    settings = {
        "world.seed": world, "seeds": [world], "arms": arms, "primary": arms[-1], "data.labelled": labelled,
        "sample.prompts": prompts["test"], "sample.validation_prompts": prompts["validation"],
        "train.base": REPOSITORY / "models/shapes-sd", "data.clip_model": REPOSITORY / "models/shapes-clip",
        "score.metrics": ["human_oracle", "adherence"], "train.keep_last": "false",
    }  # fmt: skip
    stages = [["world", "pairs"], ["data", "import", "outputs/world"], ["data", "ratings"]]
    stages += [["data", "split", "--seed", str(world)], ["data", "features"], ["label"]]
    stages += [["targets", "--seed", str(world)]]
    stages += [["train", "--seed", str(world), "--arm", arm] for arm in arms]
    stages += [["sample"], ["score"]]
    for stage in stages:
        if not (folder / "outputs" / "done" / "-".join(stage).replace("/", "_")).exists():
            _stage(folder, stage, settings)


def _stage(folder: Path, stage: list[str], settings: dict[str, object]) -> None:
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    told = [] if stage == ["data", "ratings"] else ["--config", str(REPOSITORY / "params.yaml"), *sets]
    command = [sys.executable, "-m", "dedpo", *stage, *told]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{folder.name}: {' '.join(stage)}: {done.stderr[-2000:]}")
    note(f"{folder.name}: {' '.join(stage)}")
    mark = folder / "outputs" / "done" / "-".join(stage).replace("/", "_")
    mark.parent.mkdir(exist_ok=True)
    mark.touch()


def found(folders: list[Path], arms: list[str]) -> tuple[Cells, Frontier | None]:
    """The metric's cells over all worlds, and the arms compared fairly."""
    test: dict[str, list[np.ndarray]] = {}
    validation: dict[str, list[np.ndarray]] = {}
    drifts: dict[tuple[str, int], dict[int, float]] = {}
    steps: dict[str, int] = {}
    for row, folder in enumerate(folders):
        work = folder / "outputs"
        nothing = work / "nothing"
        sources = read(
            Places(work / "samples", work / "scores", work / "policies", nothing, nothing, nothing, None, None)
        )
        for name, cells in sources.snapshots.metrics[METRIC].items():
            test.setdefault(name, []).append(cells)
        for name, cells in sources.validation.metrics[METRIC].items() if sources.validation else ():
            validation.setdefault(name, []).append(cells)
        steps |= training.steps(sources.policies)
        drifts |= {(arm, row): taken for (arm, _), taken in training.drifts(sources.logs, sources.policies).items()}
    joined = {name: np.concatenate(cells) for name, cells in test.items() if len(cells) == len(folders)}
    beside = {name: np.concatenate(cells) for name, cells in validation.items() if len(cells) == len(folders)}
    return joined, frontier(arms[-1], joined, beside, drifts, list(range(len(folders))), steps)


def table(cells: Cells, fair: Frontier | None, arms: list[str]) -> str:
    """A row an arm: its mean, and how much more the primary arm has, by each of the three comparisons."""
    primary = arms[-1]
    lines = [
        "| arm | reward | same steps | each at its best | at equal drift | best step |",
        "|---|---|---|---|---|---|",
    ]
    for arm in ("reference", *arms):
        gap = difference(cells[primary], cells[arm]) if arm != primary else None
        best, level = (fair.at_best.get(arm), fair.at_drift.get(arm)) if fair else (None, None)
        told = [_told(estimate(cells[arm])), *(_told(e) if e else "" for e in (gap, best, level))]
        lines.append(f"| {title(arm)} | {' | '.join(told)} | {fair.best.get(arm, '') if fair else ''} |")
    drift = f" Equal drift: {fair.drift:.4f}." if fair and fair.drift else ""
    return "\n".join(lines) + f"\n\n{title(primary)} minus the arm, over {len(cells[primary])} worlds.{drift}"


def _told(found: Estimate) -> str:
    return f"{number(found.mean, signed=True)} ({bounds(found, signed=True)})"


def main() -> None:
    """Run the worlds that are not there, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--labelled", type=int, default=50)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), help="the primary one last")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    work = asked.work.absolute()
    folders = [place(work, world, asked.labelled, asked.arms) for world in asked.worlds]
    with ThreadPoolExecutor(asked.jobs) as pool:
        list(
            pool.map(lambda at: run(at[0], at[1], asked.labelled, asked.arms), zip(asked.worlds, folders, strict=True))
        )
    print(table(*found(folders, asked.arms), asked.arms))


if __name__ == "__main__":
    main()
