"""`dedpo data pull` from a real git + DVC repository whose data lies on a real S3-protocol server."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import yaml

from dedpo.errors import UserError
from dedpo.lineage.pull import NOTE, pull, uncommitted
from dedpo.lineage.versions import DataVersion
from dedpo.outputs import locks
from tests.s3_server import CREDENTIALS, Traffic, s3_server

FILES = {f"pairs/{i:02d}.bin": bytes([i]) * 3000 for i in range(12)} | {"ratings.csv": b"a,b\r\n", "empty": b""}


class World(NamedTuple):
    repo: Path
    s3: Traffic

    @property
    def url(self) -> str:
        return f"file://{self.repo}"


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(repo: Path, tag: str) -> None:
    """Track data/, commit, push."""
    from dvc.repo import Repo

    with Repo(str(repo)) as dvc:
        dvc.add(str(repo / "data"))
        dvc.push()
    run(repo, "git", "add", "-A")
    run(repo, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", tag)
    run(repo, "git", "tag", tag)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A repository with two versions of data/, pushed to S3, and a folder notes/ that git keeps."""
    from dvc.repo import Repo

    repo = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch, s3_server("bucket", "other") as s3:
        for name, value in (CREDENTIALS | {"DVC_SITE_CACHE_DIR": str(repo / ".site")}).items():
            patch.setenv(name, value)
        run(repo, "git", "init", "-q", "-b", "main")
        Repo.init(str(repo)).close()
        write_config(repo, {"url": "s3://bucket/data", "endpointurl": s3.url})
        (repo / ".gitignore").write_text("/.site\n")
        (repo / "notes").mkdir()
        (repo / "notes" / "read.txt").write_text("kept by git")
        write(repo / "data", FILES)
        commit(repo, "v1")
        write(repo / "data", {"ratings.csv": b"new\n"})
        commit(repo, "v2")
        yield World(repo, s3)


def write_config(repo: Path, remote: dict[str, str] | None) -> None:
    lines = [f"    {name} = {value}" for name, value in (remote or {}).items()]
    text = "\n".join(["[core]", "    remote = s3", "['remote \"s3\"']", *lines]) if remote else ""
    (repo / ".dvc" / "config").write_text(f"{text}\n")


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content)


def read(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def world(made: World) -> World:
    made.s3.forget()
    made.s3.refuse = False
    return made


@pytest.fixture
def clone(world: World, tmp_path: Path) -> Path:
    """A clone whose config a test changes; without the cache."""
    folder = tmp_path / "clone"
    run(tmp_path, "git", "clone", "-q", str(world.repo), str(folder))
    run(folder, "git", "config", "user.name", "a")
    run(folder, "git", "config", "user.email", "a@b")
    return folder


def with_remote(clone: Path, remote: dict[str, str] | None) -> str:
    """Commit another remote; the URL to pull from."""
    write_config(clone, remote)
    run(clone, "git", "commit", "-qam", "remote")
    return f"file://{clone}"


def test_a_tag_brings_its_version_from_the_remote_with_a_note_of_its_origin(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    note = pull(f"{world.url}@v1:data", out)
    found = read(out)
    assert json.loads(found.pop(NOTE)) == note
    assert found == FILES
    assert len(world.s3.got) == len(FILES) + 1
    locked = yaml.safe_load(run(world.repo, "git", "show", "v1:data.dvc"))["outs"][0]
    assert note == {
        "repo": world.url,
        "revision": "v1",
        "commit": run(world.repo, "git", "rev-parse", "v1"),
        "path": "data",
        "md5": locked["md5"],
        "files": locked["nfiles"],
        "bytes": locked["size"],
    }
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data/pairs", {f"{i:02d}.bin": FILES[f"pairs/{i:02d}.bin"] for i in range(12)}),
        ("data/ratings.csv", {"ratings.csv": b"new\n"}),
        ("notes", {"read.txt": b"kept by git"}),
        ("notes/read.txt", {"read.txt": b"kept by git"}),
    ],
)
def test_a_part_a_file_and_what_git_keeps(world: World, tmp_path: Path, path: str, expected: dict[str, bytes]) -> None:
    note = pull(f"{world.repo}:{path}", tmp_path / "out")
    found = read(tmp_path / "out")
    del found[NOTE]
    assert found == expected
    assert note["revision"] == "HEAD"
    if "." in path:
        assert note["md5"] == hashlib.md5(expected[Path(path).name]).hexdigest()


def test_an_abbreviated_commit_of_a_repository_elsewhere(world: World, tmp_path: Path) -> None:
    full = run(world.repo, "git", "rev-parse", "v1")
    assert pull(f"{world.url}@{full[:9]}:data/empty", tmp_path / "out")["commit"] == full


def test_a_folder_with_its_cache_needs_no_remote(world: World, tmp_path: Path) -> None:
    pull(f"{world.repo}@v1:data", tmp_path / "out")
    assert world.s3.got == []


def test_what_a_file_manager_left_is_no_change(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pull(f"{world.url}@v1:data", out)
    (out / "notes").mkdir()
    for name in (".DS_Store", "notes/._x"):
        (out / name).write_text("")
    pull(f"{world.url}@v2:data", out)
    assert not (out / ".DS_Store").exists()


def test_what_is_there_already_is_kept_and_what_was_changed_is_not_overwritten(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = pull(f"{world.url}@v1:data", out)
    world.s3.forget()
    assert pull(f"{world.url}@v1:data", out) == first
    assert world.s3.got == []
    # An earlier pull that nobody touched gives way to another version.
    assert pull(f"{world.url}@v2:data", out)["revision"] == "v2"
    assert (out / "ratings.csv").read_bytes() == b"new\n"
    (out / "ratings.csv").write_bytes(b"mine\n")
    with pytest.raises(UserError, match="it was changed since it was pulled"):
        pull(f"{world.url}@v1:data", out)
    assert (out / "ratings.csv").read_bytes() == b"mine\n"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_was_not_pulled_is_left_alone(world: World, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(UserError, match="something lies there that was not pulled"):
        pull(f"{world.url}@v1:data", tmp_path / "out")
    assert read(tmp_path / "out") == {"mine": b"x"}


def test_a_killed_pull_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    world.s3.hold_after = 7
    command = [sys.executable, "-m", "dedpo", "data", "pull", f"{world.url}@v1:data", "--out", str(out)]
    process = subprocess.Popen(command)
    end = time.monotonic() + 240
    while len(finished(partial)) < 4:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = finished(partial)
    assert 4 <= len(kept) < len(FILES)
    assert not out.exists()
    (partial / "stray").write_text("of something else")
    world.s3.release()
    world.s3.forget()
    pull(f"{world.url}@v1:data", out)
    assert {k: v for k, v in read(out).items() if k != NOTE} == FILES
    again = {path.split("/files/md5/")[1].replace("/", "") for path in world.s3.got}
    assert not again & {hashlib.md5(FILES[name]).hexdigest() for name in kept}
    assert len(again) <= len(FILES) + 1 - len(kept)


def finished(partial: Path) -> set[str]:
    return {p.relative_to(partial).as_posix() for p in partial.rglob("*")} & FILES.keys()


def test_a_damaged_object_is_refused(clone: Path, world: World, tmp_path: Path) -> None:
    copied = tmp_path / "store"
    url = with_remote(clone, {"url": str(copied)})
    md5 = hashlib.md5(FILES["pairs/03.bin"]).hexdigest()
    shutil.copytree(world.repo / ".dvc" / "cache", copied)
    damaged = copied / "files" / "md5" / md5[:2] / md5[2:]
    damaged.chmod(0o644)
    damaged.write_bytes(b"\0" * 3000)
    with pytest.raises(UserError, match=f"'pairs/03.bin' came with MD5 .* where DVC recorded {md5}"):
        pull(f"{url}:data", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("relpath", "message"),
    [("other", "the list of files of 'data' is not the one that was committed"), ("../../../evil", "refused: ")],
)
def test_a_changed_list_of_files_is_refused(
    clone: Path, world: World, tmp_path: Path, relpath: str, message: str
) -> None:
    copied = tmp_path / "store"
    url = with_remote(clone, {"url": str(copied)})
    shutil.copytree(world.repo / ".dvc" / "cache", copied)
    md5 = yaml.safe_load((clone / "data.dvc").read_text())["outs"][0]["md5"]
    listed = copied / "files" / "md5" / md5[:2] / md5[2:]
    listed.chmod(0o644)
    entries = json.loads(listed.read_text())
    entries[0]["relpath"] = relpath
    listed.write_text(json.dumps(entries))
    with pytest.raises(UserError, match=message):
        pull(f"{url}:data", tmp_path / "out")
    assert not list(tmp_path.rglob("evil*"))


def test_an_unknown_path_names_the_nearest(world: World, tmp_path: Path) -> None:
    for repo in (world.url, str(world.repo)):
        with pytest.raises(UserError, match=r"neither DVC nor git tracks 'data/pair' there; nearest are data/pairs"):
            pull(f"{repo}@v1:data/pair", tmp_path / "out")


def test_data_that_was_not_pushed(clone: Path, world: World, tmp_path: Path) -> None:
    url = with_remote(clone, {"url": "s3://other/x", "endpointurl": world.s3.url})
    with pytest.raises(UserError, match=r"not in remote 's3' \(s3://other/x\).*run 'dvc push' where it was made"):
        pull(f"{url}:data", tmp_path / "out")


def test_a_repository_without_a_remote(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no remote; 'dvc remote add -d' one"):
        pull(f"{with_remote(clone, None)}:data", tmp_path / "out")


def test_a_remote_that_is_not_there_and_one_that_refuses(clone: Path, world: World, tmp_path: Path) -> None:
    url = with_remote(clone, {"url": "s3://bucket/data", "endpointurl": "http://127.0.0.1:1"})
    with pytest.raises(UserError, match="remote 's3' .* cannot be read .*check address and network"):
        pull(f"{url}:data", tmp_path / "out")
    world.s3.refuse = True
    with pytest.raises(UserError, match="credentials are missing or were refused"):
        pull(f"{world.url}:data", tmp_path / "out")


def test_missing_credentials_are_said_to_be_missing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "dedpo", "data", "pull", f"{world.url}:data", "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "credentials are missing or were refused" in done.stderr


def test_a_remote_whose_driver_is_not_installed(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="requires 'dvc-gs' to be installed"):
        pull(f"{with_remote(clone, {'url': 'gs://bucket/x'})}:data", tmp_path / "out")


def test_a_broken_lock_file_is_named(clone: Path, tmp_path: Path) -> None:
    (clone / "data.dvc").write_text("outs: [")
    run(clone, "git", "commit", "-qam", "broken")
    with pytest.raises(UserError, match=r"DVC cannot read the repository \(.*data.dvc"):
        pull(f"file://{clone}:data", tmp_path / "out")


def test_a_folder_outside_git_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(UserError, match="not a git repository"):
        pull(f"{tmp_path / 'plain'}@v1:data", tmp_path / "out")


def test_uncommitted_changes_are_warned_of_and_not_taken(clone: Path, world: World, tmp_path: Path) -> None:
    (clone / "notes" / "read.txt").write_text("changed")
    warning = uncommitted(f"{clone}:notes")
    assert warning is not None
    assert "uncommitted changes (1 files, such as notes/read.txt) are not part of HEAD" in warning
    pull(f"{clone}:notes", tmp_path / "out")
    assert (tmp_path / "out" / "read.txt").read_text() == "kept by git"
    assert uncommitted(f"{clone}@v1:notes") is None
    assert uncommitted(f"file://{clone}:notes") is None
    assert uncommitted(f"{world.repo}:notes") is None


def test_a_second_pull_into_one_folder_is_refused(world: World, tmp_path: Path) -> None:
    with locks.alone(tmp_path / "out"), pytest.raises(UserError, match="has been writing there since"):
        pull(f"{world.url}@v1:data", tmp_path / "out")
    pull(f"{world.url}@v1:data", tmp_path / "out")


def test_a_running_dvc_command_does_not_stand_in_the_way(world: World, tmp_path: Path) -> None:
    from dvc.repo import Repo

    with Repo(str(world.repo)) as dvc, dvc.lock:
        pull(f"{world.repo}@v2:data", tmp_path / "out")


def test_a_full_disk_is_said_and_what_came_is_kept(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = DataVersion.fetch

    def full(source: DataVersion, version: object, to: Path) -> None:
        if to.name.startswith("11.bin"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(to))
        fetch(source, version, to)  # type: ignore[arg-type]

    monkeypatch.setattr(DataVersion, "fetch", full)
    with pytest.raises(UserError, match="No space left on device; make room and run again: what came lies in"):
        pull(f"{world.url}@v1:data", tmp_path / "out")
    assert len(finished(tmp_path / "out.partial")) >= 1


def test_a_disk_that_is_too_small_is_told_beforehand(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(map(len, FILES.values()))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=size - 1))
    with pytest.raises(UserError, match="GB are to come and .* GB are free; make room"):
        pull(f"{world.url}@v1:data", tmp_path / "out")
    assert len(world.s3.got) == 1
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=size))
    pull(f"{world.url}@v1:data", tmp_path / "out")
