"""DVC deletes what a stage makes before it runs it, and a clone holds nothing else: no answer is lost either way."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.label.test_kept import counted, write_pairs

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def shell(*command: str, cwd: Path, **environment: str) -> None:
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | names | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def repro(project: Path) -> int:
    """How many questions `dvc repro label` asks a new server."""
    with counted() as (url, asked):
        shell("dvc", "repro", "label", cwd=project, OPENAI_BASE_URL=url, OPENAI_API_KEY="sk-no-matter-which")
        return len(asked)


def test_dvc_repro_asks_only_what_is_new_here_and_in_a_clone(tmp_path: Path) -> None:
    project, clone = tmp_path / "project", tmp_path / "clone"
    write_pairs(project / "outputs/data/pairs", range(30))
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["label"]
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"label": stage}}))
    params = {"label": {"model": "some/model", "concurrency": 4}}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    shell("git", "init", "-q", cwd=project)
    shell("dvc", "init", "-q", cwd=project)
    shell("dvc", "remote", "add", "-d", "there", str(tmp_path / "remote"), cwd=project)
    assert repro(project) == 60
    shell("git", "add", "dvc.yaml", "dvc.lock", "params.yaml", ".dvc/config", cwd=project)
    shell("git", "commit", "-qm", "labels", cwd=project)
    shell("dvc", "push", "-q", cwd=project)
    shell("git", "clone", "-q", str(project), str(clone), cwd=tmp_path)
    shell("dvc", "pull", "-q", cwd=clone)
    shutil.copytree(project / "outputs/data", clone / "outputs/data")
    assert (clone / "outputs/labels/labels.parquet").is_file()
    for place in (project, clone):
        write_pairs(place / "outputs/data/pairs", range(30, 32))
        assert repro(place) == 4
        (place / "params.yaml").write_text(yaml.safe_dump({"label": {"model": "another", "concurrency": 4}}))
        assert repro(place) == 64
        (place / "params.yaml").write_text(yaml.safe_dump(params))
        shell("dvc", "repro", "-f", "label", cwd=place, OPENAI_BASE_URL="http://127.0.0.1:9/v1")
