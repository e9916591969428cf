"""Under DVC: a stage that is run again by force runs no other again, and no record of a run is in the way."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dedpo

REPOSITORY = Path(__file__).parent.parent
STAGE = """
import sys
from pathlib import Path
from dedpo.outputs.manifest import output_folder
name, *inputs = sys.argv[1:]
with Path("ran.txt").open("a") as file:
    file.write(f"{name} ")
given = {Path(path).name: Path(path) for path in inputs}
with output_folder(Path("outputs", name), stage=name, config={}, inputs=given) as partial:
    (partial / "a.txt").write_text("the same")
"""
PIPELINE = """
stages:
  first:
    cmd: {python} stage.py first
    outs: [outputs/first]
  second:
    cmd: {python} stage.py second outputs/first
    deps: [outputs/first]
    outs: [outputs/second]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from dvc.repo import Repo

    # They write to the streams that stood there when dvc was imported, perhaps another test's.
    monkeypatch.setattr(logging.getLogger("dvc"), "handlers", [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(dedpo.__file__).parent.parent))
    git("init", "-q")
    Repo.init().close()
    for name in (".dvcignore", ".gitignore"):
        shutil.copy(REPOSITORY / name, name)
    Path("stage.py").write_text(STAGE)
    Path("dvc.yaml").write_text(PIPELINE.format(python=sys.executable))
    return tmp_path


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def repro(*targets: str, force: bool = False) -> str:
    """Run what is not up to date; return which stages ran."""
    from dvc.repo import Repo

    Path("ran.txt").write_text("")
    with Repo() as repo:
        repo.reproduce(targets=targets or None, force=force)
    return Path("ran.txt").read_text().strip()


def test_by_force_one_stage_is_run_and_no_other(project: Path) -> None:
    assert repro() == "first second"
    git("add", "-A")
    git("commit", "-qm", "another commit")
    before = Path("outputs/first/manifest.run.json").read_text()
    assert repro("first", force=True) == "first"
    assert Path("outputs/first/manifest.run.json").read_text() != before
    assert repro() == "", "nothing that the second depends on is another"
    ours = [line for line in git("status", "--porcelain", "--untracked-files=all").splitlines() if "outputs" in line]
    assert ours == []
