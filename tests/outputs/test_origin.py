import json
import os
from pathlib import Path

import pytest

from dedpo.outputs import origin
from dedpo.outputs.manifest import output_folder, read_manifest

PULLED = {
    "repo": "team/data",
    "revision": "v1",
    "commit": "c" * 40,
    "path": "pairs",
    "md5": "m",
    "files": 1,
    "bytes": 3,
}


@pytest.fixture
def pulled(tmp_path: Path) -> Path:
    folder = tmp_path / "pulled"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "pairs.csv").write_text("abc")
    (folder / ".pulled.json").write_text(json.dumps(PULLED))
    return folder


def make(out: Path, **inputs: Path) -> dict:
    with output_folder(out, stage="toy", config={}, inputs=inputs) as partial:
        (partial / "deep").mkdir()
        (partial / "deep" / "a.txt").write_text("a")
    return read_manifest(out)


@pytest.mark.parametrize("inner", [".", "inner", "inner/pairs.csv"])
def test_what_is_made_from_pulled_data_names_its_revision(pulled, tmp_path, inner):
    assert make(tmp_path / "out", data=pulled / inner)["revision"] == PULLED


@pytest.mark.parametrize("inner", [".", "deep", "deep/a.txt"])
def test_a_revision_is_inherited_from_the_output_that_an_input_is_or_lies_in(pulled, tmp_path, inner):
    make(tmp_path / "first", data=pulled)
    make(tmp_path / "second", first=tmp_path / "first" / inner)
    assert make(tmp_path / "third", second=tmp_path / "second")["revision"] == PULLED


def test_without_pulled_data_there_is_no_revision(tmp_path):
    (tmp_path / "in.txt").write_text("x")
    assert make(tmp_path / "out", data=tmp_path / "in.txt")["revision"] is None


def test_what_lies_beside_an_output_inherits_nothing_from_it(pulled, tmp_path):
    make(tmp_path / "first", data=pulled)
    (tmp_path / "first" / "later").mkdir()
    (tmp_path / "first" / "later" / "b.txt").write_text("b")
    assert make(tmp_path / "second", later=tmp_path / "first" / "later")["revision"] is None


def test_pulled_data_that_was_added_to_is_said_to_be(pulled, tmp_path):
    (pulled / "inner" / "more.csv").write_text("x")
    found = make(tmp_path / "out", data=pulled)["revision"]
    assert found == PULLED | {"changed": True}
    assert "files were added or changed there since" in origin.describe(found)


def test_a_part_that_is_moved_out_keeps_the_revision(pulled, tmp_path):
    make(tmp_path / "first", data=pulled)
    (tmp_path / "first" / "deep").rename(tmp_path / "part")
    assert make(tmp_path / "before", part=tmp_path / "part")["revision"] is None
    origin.hand_on(tmp_path / "first", tmp_path / "part")
    found = make(tmp_path / "after", part=tmp_path / "part")
    assert found["revision"] == {name: PULLED[name] for name in ("repo", "revision", "commit", "path")}
    assert found["inputs"] == read_manifest(tmp_path / "before")["inputs"]


def test_of_several_revisions_the_datas_comes_first_and_all_are_listed(pulled, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "base.txt").write_text("abc")
    (other / ".pulled.json").write_text(json.dumps(PULLED | {"revision": "v2"}))
    found = make(tmp_path / "out", base=other, pairs=pulled)
    assert found["revision"]["revision"] == "v1"
    assert {name: r["revision"] for name, r in found["revisions"].items()} == {"base": "v2", "pairs": "v1"}


def test_a_strangers_or_broken_note_is_none(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "in.txt").write_text("x")
    for text in ("{", "[]", '{"name": "a web page"}'):
        (tmp_path / "raw" / ".pulled.json").write_text(text)
        assert make(tmp_path / "out", data=tmp_path / "raw")["revision"] is None


def test_a_revision_in_words():
    assert origin.describe(PULLED) == "team/data@v1:pairs, commit cccccccccccc"
    assert origin.describe(PULLED | {"revision": "c" * 40}) == "team/data:pairs, commit cccccccccccc"


# models of the hub


def test_models_are_told_apart_by_whether_they_lie_here(tmp_path):
    named = {"base": str(tmp_path), "vae": "owner/vae", "none": None}
    assert origin.split_models(named) == ({"base": tmp_path}, {"vae": "owner/vae"})


@pytest.mark.parametrize("model", ["owner/name", "owner/name/weights.pt"])
def test_a_hub_models_commit_is_that_of_the_copy_here(tmp_path, monkeypatch, model):
    refs = tmp_path / "hub" / "models--owner--name" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("d" * 40)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert origin.hub_commits({"base": model}) == {"base": {"id": model, "commit": "d" * 40}}


def test_a_hub_model_without_a_copy_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with output_folder(tmp_path / "out", stage="toy", config={}, inputs={}, models={"base": "owner/name"}):
        pass
    assert read_manifest(tmp_path / "out")["hub"] == {"base": {"id": "owner/name", "commit": None}}


def test_the_hubs_own_client_looks_in_the_same_place(tmp_path, monkeypatch):
    download = pytest.importorskip("huggingface_hub").try_to_load_from_cache
    repo = tmp_path / "models--owner--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("d" * 40)
    (repo / "snapshots" / ("d" * 40)).mkdir(parents=True)
    (repo / "snapshots" / ("d" * 40) / "config.json").write_text("{}")
    found = download("owner/name", "config.json", cache_dir=tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert origin.hub_commits({"m": "owner/name"})["m"]["commit"] == Path(found).parent.name


# the code


def test_the_codes_hash_follows_its_files(tmp_path, monkeypatch):
    origin.code.cache_clear()
    before = origin.code()["sha256"]
    (tmp_path / "dedpo").mkdir()
    (tmp_path / "dedpo" / "__init__.py").write_text("x = 1\n")
    monkeypatch.setattr("dedpo.__file__", str(tmp_path / "dedpo" / "__init__.py"))
    origin.code.cache_clear()
    other = origin.code()["sha256"]
    (tmp_path / "dedpo" / "more.css").write_text("")
    (tmp_path / "dedpo" / "x.pyc").write_text("compiled")
    origin.code.cache_clear()
    assert len({before, other, origin.code()["sha256"]}) == 3
    os.remove(tmp_path / "dedpo" / "more.css")
    origin.code.cache_clear()
    assert origin.code()["sha256"] == other
    origin.code.cache_clear()
