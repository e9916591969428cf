"""`dedpo data pull` from and into places that are not as they usually are; repositories of git alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dedpo.errors import UserError
from dedpo.lineage.pull import NOTE, pull, uncommitted
from dedpo.lineage.references import parse
from dedpo.lineage.versions import DataVersion
from dedpo.outputs import ownership


def git(folder: Path, *arguments: str, text: str = "") -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout.strip()


def read(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    (folder / "notes").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "notes" / "a.txt").write_text("a")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "v1")
    git(folder, "tag", "v1")
    return folder


def test_a_bare_repository_on_this_disk(repo: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(repo), str(bare))
    assert uncommitted(f"{bare}@v1:notes") is None
    assert pull(f"{bare}@v1:notes", tmp_path / "out")["commit"] == git(repo, "rev-parse", "v1")
    assert (tmp_path / "out" / "a.txt").read_text() == "a"


@pytest.mark.parametrize("content", [{"pairs/0.parquet": "mine"}, {".request.json": "{}"}, {"a.txt": "a"}])
def test_a_partial_folder_that_no_pull_left_is_refused_and_left_alone(
    repo: Path, tmp_path: Path, content: dict[str, str]
) -> None:
    partial = tmp_path / "out.partial"
    for name, text in content.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_text(text)
    (partial / "empty").mkdir()
    with pytest.raises(UserError, match=r"out.partial: files lie there that no run of dedpo left .*choose another"):
        pull(f"{repo}@v1:notes", tmp_path / "out")
    assert read(partial) == content
    assert (partial / "empty").is_dir()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("left", [[], [".request.json", "stray"], [".request.json", NOTE, "a.txt"]])
def test_what_an_interrupted_pull_left_is_gone_on_with(repo: Path, tmp_path: Path, left: list[str]) -> None:
    (tmp_path / "out.partial").mkdir()
    for name in left:
        (tmp_path / "out.partial" / name).write_text('{"stage": "data pull"}')
    pull(f"{repo}@v1:notes", tmp_path / "out")
    assert sorted(read(tmp_path / "out")) == [NOTE, "a.txt"]
    assert (tmp_path / "out" / "a.txt").read_text() == "a"


@pytest.mark.parametrize("out", [".", "..", "/", "sub/.."])
def test_a_folder_that_cannot_be_replaced_is_refused(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "here" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match="it cannot be replaced as a whole; name a folder in it") as raised:
        pull(f"{repo}@v1:notes", Path(out))
    assert len(str(raised.value).splitlines()) == 1
    assert sorted(p.name for p in tmp_path.rglob("here/*")) == ["sub"]


@pytest.mark.parametrize("kind", ["040000 tree", "100644 blob"])
@pytest.mark.parametrize("name", ["..", "."])
@pytest.mark.parametrize("path", ["notes", "nothing"])
def test_a_tree_that_leads_out_of_its_folder_is_refused(
    repo: Path, tmp_path: Path, kind: str, name: str, path: str
) -> None:
    blob = git(repo, "hash-object", "-w", "--stdin", text="evil")
    below = git(repo, "mktree", text=f"100644 blob {blob}\tevil\n") if "tree" in kind else blob
    notes = git(repo, "mktree", text=f"{kind} {below}\t{name}\n100644 blob {blob}\tok\n")
    root = git(repo, "mktree", text=f"040000 tree {notes}\tnotes\n")
    commit = git(repo, "commit-tree", "-m", "x", root)
    with pytest.raises(UserError, match="refused: git's tree has a folder '.' or '..'") as raised:
        pull(f"{repo}@{commit}:{path}", tmp_path / "out")
    assert len(str(raised.value).splitlines()) == 1
    assert not list(tmp_path.rglob("evil"))


def test_names_with_dots_are_refused_however_they_are_listed(tmp_path: Path) -> None:
    fs = SimpleNamespace(
        exists=lambda _: True,
        isfile=lambda _: False,
        isdir=lambda _: True,
        find=lambda root: [f"{root}/a..b", f"{root}/../evil"],
        relpath=lambda path, root: path.removeprefix(f"{root}/"),
    )
    source = DataVersion(SimpleNamespace(fs=fs, dvc_dir=None), parse(".@v1:notes"), "notes")
    with pytest.raises(UserError, match=r"refused: git's tree names '../evil'"):
        source.files()


@pytest.mark.parametrize("kind", ["link", "file", "old", "partial of an import"])
def test_what_is_in_the_way_is_left_alone(repo: Path, tmp_path: Path, kind: str) -> None:
    mine = tmp_path / "place" / "mine"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("three years")
    out = mine.with_name("out")
    if kind == "link":
        out.symlink_to(mine)
    elif kind == "file":
        out.write_text("mine")
    elif kind == "old":
        mine.rename(ownership.former_of(out))
    else:
        mine.rename(out.with_name("out.partial"))
        (out.with_name("out.partial") / ".request.json").write_text('{"stage": "data"}')
    before = (read(out.parent), sorted(out.parent.iterdir()))
    with pytest.raises(UserError) as raised:
        pull(f"{repo}@v1:notes", out)
    assert len(str(raised.value).splitlines()) == 1
    assert (read(out.parent), sorted(out.parent.iterdir())) == before


def test_a_kill_between_the_two_renames_loses_nothing(repo: Path, tmp_path: Path) -> None:
    out, former = tmp_path / "out", ownership.former_of(tmp_path / "out")
    first = pull(f"{repo}@v1:notes", out)
    out.rename(former)
    assert pull(f"{repo}@v1:notes", out) == first
    shutil.copytree(out, former)
    (repo / "notes" / "a.txt").write_text("b")
    git(repo, "commit", "-qam", "v2")
    pull(f"{repo}@HEAD:notes", out)
    assert read(out)["a.txt"] == "b"
    assert not former.exists()


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with a DVC project in a folder of it (`dvc init --subdir`), pushed to a remote beside it."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("nested")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / ".site"))
        project = folder / "repo" / "team" / "images"
        for name, text in {"data/pairs/0.bin": "zero", "data/1.bin": "one", "notes/a.txt": "a"}.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(text)
        (folder / "repo" / "read.me").write_text("top")
        git(folder / "repo", "init", "-q", "-b", "main")
        Repo.init(str(project), subdir=True).close()
        (project / ".dvc" / "config").write_text(
            "[core]\n    remote = r\n['remote \"r\"']\n    url = ../../../../remote\n"
        )
        with Repo(str(project)) as dvc:
            dvc.add(str(project / "data"))
            dvc.push()
        git(folder / "repo", "add", "-A")
        git(folder / "repo", "commit", "-qm", "v1")
        git(folder / "repo", "tag", "v1")
        shutil.rmtree(project / ".dvc" / "cache")
        yield folder / "repo"


@pytest.mark.parametrize(
    "reference",
    ["{repo}@v1:team/images/data", "{repo}/team/images@v1:data", "{repo}/team@v1:images/data",
     "{repo}/team/images@v1:team/images/data"],
)  # fmt: skip
def test_a_project_in_a_folder_of_a_repository(nested: Path, tmp_path: Path, reference: str) -> None:
    note = pull(reference.format(repo=nested), tmp_path / "out")
    assert (tmp_path / "out" / "pairs" / "0.bin").read_text() == "zero"
    assert (tmp_path / "out" / "1.bin").read_text() == "one"
    assert (note["files"], note["md5"].endswith(".dir")) == (2, True)
    assert pull(reference.format(repo=nested), tmp_path / "out") == note, "it is there already"


def test_a_project_in_a_folder_of_a_repository_elsewhere(nested: Path, tmp_path: Path) -> None:
    """Its remote's address is relative, which means nothing there: so it is named, and what git keeps comes."""
    pull(f"file://{nested}@v1:team/images/notes", tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_text() == "a"
    with pytest.raises(UserError, match="remote 'r'"):
        pull(f"file://{nested}@v1:team/images/data", tmp_path / "data")


def test_one_file_of_such_a_project(nested: Path, tmp_path: Path) -> None:
    for repo, path in ((nested, "team/images/data/1.bin"), (nested / "team", "images/data/1.bin")):
        note = pull(f"{repo}@v1:{path}", tmp_path / "out" / repo.name)
        assert (tmp_path / "out" / repo.name / "1.bin").read_text() == "one"
        assert not note["md5"].endswith(".dir")


def test_what_lies_above_such_a_project_is_refused_rather_than_half(nested: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another DVC project lies in 'team/images'; name a path in one of them"):
        pull(f"{nested}@v1:team", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_path_from_the_wrong_folder_is_told_where_the_projects_are(nested: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither DVC nor git tracks 'data' there; .*DVC projects lie in team/images"):
        pull(f"{nested}@v1:data", tmp_path / "out")
    with pytest.raises(UserError, match="nearest are team/images/data"):
        pull(f"{nested}/team/images@v1:dat", tmp_path / "out")
