"""What a training step costs: dedpo, a loop by hand on the same inputs, the research scripts' loop; in one run.

    python benchmarks/train.py                a table
    python benchmarks/train.py --json         {"ratio_cached", "ratio_shared_reference", "overhead_minimal_loop", ...}
    python benchmarks/train.py --record       also puts it into RESULTS.md

CPU: a random UNet of 1.49 million parameters on 128-pixel images, 4 pairs a step, fp32, one thread, AdamW. Seconds are
process time, the loops take turns, and the least of the rounds counts.

    ratio_cached             the scripts' loop / dedpo with a cache
    ratio_shared_reference   the scripts' loop / dedpo with a cache and reference errors that an earlier arm left
    overhead_minimal_loop    dedpo with a cache / the loop by hand

GPU, where there is one (train_gpu.py): random weights of the true SD1.5 and SDXL shapes, bf16.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from accelerate import Accelerator
from train_gpu import CASES, encoding
from train_loops import minimal, naive, trainer
from train_models import SD15, SDXL, TINY, bench

from dedpo.contract.sections import TrainConfig

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
GOALS = {"ratio_cached": 1.25, "ratio_shared_reference": 1.70, "overhead_minimal_loop": 1.05}
PAIRS_ON_PAPER = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--record", action="store_true", help="put the results into RESULTS.md, newest first")
    parser.add_argument("--rounds", type=int, default=40, help="of the CPU part")
    asked = parser.parse_args()
    found = {**cpu(asked.rounds), "cache": cache(), "gpu": gpu(), "machine": machine()}
    if asked.record:
        record(found, "python benchmarks/train.py" + " --json" * asked.json + " --record")
    print(json.dumps(found, indent=2) if asked.json else table(found))


def cpu(rounds: int) -> dict[str, Any]:
    """The three ratios, and seconds a step of each loop."""
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    settings: dict[str, Any] = {"batch_size": 4, "learning_rate": 1e-7, "share_reference": False}
    with tempfile.TemporaryDirectory(prefix="dedpo-bench-") as folder:
        plain = bench(TINY, Path(folder), 16, TrainConfig(**settings))
        shared = bench(TINY, Path(folder), 16, TrainConfig(**settings | {"share_reference": True}))
        loops: dict[str, Callable[[int], object]] = {
            "scripts": naive(plain, torch.device("cpu"), torch.float32),
            "by_hand": minimal(plain),
            "cached": trainer(plain, accelerator).step,
            "shared_reference": trainer(shared, accelerator).step,
        }
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for turn in range(rounds + 1):
            for name, step in loops.items():
                begun = time.process_time()
                # Always the same step number: the first round warms up and leaves the reference's errors behind.
                step(0)
                if turn:
                    seconds[name].append(time.process_time() - begun)
    least = {name: min(values) for name, values in seconds.items()}
    return {
        "ratio_cached": round(least["scripts"] / least["cached"], 3),
        "ratio_shared_reference": round(least["scripts"] / least["shared_reference"], 3),
        "overhead_minimal_loop": round(least["cached"] / least["by_hand"], 3),
        "goals": GOALS,
        "cpu_seconds_a_step": {name: round(value, 4) for name, value in least.items()},
        "unet_parameters": sum(p.numel() for p in TINY.make_unet().parameters()),
    }


def cache() -> dict[str, Any]:
    """Bytes for 100,000 pairs with as many prompts, on paper; encoding 1,000 pairs of the tiny model, measured here.

    The true models' seconds are in the GPU part.
    """
    on_paper = {
        f"{s.name}_{s.side}": {"pairs": PAIRS_ON_PAPER, "gigabytes": round(PAIRS_ON_PAPER * s.bytes_a_pair() / 1e9, 1)}
        for s in (SD15, SDXL)
    }
    return on_paper | {f"{TINY.name}_{TINY.side}": encoding(TINY, torch.device("cpu"))}


def gpu() -> dict[str, Any] | str:
    """Every case in a process of its own, so that memory is its own and one that fails costs no other."""
    if not torch.cuda.is_available():
        return "not measured"
    found: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    for case in CASES:
        command = [sys.executable, str(Path(__file__).with_name("train_gpu.py")), case]
        done = subprocess.run(command, capture_output=True, text=True)
        failed = f"failed: {(done.stderr.strip().splitlines() or ['?'])[-1][:300]}"
        found[case] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else failed
        print(f"{case}: {found[case]}", file=sys.stderr, flush=True)
    return found


def machine() -> str:
    model = next((x.split(":")[1].strip() for x in _lines("/proc/cpuinfo") if x.startswith("model name")), "")
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{platform.machine()} {model}".strip() + f", {os.cpu_count()} cores, {versions}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def table(found: dict[str, Any]) -> str:
    """The measurements as Markdown."""
    lines = ["| CPU | measured | goal |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {found[name]} | {'at most' if 'overhead' in name else 'at least'} {goal} |"
        for name, goal in found["goals"].items()
    ]
    seconds = ", ".join(f"{name} {value}" for name, value in found["cpu_seconds_a_step"].items())
    lines += ["", f"Process seconds a step: {seconds}. The UNet has {found['unet_parameters']:,} parameters."]
    lines += ["AdamW is fused in dedpo and in the loop by hand, and not in the scripts' loop.", ""]
    for name, cost in found["cache"].items():
        size = f"{cost['gigabytes']} GB" if "gigabytes" in cost else f"{cost['bytes']:,} bytes, {cost['seconds']} s"
        lines.append(f"- cache of {cost['pairs']:,} pairs, {name}: {size}; fp32, no two prompts alike")
    if isinstance(found["gpu"], str):
        return "\n".join([*lines, "", f"GPU: {found['gpu']}."])
    lines += ["", f"GPU: {found['gpu']['device']}.", "", "```json", json.dumps(found["gpu"], indent=1), "```"]
    return "\n".join(lines)


def record(found: dict[str, Any], command: str) -> None:
    """A new section at the top of RESULTS.md."""
    head, mark, rest = RESULTS.read_text(encoding="utf-8").partition("\n## ")
    day = datetime.now(UTC).date().isoformat()
    section = f"{day} · A training step\n\n`{command}` on {found['machine']}.\n\n{table(found)}\n"
    RESULTS.write_text(f"{head}\n## {section}{mark}{rest}", encoding="utf-8")


if __name__ == "__main__":
    main()
