"""What the pipeline costs beside its stages, and where a run's time goes.

    python benchmarks/pipeline.py           a table
    python benchmarks/pipeline.py --json    {"compile_seconds", "dry_run_seconds", "added_seconds", "tasks", ...}

The run is that of the committed YAML under kfp.local on the embedded world, a process a task. What a component adds is
its wall time without that of its stage (its manifest's seconds) and without kfp's own start, which an empty component
has, too. The critical path is the heaviest chain of the graph: what a cluster with room for every task would need,
without the pods' starts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
YAML = REPOSITORY / "pipelines" / "dedpo.yaml"
sys.path.insert(0, str(REPOSITORY))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments.add_argument("--pairs", type=int, default=200, help="embedded pairs")
    arguments.add_argument("--steps", type=int, default=20, help="of each training")
    asked = arguments.parse_args()
    found = commands()
    with tempfile.TemporaryDirectory(prefix="dedpo-bench-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        found |= measure(Path(folder), asked.pairs, asked.steps)
    found["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(found, indent=2) if asked.json else table(found))


def commands() -> dict[str, Any]:
    """Seconds of a compile and of a dry run, each in a process of its own."""
    compiling = "from pathlib import Path; from pipelines.dedpo import compile_to; compile_to(Path('/dev/null'))"
    compiling = compiling.replace("/dev/null", f"{tempfile.gettempdir()}/dedpo-bench-{os.getpid()}.yaml")
    program = str(Path(sys.executable).with_name("dedpo"))
    settings = 'overrides={"score.metrics": ["pickscore"], "report.metric": "pickscore"}'
    dry = [program, "submit", "--dry-run", "--set-param", "source=s3://bucket/pairs", "--set-param", settings]
    return {
        "compile_seconds": _seconds([sys.executable, "-c", compiling]),
        "dry_run_seconds": _seconds(dry),
    }


def _seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(
        command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": "."}
    )
    return round(time.perf_counter() - begun, 2)


def measure(folder: Path, pairs: int, steps: int) -> dict[str, Any]:
    """Run the YAML; every task's seconds, what components add, the critical path, and how long GPUs would work."""
    from dedpo.world.serve import listening
    from dedpo.world.server import app

    bare = _bare(folder / "bare")
    with listening(app()) as url, timed() as tasks:
        begun = time.perf_counter()
        _run(folder, url, pairs, steps)
        total = time.perf_counter() - begun
    added = [t["seconds"] - t["stage_seconds"] - bare for t in tasks if t["stage_seconds"]]
    return {
        "run_seconds": round(total, 1),
        "kfp_start_seconds": round(bare, 2),
        "added_seconds": round(statistics.median(added), 2),
        "most_added_seconds": round(max(added), 2),
        "tasks": tasks,
        **critical(tasks),
    }


def _run(folder: Path, url: str, pairs: int, steps: int) -> None:
    from kfp import components

    os.environ["GEMINI_API_KEY"] = "EMPTY"
    train = {"resolution": 32, "steps": steps, "batch_size": 16, "warmup_steps": 2, "evaluate_every": steps}
    settings = {
        "data.shard_rows": max(16, pairs // 4),
        "train": train,
        "sample": {"seeds": [0], "steps": 10, "guidance": 3.0},
        "gate.min_agreement": None,
        "judge.base_url": url,
        "score.metrics": ["human_oracle", "adherence"],
        "score.oracle_url": url,
        "report.metric": "human_oracle",
    }
    _start(folder / "runs")
    text = YAML.read_text(encoding="utf-8").replace("value: /cache", f"value: {folder}/cache")
    (folder / "cache").mkdir()
    given = {"annotator": "biased-vlm", "annotator_url": f"{url}/v1", "judge": "shapes-judge", "gpus": 0}
    base = str(REPOSITORY / "models" / "shapes-sd")
    with redirect_stdout(sys.stderr):
        components.load_component_from_text(text)(
            source=f"world:{pairs}", prompts="prompts-test.txt", base=base, overrides=json.dumps(settings), **given
        )


def _start(root: Path) -> None:
    from kfp import local

    warnings.filterwarnings("ignore", category=UserWarning, module="kfp")
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="kfp")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root), raise_on_error=True)


def _bare(root: Path) -> float:
    """Seconds of a component that does nothing: the least of three."""
    from kfp import dsl

    from components import RUNTIME

    # kfp reads the source of a function in a file.
    source = root / "nothing.py"
    source.parent.mkdir(parents=True)
    source.write_text("def nothing():\n    pass\n")
    sys.path.insert(0, str(root))
    from nothing import nothing  # type: ignore[import-not-found]

    _start(root / "runs")
    component, times = dsl.component(**RUNTIME)(nothing), []
    with redirect_stdout(sys.stderr):
        for _ in range(3):
            begun = time.perf_counter()
            component()
            times.append(time.perf_counter() - begun)
    return min(times)


@contextmanager
def timed() -> Iterator[list[dict[str, Any]]]:
    """Every task that kfp runs meanwhile: name, when it began and for how long, and its stage's own seconds."""
    from kfp.local import task_dispatcher

    tasks: list[dict[str, Any]] = []
    inner, zero = task_dispatcher.run_single_task_implementation, time.perf_counter()

    def run(**given: Any) -> Any:
        begun = time.perf_counter()
        outputs, status = inner(**given)
        tasks.append(
            {
                "name": given["component_name"].removeprefix("comp-"),
                "begun": round(begun - zero, 2),
                "seconds": round(time.perf_counter() - begun, 2),
                "stage_seconds": round(sum(_stage_seconds(o) for o in outputs.values()), 2),
            }
        )
        return outputs, status

    task_dispatcher.run_single_task_implementation = run
    try:
        yield tasks
    finally:
        task_dispatcher.run_single_task_implementation = inner


def _stage_seconds(output: Any) -> float:
    manifest = Path(getattr(output, "uri", "") or "/nowhere", "manifest.json")
    # The record of a training holds the policy's manifest again.
    if not manifest.is_file() or manifest.parent.name == "record":
        return 0.0
    return float(json.loads(manifest.read_text())["seconds"])


def critical(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """The heaviest chain by the measured seconds, a loop counting as its longest task, and the share of GPU tasks."""
    from pipelines.graph import Box, longest, read

    seconds = {name: max(t["seconds"] for t in tasks if t["name"] == name) for name in {t["name"] for t in tasks}}

    def weigh(box: Box) -> float:
        return seconds.get(box.title.split(" ")[0], 0.0)

    boxes, _ = read(YAML)
    way = longest(boxes, weigh)
    return {
        "critical_path": [[box.title, round(weigh(box), 1)] for box in way],
        "critical_seconds": round(sum(weigh(box) for box in way), 1),
        "gpu_seconds_on_it": round(sum(weigh(box) for box in way if box.gpu), 1),
    }


def table(found: dict[str, Any]) -> str:
    """The result for a person."""
    lines = [f"{name:<22}{found[name]:>8}" for name in found if name.endswith("seconds")]
    lines += ["", f"{'task':<22}{'begun':>8}{'seconds':>9}{'stage':>8}"]
    lines += [
        f"{t['name']:<22}{t['begun']:>8.1f}{t['seconds']:>9.1f}{t['stage_seconds']:>8.1f}" for t in found["tasks"]
    ]
    way = " → ".join(f"{name} {seconds}" for name, seconds in found["critical_path"])
    return "\n".join([*lines, "", f"critical path: {way}", found["machine"]])


if __name__ == "__main__":
    main()
