"""What data with a version costs: import, resumption, no-op `dvc repro`, `data select`, `trace`, bytes moved.

    python benchmarks/data.py                     a table
    python benchmarks/data.py --json              {"import": {"rows_per_second", "peak_gib", ...}, "goals": ...}
    python benchmarks/data.py --record            also puts it into RESULTS.md
    python benchmarks/data.py --pairs 5000 --labels 50000     smaller, for a first look

Pairs are Pick-a-Pic's Parquet files with JPEGs of 64 pixels and 6 KB, all of them different, made beforehand; peak
memory is that of the command alone. Bytes moved are those of content that was not there before: what DVC pushes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import data_inputs as inputs

from dedpo.outputs import hashes

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
GOALS = {
    "import.peak_gib": 1.5,
    "noop_repro.seconds": 10,
    "select.seconds": 30,
    "trace.warm_seconds": 2,
    "moved.append_share": 0.03,
    "moved.ratings_share": 0.03,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--record", action="store_true", help="put the results into RESULTS.md, newest first")
    parser.add_argument("--pairs", type=int, default=100_000, help="to import")
    parser.add_argument("--labels", type=int, default=1_000_000, help="to select from")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dedpo-bench-") as name:
        folder = Path(name)
        # Whatever is hashed is noted here and not in the user's cache.
        os.environ |= {"XDG_CACHE_HOME": str(folder / "cache"), "DVC_NO_ANALYTICS": "1"}
        os.environ["DVC_SITE_CACHE_DIR"] = str(folder / "site")
        found = measure(folder, asked.pairs, asked.labels)
    if asked.record:
        sizes = f" --pairs {asked.pairs} --labels {asked.labels}"
        record(found, f"python benchmarks/data.py{sizes}" + " --json" * asked.json + " --record")
    print(json.dumps(found, indent=2) if asked.json else table(found))


def measure(folder: Path, pairs: int, labels: int) -> dict[str, Any]:
    """Every part, in an order in which each finds what it needs."""
    project = prepare(folder / "project", pairs)
    found: dict[str, Any] = {"import": import_(project, pairs)}
    say("import", found)
    found["trace"] = trace(project)
    say("trace", found)
    found["noop_repro"] = noop_repro(project)
    say("noop_repro", found)
    found["moved"] = moved(project, pairs)
    say("moved", found)
    shutil.rmtree(project)
    found["select"] = select(folder / "large", labels)
    say("select", found)
    return found | {"pairs": pairs, "labels": labels, "goals": GOALS, "machine": machine()}


def say(part: str, found: dict[str, Any]) -> None:
    print(f"{part}: {found[part]}", file=sys.stderr, flush=True)


def prepare(folder: Path, pairs: int) -> Path:
    """A git and DVC repository with the project's pipeline and, in raw/, the pairs."""
    folder.mkdir()
    for name in ("dvc.yaml", "params.yaml", ".dvc", "models", "human"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
        else:
            shutil.copy(source, folder / name)
    run(["git", "init", "-q"], folder)
    inputs.pickapic(folder / "raw", 0, pairs)
    return folder


class Cost(NamedTuple):
    """Of one command: wall and processor seconds, and the peak of its own memory."""

    seconds: float
    cpu_seconds: float
    peak_gib: float


def run(command: list[str], folder: Path, kill_after: float | None = None) -> Cost:
    """What a command costs; its output is shown if it fails."""
    begun = time.perf_counter()
    with (folder / ".bench.log").open("w+") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        if status != 0 and kill_after is None:
            log.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{log.read()}")
    return Cost(round(seconds, 2), usage.ru_utime + usage.ru_stime, round(usage.ru_maxrss / 2**20, 3))


def dedpo(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dedpo", *arguments]


def import_(project: Path, pairs: int) -> dict[str, Any]:
    """A whole import, and one that is killed half way and started again."""
    command = dedpo("data", "import", "raw")
    idle = run(dedpo("data", "import", "--help"), project)
    first = run(command, project)
    whole = hashes.content(project / "outputs" / "data")
    shutil.rmtree(project / "outputs")
    killed = run(command, project, kill_after=first.seconds / 2)
    second = run(command, project)
    saved = first.cpu_seconds - second.cpu_seconds
    return {
        "seconds": first.seconds,
        "cpu_seconds": round(first.cpu_seconds, 1),
        "rows_per_second": round(pairs / first.seconds),
        "peak_gib": first.peak_gib,
        "shards": len(list((project / "outputs" / "data" / "pairs").iterdir())),
        "killed_after_seconds": killed.seconds,
        "seconds_after_kill": second.seconds,
        # Of the processor seconds before the kill, those that the second start was spared.
        "share_not_repeated": round(min(1.0, saved / (killed.cpu_seconds - idle.cpu_seconds)), 2),
        "same_bytes_after_kill": hashes.content(project / "outputs" / "data") == whole,
    }


def trace(project: Path) -> dict[str, Any]:
    """The chain of a policy, first with nothing noted and then again."""
    run(dedpo("data", "ratings"), project)
    run(dedpo("data", "split"), project)
    policy = inputs.finish(project / "outputs")
    command = dedpo("trace", str(policy.relative_to(project)))
    time.sleep(hashes.SETTLED_SECONDS)
    shutil.rmtree(hashes.folder(), ignore_errors=True)
    cold, warm = (run(command, project) for _ in range(2))
    size = sum(p.stat().st_size for p in (project / "outputs").rglob("*") if p.is_file())
    return {
        "cold_seconds": cold.seconds,
        "warm_seconds": warm.seconds,
        "warm_cpu_seconds": round(warm.cpu_seconds, 2),
        "gigabytes_in_the_work_folder": round(size / 1e9, 2),
    }


def noop_repro(project: Path) -> dict[str, Any]:
    """`dvc repro` with nothing to do: the import above, and a small stand-in for every other output of dvc.yaml."""
    listed = subprocess.run(
        [sys.executable, "-c", STAND_INS], cwd=project, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in listed:
        path = project / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix:
                path.write_text("{}")
            else:
                path.mkdir()
                (path / "stand-in.txt").write_text(name)
    run(["dvc", "commit", "-f"], project)
    costs = [run(["dvc", "repro"], project) for _ in range(2)]
    return {"seconds": min(cost.seconds for cost in costs), "peak_gib": costs[0].peak_gib, "stages": stages(project)}


def stages(project: Path) -> int:
    listed = subprocess.run(["dvc", "stage", "list"], cwd=project, capture_output=True, text=True, check=True)
    return len(listed.stdout.splitlines())


STAND_INS = "from dvc.repo import Repo; i = Repo().index; print(*(x.def_path for x in [*i.outs, *i.deps]))"


def moved(project: Path, pairs: int) -> dict[str, Any]:
    """Bytes of content that was not there before, after 1 % more pairs and after 200 new ratings."""
    before = contents(project)
    export = project / "export.json"
    run(dedpo("data", "select", "--round", "bench", "--set", f"select.budget={min(200, pairs // 10)}"), project)
    ratings = inputs.export(project / "human" / "rounds" / "bench" / "label-studio", export)
    for command in (("data", "merge", str(export)), ("data", "ratings"), ("data", "split")):
        run(dedpo(*command), project)
    rated = contents(project)
    inputs.pickapic(project / "raw", pairs, pairs + pairs // 100)
    run(dedpo("data", "import", "raw"), project)
    appended = contents(project)
    return {
        "append_share": round(new_bytes(rated, appended) / total(appended), 4),
        "appended_pairs": pairs // 100,
        "ratings_share": round(new_bytes(before, rated) / total(rated), 4),
        "new_ratings": ratings,
        "megabytes": round(total(appended) / 1e6, 1),
    }


def contents(project: Path) -> dict[str, int]:
    """SHA-256 → bytes of what DVC and git keep of the data: import, human labels, joined ratings, splits."""
    found = {}
    for name in ("outputs/data", "outputs/ratings", "outputs/splits", "human"):
        for path in sorted((project / name).rglob("*")):
            if path.is_file() and "label-studio" not in path.relative_to(project).parts:
                found[hashes.sha256(path)] = path.stat().st_size
    return found


def new_bytes(before: dict[str, int], after: dict[str, int]) -> int:
    return sum(size for sha, size in after.items() if sha not in before)


def total(found: dict[str, int]) -> int:
    return sum(found.values())


def select(folder: Path, labels: int) -> dict[str, Any]:
    """200 pairs for people out of `labels` annotated ones."""
    folder.mkdir()
    inputs.labelled_work(folder / "outputs", labels)
    cost = run(dedpo("data", "select", "--round", "bench"), folder)
    return {"seconds": cost.seconds, "cpu_seconds": round(cost.cpu_seconds, 1), "peak_gib": cost.peak_gib}


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def table(found: dict[str, Any]) -> str:
    """The measurements as Markdown."""
    lines = ["| | measured | goal |", "|---|---|---|"]
    for name, goal in found["goals"].items():
        part, key = name.split(".")
        lines.append(f"| `{name}` | {found[part][key]} | at most {goal} |")
    parts = ("import", "trace", "noop_repro", "select", "moved")
    lines += ["", *(f"- {p}: " + ", ".join(f"{k} {v}" for k, v in found[p].items()) for p in parts)]
    return "\n".join(
        [*lines, "", f"{found['pairs']:,} pairs of 64 pixels and 6 KB an image; {found['labels']:,} labels."]
    )


def record(found: dict[str, Any], command: str) -> None:
    """A new section at the top of RESULTS.md."""
    head, mark, rest = RESULTS.read_text(encoding="utf-8").partition("\n## ")
    day = datetime.now(UTC).date().isoformat()
    section = f"{day} · Data with a version\n\n`{command}` on {found['machine']}.\n\n{table(found)}\n"
    RESULTS.write_text(f"{head}\n## {section}{mark}{rest}", encoding="utf-8")


if __name__ == "__main__":
    main()
