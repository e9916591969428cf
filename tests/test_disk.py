"""After a power cut a name refers to nothing that was not on the disk before: the order of fsync and rename."""

import errno
import os
from dataclasses import dataclass

import numpy as np
import pytest

from dedpo import disk
from dedpo.asking.answers import Log, Store
from dedpo.contract import tables
from dedpo.outputs.manifest import output_folder, write_json
from dedpo.tabular.rejected import write_csv
from dedpo.train import cache_entry
from tests.disk_calls import calls, in_order  # noqa: F401 (a fixture)


def test_what_a_manifest_names_is_on_the_disk_before_it_and_it_before_its_folder(tmp_path, calls):  # noqa: F811
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


def test_a_shared_folder_is_no_longer_finished_before_it_is_changed(tmp_path, calls):  # noqa: F811
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
def test_a_whole_file_is_on_the_disk_before_its_name(tmp_path, calls, kind):  # noqa: F811
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


@dataclass
class Said:
    question: int
    error: None = None

    @property
    def key(self):
        return (self.question,)


def test_answers_are_on_the_disk_before_the_output_that_is_made_from_them(tmp_path, calls):  # noqa: F811
    with (
        output_folder(tmp_path / "out", stage="toy", config={}, inputs={}) as partial,
        Store(Log(tmp_path / "out.answers", "vlm"), Said) as store,
    ):
        store.add(Said(1))
        store.write(partial, store.answers)
    manifest = ("rename", "out.partial/manifest.json")
    in_order(calls, ("sync", "out.answers"), ("sync", "out.answers/vlm-0.jsonl"), manifest)
    in_order(calls, ("sync", "out.partial/answers/vlm.jsonl"), manifest)


def test_an_entry_of_the_cache_is_on_the_disk_before_its_name(tmp_path, calls):  # noqa: F811
    with cache_entry.writing(tmp_path / "entry") as temporary:
        name = temporary.name
        cache_entry.write_rows(temporary / "latents.npy", iter([np.zeros(2, np.float32)]), (1, 2))
        cache_entry.write_array(temporary / "text.npy", np.zeros((1, 2), np.float32))
        cache_entry.write_index(temporary, cache_entry.Index())
    for file in ("latents.npy", "text.npy", ".index.json.tmp"):
        in_order(calls, ("sync", f"{name}/{file}"), ("sync", name), ("rename", "entry"), ("sync", "."))


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
