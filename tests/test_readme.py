"""The README's commands are taken from the README and run; what it names is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dedpo.world.serve import listening
from dedpo.world.server import app
from tests.fixtures import BASE

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
BINARIES = Path(sys.executable).parent
SMALL = """
world: {pairs: 30}
data: {labelled: 8}
arms: [dedpo_tuned]
train: {resolution: 16, steps: 2, batch_size: 4}
"""


def _commands(block: str) -> list[str]:
    return [line.split("#")[0].strip() for line in block.splitlines() if line.split("#")[0].strip()]


def test_the_two_promised_commands_are_targets() -> None:
    assert _commands(BLOCKS[0]) == ["make demo", "make test"]
    for command in _commands(BLOCKS[0]):
        subprocess.run([*command.split(), "--dry-run"], cwd=REPOSITORY, check=True, capture_output=True)


@pytest.mark.parametrize(("version", "is_taken"), [("3.10", False), ("3.11", True), ("3.13", True), ("3.14", False)])
def test_another_python_is_told_which_there_may_be(version: str, is_taken: bool, tmp_path: Path) -> None:
    """In a folder with a space, by a stand-in that says it is of that version and makes no environment."""
    place = tmp_path / "a folder"
    place.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, place)
    python = place / "python"
    python.write_text(
        f"#!{sys.executable}\nimport sys\nsys.version_info = ({version.replace('.', ', ')}, 0)\n"
        f"if sys.argv[1] == '-c':\n    exec(sys.argv[2])\n"
        f"print('Python {version}.0')\nsys.exit(sys.argv[1] != '--version')\n"
    )
    python.chmod(0o755)
    done = subprocess.run(["make", f"PYTHON={python}", "test"], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert ("dedpo needs Python 3.11, 3.12 or 3.13" in done.stdout) != is_taken
    assert is_taken or f"is Python {version}.0. Try: make PYTHON=python3.12 test" in done.stdout


def test_the_commands_for_your_own_pairs_run(tmp_path: Path) -> None:
    """As written, but for the endpoint, the model's names and sizes that a laptop can do."""
    (tmp_path / "params.yaml").write_text(SMALL)
    environment = os.environ | {"PATH": f"{BINARIES}:{os.environ['PATH']}"}
    subprocess.run(["dedpo", "world", "pairs", "--work", "made"], cwd=tmp_path, env=environment, check=True)
    (tmp_path / "made" / "world").rename(tmp_path / "my-pairs")
    commands = _commands(BLOCKS[1])
    assert [c.split()[1] for c in commands] == ["data", "data", "data", "label", "targets", "train"]
    with listening(app()) as url:
        for command in commands:
            command = command.replace("http://gpu-box:8000", url)
            command = command.replace("Qwen/Qwen2.5-VL-7B-Instruct", "biased-vlm")
            command = command.replace("stable-diffusion-v1-5/stable-diffusion-v1-5", str(BASE))
            done = subprocess.run(
                shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "outputs" / "policies" / "0" / "dedpo_tuned" / "model_index.json").exists()


def test_the_file_tree_is_the_house() -> None:
    tree = README.split("## The house\n\n```\n")[1].split("```")[0]
    for line in tree.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        parent = REPOSITORY / "src" / "dedpo" if line.startswith("  ") else REPOSITORY
        assert all((parent / name).exists() for name in names), names
    packages = {p.parent.name for p in (REPOSITORY / "src" / "dedpo").glob("*/__init__.py")}
    assert all(f"  {name}/" in tree for name in packages), "every package has its line"
