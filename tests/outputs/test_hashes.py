import hashlib
import os
import sqlite3
from types import SimpleNamespace

import pytest

from dedpo.outputs import hashes


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Notes in a folder of their own, for files of any size, however young."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "WORTH_NOTING", 0)
    monkeypatch.setattr(hashes, "SETTLED_SECONDS", -60.0)
    return tmp_path / "cache" / "dedpo" / "hashes.sqlite"


@pytest.fixture
def read(monkeypatch):
    """The files that are really read."""
    found, sha256 = [], hashes.sha256
    monkeypatch.setattr(hashes, "sha256", lambda path: found.append(path.name) or sha256(path))
    return found


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_hashes_are_those_of_hashlib(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("y")
    assert hashes.hashes([tmp_path / "a", tmp_path / "b"]) == {tmp_path / "a": sha("x"), tmp_path / "b": sha("y")}


def test_a_folders_content_leaves_out_manifests_and_what_begins_with_a_dot(tmp_path):
    for name in (
        "a",
        "inner/b",
        "manifest.json",
        "manifest.run.json",
        "inner/manifest.json",
        ".hidden",
        ".git/c",
        "inner/.d",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert list(hashes.content(tmp_path)) == ["a", "inner/.d", "inner/b"]


def test_what_was_hashed_is_not_read_again(tmp_path, cache, read):
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    first = hashes.hashes(paths)
    assert sorted(read) == ["a", "b", "c"]
    assert hashes.hashes(paths) == first
    assert len(read) == 3


@pytest.mark.parametrize("how", ["longer", "same size", "times set back", "replaced"])
def test_a_file_that_changed_is_read_again(tmp_path, cache, read, how):
    path = tmp_path / "a"
    path.write_text("old")
    before = path.stat()
    hashes.hashes([path])
    if how == "replaced":
        (tmp_path / "b").write_text("new")
        os.utime(tmp_path / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
        (tmp_path / "b").replace(path)
    else:
        path.write_text("longer" if how == "longer" else "new")
    if how == "times set back":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hashes.hashes([path])[path] == sha(path.read_text())
    assert read == ["a", "a"]


def test_a_file_that_may_still_change_within_its_time_is_not_noted(tmp_path, cache, read, monkeypatch):
    monkeypatch.setattr(hashes, "SETTLED_SECONDS", 2.0)
    (tmp_path / "a").write_text("x")
    for _ in range(2):
        hashes.hashes([tmp_path / "a"])
    assert read == ["a", "a"]


def test_few_bytes_are_not_worth_a_note(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(hashes, "WORTH_NOTING", 2)
    (tmp_path / "a").write_text("x")
    hashes.hashes([tmp_path / "a"])
    assert not cache.exists()


def test_more_files_than_a_chunk(tmp_path, cache, read):
    paths = [tmp_path / str(i) for i in range(3 * hashes._CHUNK + 1)]
    for path in paths:
        path.write_text(path.name)
    assert hashes.hashes(paths) == hashes.hashes(paths) == {path: sha(path.name) for path in paths}
    assert len(read) == len(paths)


def test_a_broken_or_forbidden_cache_costs_time_and_nothing_else(tmp_path, cache, monkeypatch):
    (tmp_path / "a").write_text("x")
    cache.parent.mkdir(parents=True)
    cache.write_text("no database")
    assert hashes.hashes([tmp_path / "a"]) == {tmp_path / "a": sha("x")}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a"))
    assert hashes.hashes([tmp_path / "a"]) == {tmp_path / "a": sha("x")}


def test_a_torn_cache_begins_anew(tmp_path, cache, read):
    (tmp_path / "a").write_text("x")
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"SQLite format 3\0" + b"torn" * 1000)
    for _ in range(3):
        assert hashes.hashes([tmp_path / "a"]) == {tmp_path / "a": sha("x")}
    assert read == ["a", "a"]


def test_names_that_are_no_text_and_large_inodes(tmp_path, cache, read, monkeypatch):
    path = tmp_path / os.fsdecode(b"a\xff")
    path.write_text("x")
    large = SimpleNamespace(st_size=1, st_ino=2**64 - 1, st_mtime_ns=1, st_ctime_ns=1)
    cache.parent.mkdir(parents=True)
    monkeypatch.setattr(hashes.Path, "mkdir", lambda self, **_: None)
    monkeypatch.setattr(hashes.Path, "stat", lambda self, **_: large)
    for _ in range(2):
        assert hashes.hashes([path]) == {path: sha("x")}
    assert len(read) == 1


def test_a_locked_cache_is_passed_over(tmp_path, cache, monkeypatch):
    (tmp_path / "a").write_text("x")
    hashes.hashes([tmp_path / "a"])
    connect = sqlite3.connect
    monkeypatch.setattr(hashes.sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.05))
    other = connect(cache, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert hashes.hashes([tmp_path / "a"]) == {tmp_path / "a": sha("x")}
    other.close()
