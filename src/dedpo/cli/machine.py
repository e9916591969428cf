"""What this machine can do, found out without starting anything."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Final

from rich.table import Table
from rich.text import Text

from dedpo import redact
from dedpo.asking import endpoint_checks
from dedpo.asking.endpoint_checks import GEMINI_KEYS, HERE, Finding
from dedpo.cli.served import is_world
from dedpo.contract.config import Config
from dedpo.contract.sections import WORLD, AnnotatorConfig, JudgeConfig
from dedpo.judge.probe import judgement
from dedpo.label.probe import annotation
from dedpo.terminal import console

# Extra → the module that shows whether it is installed.
EXTRAS: Final = {
    "data": "dvc",
    "label": "openai",
    "bias": "evidently",
    "targets": "scipy",
    "train": "accelerate",
    "sample": "diffusers",
    "score": "httpx",
    "judge": "google.genai",
    "report": "matplotlib",
    "pipeline": "kfp",
    "world": "starlette",
}


_COLOURS: Final = {"ok": "green", "note": "yellow", "missing": "red"}


def examine(config: Config) -> list[Finding]:
    """Look at Python, cores, memory, disk, torch, optional packages and the endpoints of the settings."""
    return [*_machine(), *_torch(), *_extras(), *_endpoints(config)]


def show(findings: list[Finding]) -> None:
    """Print the findings as a table."""
    table = Table("", "what", "found", header_style="bold")
    for finding in findings:
        table.add_row(Text(finding.state, _COLOURS[finding.state]), finding.what, redact.text(finding.detail))
    console().print(table)


def _machine() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{sys.version.split()[0]} on {platform.system()} {platform.machine()}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cores", "ok", str(cores))
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        page = os.sysconf("SC_PAGE_SIZE") / 2**30
        free, total = page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")
        yield Finding("memory", "ok" if free >= 4 else "note", f"{free:.1f} GiB free of {total:.1f} (the demo needs 4)")
    disk = shutil.disk_usage(Path.cwd())
    yield Finding("disk", "ok" if disk.free > 5 * 2**30 else "note", f"{disk.free / 2**30:.0f} GiB free here")
    for tool in ("git", "dvc"):
        path = shutil.which(tool)
        yield Finding(tool, "ok" if path else "missing", path or "not on the PATH; needed for versions and 'dvc repro'")


def _torch() -> Iterator[Finding]:
    if util.find_spec("torch") is None:
        yield Finding("torch", "missing", "pip install 'dedpo[train]'")
        return
    yield Finding("torch", "ok", metadata.version("torch"))
    # In a child: importing torch takes seconds and would stay in memory.
    script = (
        "import torch\n"
        "for i in range(torch.cuda.device_count()):\n"
        " p = torch.cuda.get_device_properties(i)\n"
        " print(f'GPU {i}|{p.name}, {p.total_memory / 2**30:.0f} GiB')\n"
        "if torch.cuda.device_count():\n"
        " nccl = '.'.join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else 'none'\n"
        " print(f'CUDA|{torch.version.cuda}, NCCL {nccl}')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603
    found = [line.partition("|") for line in done.stdout.splitlines() if "|" in line]
    for what, _, detail in found:
        yield Finding(what, "ok", detail)
    if found:
        yield from _driver()
    else:
        yield Finding("GPU", "note", "none: the embedded world trains on the CPU, SD1.5 and SDXL need a GPU")


def _driver() -> Iterator[Finding]:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return
    if done.returncode == 0 and done.stdout.strip():
        yield Finding("GPU driver", "ok", ", ".join(sorted(set(done.stdout.split()))))


def _extras() -> Iterator[Finding]:
    for extra, module in EXTRAS.items():
        try:
            found = util.find_spec(module) is not None
        except ModuleNotFoundError:
            found = False
        yield Finding(
            f"extra '{extra}'", "ok" if found else "missing", module if found else f"pip install 'dedpo[{extra}]'"
        )


def _endpoints(config: Config) -> Iterator[Finding]:
    for one in config.label.each:
        if one.kind == "endpoint":
            yield from _annotator(one)
        else:
            yield Finding("annotator", "ok", f"'{one.annotator}' asks no endpoint")
    address = config.score.oracle_url or os.environ.get("DEDPO_ORACLE_URL")
    if is_world(config.score):
        yield _world("oracle")
    else:
        yield endpoint_checks.oracle(address, HERE) if address else _nowhere("oracle", "score.oracle_url")
    key = "set" if os.environ.get("OPENAI_API_KEY") else "not set (needed for endpoints that ask for one)"
    yield Finding("$OPENAI_API_KEY", "ok" if key == "set" else "note", key)
    yield from _judge(config.judge)


def _annotator(config: AnnotatorConfig) -> Iterator[Finding]:
    if config.base_url == WORLD:
        yield _world("annotator")
    elif config.base_url or os.environ.get("OPENAI_BASE_URL"):
        there = endpoint_checks.annotator(config, HERE)
        yield there
        if there.state != "missing":
            yield annotation(config)
    else:
        yield _nowhere("annotator", "label.base_url")


def _nowhere(what: str, setting: str) -> Finding:
    return Finding(what, "note", f"no endpoint; set {setting}")


def _world(what: str) -> Finding:
    return Finding(what, "ok", "the embedded world's: the stage that asks it starts it")


def _judge(config: JudgeConfig) -> Iterator[Finding]:
    if config.model is None:
        yield Finding("judge", "ok", "none (judge.model is null)")
    elif is_world(config):
        yield _world("judge")
    elif any(os.environ.get(name, "").strip() for name in GEMINI_KEYS):
        yield Finding("$GEMINI_API_KEY", "ok", "set")
        yield judgement(config)
    else:
        where = config.base_url or os.environ.get("GEMINI_BASE_URL") or "Google (judge.base_url is not set)"
        yield Finding("judge", "note", f"'{config.model}' at {where}; not asked")
        yield Finding("$GEMINI_API_KEY", "note", "not set, nor is $GOOGLE_API_KEY (the judge needs one)")
