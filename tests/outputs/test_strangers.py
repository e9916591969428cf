"""Every command that writes a folder, where a stranger's files lie: one line, exit code 2, nothing touched."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from dedpo import cli
from dedpo.contract import tables
from dedpo.contract.records.report import Report
from dedpo.outputs import ownership
from dedpo.vision.images import encode_png
from tests.fixtures import BASE, write_tables, write_targets
from tests.records import record

SOURCE = Path(cli.__file__).parent.parent
DEDPO = "--set arms=[dedpo] --set primary=dedpo"
# Command line in the project's folder → the folder that it writes.
COMMANDS = {
    "world pairs": "outputs/world",
    "world build --out results --vae-steps 2 --unet-steps 2": "results",
    "world build-clip --out results --steps 2": "results",
    "data import mine": "outputs/data",
    "data pull .@HEAD:mine --out results": "results",
    "data ratings --work pilot": "pilot/ratings",
    "data split": "outputs/splits/0",
    "data features --work pilot": "pilot/features",
    "data stats --work pilot": "pilot/stats",
    "data select --round r1 --set select.budget=2 --set select.design=uniform": "human/rounds/r1",
    "label --set label.model=m --set label.base_url=http://127.0.0.1:9": "outputs/labels",
    "bias": "outputs/bias",
    "bias --table table.csv --human a --ai b --prompt p --out results": "results",
    "gate": "outputs/gate",
    "plan": "outputs/plan",
    "targets": "outputs/targets/0",
    f"train --arm dedpo {DEDPO} --set train.base={BASE} --set train.steps=1": "outputs/policies/0/dedpo",
    f"sample {DEDPO} --set train.base={BASE} --set sample.prompts=prompts.txt": "outputs/samples",
    "score": "outputs/scores",
    f"judge {DEDPO} --set judge.rivals=[reference]": "outputs/verdicts",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with what the commands read, as far as they read it before they look where they will write."""
    root = tmp_path_factory.mktemp("project")
    for work in ("outputs", "pilot"):
        write_tables(root / work, n=20)
    write_targets(root / "outputs", "dedpo")
    for model in ("reference", "dedpo-0"):
        image = {"bytes": encode_png(Image.new("RGB", (8, 8))), "path": None}
        row = {"model": model, "prompt_id": "0", "seed": 0, "prompt": "a red circle", "image": image}
        table = pa.Table.from_pylist([row], schema=tables.SAMPLES.schema)
        tables.write(table, tables.SAMPLES, root / "outputs" / "samples" / f"samples-{model}.parquet")
    (root / "outputs" / "policies" / "0" / "dedpo").mkdir(parents=True)
    (root / "outputs" / "policies" / "0" / "dedpo" / "manifest.json").write_text("{}")
    (root / "mine" / "images").mkdir(parents=True)
    (root / "mine" / "pairs.csv").write_text("prompt,image_0,image_1\nx,images/a.png,images/b.png\n")
    (root / "prompts.txt").write_text("a red circle\n")
    (root / "table.csv").write_text("a,b,p\n1,0,x\n")
    for line in ("init -q", "add mine", "-c user.name=a -c user.email=a@example.org commit -qm x"):
        subprocess.run(["git", *line.split()], cwd=root, check=True)
    return root


def dedpo(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["dedpo", *line.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), capsys.readouterr().err


def tree(folder: Path) -> dict[str, object]:
    paths = [path for path in folder.rglob("*") if ".git" not in path.parts]
    return {p.as_posix(): p.read_bytes() if p.is_file() else p.is_symlink() and p.readlink() for p in paths}


def files(place: Path) -> Path:
    place.mkdir(parents=True)
    (place / "thesis.txt").write_text("three years")
    (place / "manifest.json").write_text('{"manifest_version": 3, "name": "an extension"}')
    return place


def unfinished(place: Path) -> Path:
    return files(ownership.partial_of(place))


def link(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(files(place.with_name("elsewhere")))
    return place


@pytest.mark.parametrize("lay", [files, unfinished, link])
@pytest.mark.parametrize("line", COMMANDS)
def test_a_strangers_files_are_refused_and_left_alone(
    line: str,
    lay: Callable[[Path], Path],
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(project, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    place = Path(COMMANDS[line])
    if place.is_dir():
        shutil.rmtree(place)
    strange = lay(place)
    before = tree(Path())
    code, told = dedpo(line, capsys, monkeypatch)
    assert (code, len(told.strip().splitlines())) == (2, 1), told
    assert str(strange) in told
    assert tree(Path()) == before


def test_a_decision_is_written_over_no_file_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("promotion.md", "promotion.json"):
        place = files(Path("reports"))
        (place / name).write_text('{"promotion": "of spring sales"}')
        found = record(Report, primary="dedpo", metric="m", differences={})
        (place / "metrics.json").write_text(json.dumps(found))
        before = tree(Path())
        code, told = dedpo("promote", capsys, monkeypatch)
        assert code == 2, told
        assert f"reports/{name}: no promotion wrote it" in told
        assert tree(Path()) == before
        (place / name).unlink()
        assert dedpo("promote", capsys, monkeypatch)[0] == 0
        with monkeypatch.context() as patch:
            patch.chdir("reports")
            assert dedpo("promote --report .", capsys, monkeypatch)[0] == 0
        assert before.items() - tree(Path()).items() == {(f"reports/{name}", before[f"reports/{name}"])}
        shutil.rmtree("reports")


# Who may remove or rename: each of these was looked at, and either asks `ownership` first or touches only what it has
# itself made under a name of its own.
DESTROYERS = {
    "bias/workspace_files.py", "cli/retire.py", "data/importing/shard_writer.py", "data/layouts/copy_import.py",
    "human/merged_ratings.py", "human/project_files.py", "kubeflow/component.py", "kubeflow/volume.py",
    "lineage/pull.py",
    "outputs/hashes.py", "outputs/locks.py", "outputs/manifest.py", "outputs/ownership.py", "sample/stage.py",
    "train/cache_entry.py", "train/checkpoint.py", "train/extension.py", "train/sample_splitting.py",
    "train/snapshots.py", "train/validation.py",
}  # fmt: skip
DESTROYING = {"rmtree", "unlink", "rmdir", "rename", "renames", "move", "removedirs"}


def test_no_other_file_removes_or_renames() -> None:
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            # Path.replace takes one argument, str.replace two or more.
            is_rename = node.func.attr == "replace" and len(node.args) == 1 and not node.keywords
            if is_rename or node.func.attr in DESTROYING:
                found.add(path.relative_to(SOURCE).as_posix())
    assert found == DESTROYERS, "ask ownership, or use disk.replace"
