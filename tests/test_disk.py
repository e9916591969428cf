"""After a power cut a name refers to nothing that was not on the disk before: the order of fsync and rename."""

import errno
import os
from pathlib import Path

import pytest

from dedpo import disk, tables
from dedpo.manifest import output_folder, write_json
from dedpo.set_aside import write_csv


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What was done, in order: ('sync', path) and ('rename', to), relative to the test's folder."""
    done, fsync, replace, rename = [], os.fsync, os.replace, Path.replace

    def name(path):
        return os.path.relpath(path, tmp_path)

    def synced(descriptor):
        done.append(("sync", name(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def replaced(source, target):
        done.append(("rename", name(target)))
        replace(source, target)

    def renamed(source, target):
        done.append(("rename", name(target)))
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(Path, "replace", renamed)
    return done


def in_order(calls, *expected):
    """The expected calls happen in this order, whatever lies between."""
    rest = iter(calls)
    for call in expected:
        assert call in rest, f"{call} is missing, or comes too early, in {calls}"


def test_what_a_manifest_names_is_on_the_disk_before_it_and_it_before_its_folder(tmp_path, calls):
    with output_folder(tmp_path / "out", stage="toy", config={}, inputs={}) as partial:
        (partial / "inner").mkdir()
        (partial / "inner" / "b.bin").write_bytes(b"x")
        (partial / "a.txt").write_text("x")
    manifest = ("sync", "out.partial/.manifest.json.tmp")
    for file in ("a.txt", "inner/b.bin", "inner"):
        in_order(calls, ("sync", f"out.partial/{file}"), manifest)
    in_order(
        calls,
        manifest,
        ("rename", "out.partial/manifest.json"),
        ("sync", "out.partial"),
        ("rename", "out"),
        ("sync", "."),
    )


def test_a_shared_folder_is_no_longer_finished_before_it_is_changed(tmp_path, calls):
    for _ in range(2):
        calls.clear()
        with output_folder(tmp_path / "out", stage="toy", config={}, inputs={}, shared=["a.txt"]) as partial:
            (partial / "a.txt").write_text("x")
        in_order(
            calls,
            ("sync", "out.partial/a.txt"),
            ("rename", "out.partial/manifest.json"),
            ("rename", "out/a.txt"),
            ("rename", "out/manifest.json"),
            ("sync", "out"),
        )


@pytest.mark.parametrize("kind", ["json", "text", "table", "csv"])
def test_a_whole_file_is_on_the_disk_before_its_name(tmp_path, calls, kind):
    path = tmp_path / "file"
    if kind == "json":
        write_json(path, {"a": 1})
    elif kind == "text":
        disk.write_text(path, "a")
    elif kind == "table":
        tables.write(tables.RATINGS.schema.empty_table(), tables.RATINGS, path)
    else:
        write_csv(path, "row", [])
    in_order(calls, ("sync", ".file.tmp"), ("rename", "file"), ("sync", "."))


def test_a_folder_that_cannot_be_synced_is_let_be_and_a_broken_disk_is_not(tmp_path, monkeypatch):
    def broken(_):
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "fsync", broken)
    disk.sync(tmp_path)
    (tmp_path / "a").write_text("x")
    with pytest.raises(OSError, match="I/O error"):
        disk.sync(tmp_path / "a")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_has_no_word_for_is_no_file(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": [1.0, value]})
    assert list(tmp_path.iterdir()) == []
