"""Arms and seeds that the settings no longer name; a clone finds nothing to do then, with real git and DVC."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dedpo.cli.retire import retire

REPOSITORY = Path(__file__).parent.parent.parent
HERE = {
    "policies/0/dedpo/w", "policies/0/dpo_human/w", "policies/0/dpo_human.partial/w", "policies/1/dedpo/w",
    "policies/0/notes/w", "policies/mine/dedpo/w", "policies/read.me", "targets/0/dedpo/w", "targets/1/dedpo/w",
}  # fmt: skip


def _fill(work: Path) -> None:
    for name in HERE:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)


def _read(work: Path) -> dict[str, str]:
    return {p.relative_to(work).as_posix(): p.read_text() for p in work.rglob("*") if p.is_file()}


def test_what_is_not_named_is_moved_and_nothing_is_lost(tmp_path: Path) -> None:
    _fill(tmp_path)
    moved = retire(tmp_path, seeds=[0], arms=["dedpo"])
    gone = {"policies/0/dpo_human/w", "policies/0/dpo_human.partial/w", "policies/1/dedpo/w", "targets/1/dedpo/w"}
    assert _read(tmp_path) == {n: n for n in HERE - gone} | {f"retired/{n}": n for n in gone}
    assert {f.relative_to(tmp_path).as_posix() for f in moved} == {
        "policies/0/dpo_human", "policies/0/dpo_human.partial", "policies/1/dedpo", "targets/1",
    }  # fmt: skip
    assert not (tmp_path / "policies" / "1").exists()
    assert not retire(tmp_path, seeds=[0], arms=["dedpo"]), "once"


def test_an_arm_that_is_retired_twice_is_kept_twice(tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / "policies" / "0" / "dedpo").mkdir(parents=True)
        (tmp_path / "policies" / "0" / "dedpo" / "w").write_text(str(n))
        retire(tmp_path, seeds=[0], arms=["dpo_human"])
    kept = tmp_path / "retired" / "policies" / "0"
    assert {p.name: (p / "w").read_text() for p in kept.iterdir()} == {"dedpo": "0", "dedpo.1": "1", "dedpo.2": "2"}


def test_what_a_longer_run_would_go_on_from_goes_along(tmp_path: Path) -> None:
    for name in ("dedpo", ".dedpo.dedpo.last"):
        (tmp_path / "policies" / "0" / name).mkdir(parents=True)
    retire(tmp_path, seeds=[1], arms=["dedpo"])
    assert not list((tmp_path / "policies").iterdir())
    assert (tmp_path / "retired" / "policies" / "0" / ".dedpo.dedpo.last").is_dir()


def test_without_outputs_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert retire(tmp_path / "outputs", seeds=[0], arms=["dedpo"]) == {}


# In the stages' place: each writes its outputs at once. What is up to date is decided by the real dvc.yaml.
WORK = """
import sys
from pathlib import Path
import yaml
from dedpo.cli.retire import retire
settings = yaml.safe_load(Path("params.yaml").read_text())
words = sys.argv[1:]
if "--retire" in words:
    retire(Path("outputs"), seeds=settings["seeds"], arms=settings["arms"])
given = dict(zip(words[2::2], words[3::2]))
out = {"targets": f"outputs/targets/{given.get('--seed')}", "sample": "outputs/samples", "report": "reports",
       "train": f"outputs/policies/{given.get('--seed')}/{given.get('--arm')}"}[words[1]]
Path(out).mkdir(parents=True, exist_ok=True)
found = sorted(str(p) for name in ("policies", "targets") for p in Path("outputs", name).rglob("*.txt"))
Path(out, "made.txt").write_text(f"{words[1:]} {found if words[1] in ('sample', 'report') else ''}")
"""


def _project(folder: Path) -> None:
    """The repository's own train, sample and report, without what other stages would have to make."""
    known = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    stages: dict[str, Any] = {}
    for name in ("targets", "train", "sample", "report"):
        stage = {key: known[name][key] for key in ("matrix", "cmd", "deps", "outs") if key in known[name]}
        kept = ("outputs/targets", "outputs/policies", "outputs/samples")
        deps = [d for d in stage["deps"] if d.startswith(kept)] if name != "targets" else ["params.yaml"]
        # The real one has an arm's folder; here one file stands for all.
        deps = ["outputs/targets/${item.seed}" if "${item.arm}" in d else d for d in deps]
        stages[name] = stage | {"deps": deps, "cmd": f"{sys.executable} work.py {stage['cmd']}"}
    stages["targets"]["deps"] = ["work.py"]
    stages["sample"]["params"] = ["seeds", "arms"]
    stages["report"]["outs"] = ["reports/made.txt"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (folder / "work.py").write_text(WORK)


def _run(folder: Path, *command: str) -> str:
    program = shutil.which(command[0]) or str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def _settings(folder: Path, seeds: list[int], arms: list[str]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump({"seeds": seeds, "arms": arms}))


def _keep(folder: Path, message: str) -> None:
    _run(folder, "git", "add", "-A")
    _run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", message)
    _run(folder, "dvc", "push", "-q")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_clone_finds_nothing_to_do_after_an_arm_and_a_seed_were_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    here = tmp_path / "here"
    here.mkdir()
    _run(here, "git", "init", "-q", "-b", "main")
    _run(here, "dvc", "init", "-q")
    _run(here, "dvc", "remote", "add", "-q", "-d", "r", str(tmp_path / "remote"))
    _project(here)
    (here / ".gitignore").write_text("/outputs/\n/reports/\n")
    _settings(here, [0, 1], ["dedpo", "dpo_human"])
    _run(here, "dvc", "repro", "-q")
    _keep(here, "all")
    _settings(here, [0], ["dedpo"])
    told = _run(here, "dvc", "repro")
    assert "Running stage 'sample'" in told
    assert "Running stage 'train" not in told, "what was trained stays"
    assert "policies/0/dpo_human" not in (here / "outputs" / "samples" / "made.txt").read_text()
    assert (here / "outputs" / "retired" / "policies" / "0" / "dpo_human" / "made.txt").is_file()
    _keep(here, "fewer")

    _run(tmp_path, "git", "clone", "-q", str(here), "clone")
    clone = tmp_path / "clone"
    _run(clone, "dvc", "pull", "-q")
    assert "Data and pipelines are up to date" in _run(clone, "dvc", "status")
    dry = _run(clone, "dvc", "repro", "--dry")
    assert "Running stage" not in dry

    _settings(here, [0, 1], ["dedpo", "dpo_human"])
    back = _run(here, "dvc", "repro")
    assert "Running stage 'train" not in back, "an arm that is put back comes from DVC's cache"
    assert (here / "outputs" / "policies" / "1" / "dpo_human" / "made.txt").is_file()
