"""The house's import rules, read from the source: they hold without importing anything heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "dedpo"
STAGES = {p.parent.name for p in SOURCE.glob("*/stage.py")}
# The floors, lowest first: what a room may import beside itself.
SMALL = {p.stem for p in SOURCE.glob("*.py")} - {"__init__", "__main__"}
FLOORS = {
    "stats": set(),
    "contract": SMALL,
    "tabular": SMALL,
    "outputs": SMALL | {"contract"},
    "vision": SMALL | {"contract", "outputs"},
    "asking": SMALL | {"contract", "outputs", "vision"},
}
SHARED = SMALL | set(FLOORS)
# Heavy module → the only files that may import it while they themselves are being imported.
HEAVY = {
    "torch": {
        "sample/sampler.py", "score/aesthetic.py", "score/clip.py", "score/hpsv2.py", "score/local.py",
        "score/metrics.py", "score/weights.py", "train/adapters.py", "train/average.py", "train/backbone.py",
        "train/cache.py", "train/checkpoint.py", "train/diagnostics.py", "train/encoding.py", "train/loop.py",
        "train/networks.py", "train/objective.py", "train/optim.py", "train/parallel.py", "train/policy.py",
        "train/sample_splitting.py", "train/self_training.py", "train/session.py", "train/validation.py",
        "vision/clip.py", "vision/device.py", "vision/diffusion.py", "vision/drawing.py", "world/base_model.py",
        "world/clip_model.py",
    },
    "diffusers": {"train/backbone.py", "vision/diffusion.py", "vision/drawing.py", "world/base_model.py"},
    "transformers": {
        "score/clip.py", "vision/clip.py", "vision/diffusion.py", "world/base_model.py", "world/clip_model.py",
    },
    "accelerate": {
        "train/loop.py", "train/networks.py", "train/parallel.py", "train/session.py", "train/trackers.py",
    },
    "peft": set(),
    "openai": {"label/client.py"},
    "httpx": {"score/oracle.py"},
    "matplotlib": set(),
    "jinja2": set(),
    "starlette": {"world/server.py"},
    "uvicorn": {"world/serve.py"},
    "scipy": set(),
    "evidently": {"bias/evidently_report.py"},
    "kfp": set(),
    "google": {"judge/client.py", "judge/connection.py", "judge/protocol.py"},
    "httpx2": {"judge/client.py", "judge/connection.py", "judge/protocol.py"},
    "pandas": {"bias/evidently_report.py"},
    "ruamel": {"contract/yaml_text.py"},
    "datasets": set(),
    "dvclive": set(),
    "huggingface_hub": set(),
    "mlflow": set(),
    "tensorboard": set(),
    "wandb": set(),
}  # fmt: skip
FILES = sorted(SOURCE.rglob("*.py"))


def _modules(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imports(path: Path, *, at_import: bool) -> set[str]:
    """Modules that `path` imports: anywhere, or only outside functions and TYPE_CHECKING blocks."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if at_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if at_import and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            found.update(_modules(child))
            walk(child)

    walk(ast.parse(path.read_text(encoding="utf-8")))
    return found


def _own(path: Path) -> set[str]:
    """First names below dedpo that `path` imports anywhere, such as 'config' or 'train'."""
    return {m.split(".")[1] for m in _imports(path, at_import=False) if m.startswith("dedpo.")}


def test_the_rules_see_the_house() -> None:
    assert {"data", "label", "targets", "train", "sample", "score", "report"} <= STAGES


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_point_one_way(path: Path) -> None:
    place = path.relative_to(SOURCE).as_posix()
    room = place.split("/")[0]
    used = _own(path)
    if room in FLOORS:
        assert used <= FLOORS[room] | {room}, f"{place} stands on a floor below what it imports"
    elif room in STAGES | {"decide", "lineage", "world"}:
        assert used <= SHARED | {room}, f"{place} may import {sorted(SHARED)} and its own package"
    elif room == "kubeflow":
        # One client a protocol: what preflight asks is asked as a run asks.
        probes = ("dedpo.judge.probe", "dedpo.label.probe") if place == "kubeflow/preflight.py" else ()
        others = {m for m in _imports(path, at_import=False) if not m.startswith(probes)}
        assert {m.split(".")[1] for m in others if m.startswith("dedpo.")} <= SHARED | {"kubeflow", "lineage"}
    elif room not in ("cli", "__main__.py"):
        assert used <= SMALL, f"{place} is a small thing that every room uses"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_heavy_imports_wait_in_one_module(path: Path) -> None:
    place = path.relative_to(SOURCE).as_posix()
    for module in _imports(path, at_import=True):
        allowed = HEAVY.get(module.split(".")[0])
        assert allowed is None or place in allowed, f"{place} imports {module} when it is imported"


def test_only_submitting_knows_kubeflow() -> None:
    knowing = {p.relative_to(SOURCE).as_posix() for p in FILES for m in _imports(p, at_import=False) if "kfp" in m}
    assert knowing == {"kubeflow/submit.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_a_file_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def test_stages_import_without_anything_heavy() -> None:
    script = (
        "import sys, importlib\n"
        f"for name in {sorted(STAGES)!r}: importlib.import_module(f'dedpo.{{name}}.stage')\n"
        f"print([m for m in {sorted(HEAVY)!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
