import errno
import json
import os
import shutil
import subprocess

import pytest
from safetensors import SafetensorError

from dedpo.errors import UserError
from dedpo.outputs import hashes, manifest
from dedpo.outputs.manifest import fingerprint, input_hashes, output_folder, read_manifest, write_json


def make(out, *, text="done", config=None, inputs=None, fail=False, **how):
    """Write one file into an output; return what lay in the partial folder at the beginning."""
    with output_folder(out, stage="toy", config=config or {}, inputs=inputs or {}, **how) as partial:
        found = sorted(p.name for p in partial.iterdir() if not p.name.startswith("."))
        (partial / "a.txt").write_text(text)
        if fail:
            raise RuntimeError("killed")
    return found


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_finished_output_says_what_it_was_made_from(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("x")
    make(tmp_path / "out", config={"k": 1}, inputs={"source": source})
    found = read_manifest(tmp_path / "out")
    assert (found["stage"], found["config"]) == ("toy", {"k": 1})
    assert found["inputs"] == {"source": fingerprint(source)}
    assert found["outputs"] == {"a.txt": fingerprint(tmp_path / "out" / "a.txt")}
    assert {"python", "numpy", "pyarrow"} <= found["versions"].keys()
    assert found["seconds"] >= 0
    assert files(tmp_path / "out") == ["a.txt", "manifest.json", "manifest.run.json"]
    assert not (tmp_path / "out.partial").exists()


def test_a_manifest_says_where_its_inputs_lay_as_seen_from_the_outputs_folder(tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "in.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    inputs = {"near": manifest.Path("raw/in.txt"), "far": manifest.Path("/etc/hostname")}
    make(manifest.Path("work/0/out"), inputs=inputs)
    assert read_manifest(tmp_path / "work/0/out")["paths"] == {"near": "../../raw/in.txt", "far": "/etc/hostname"}


def test_a_moved_tree_has_the_same_paths(tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "in.txt").write_text("x")
        make(tmp_path / place / "out", inputs={"source": tmp_path / place / "in.txt"})
    here, there = (read_manifest(tmp_path / place / "out") for place in ("here", "there"))
    assert here["paths"] == there["paths"] == {"source": "in.txt"}


def test_a_manifest_says_which_code_ran_in_which_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "outside")
    found = read_manifest(tmp_path / "outside")
    assert found["git_commit"] is None
    assert found["code"]["sha256"] == manifest.origin.code()["sha256"]
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    make(tmp_path / "inside")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert read_manifest(tmp_path / "inside")["git_commit"] == head


def test_an_output_in_the_making_knows_its_inputs(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("x")
    with output_folder(tmp_path / "out", stage="toy", config={}, inputs={"source": source}) as partial:
        assert input_hashes(partial) == {"source": fingerprint(source)}
    assert read_manifest(tmp_path / "out")["inputs"] == {"source": fingerprint(source)}


def test_a_crash_in_the_middle_leaves_a_partial_folder_and_no_output(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        make(tmp_path / "out", fail=True)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial" / "a.txt").read_text() == "done"
    assert not (tmp_path / "out.partial" / "manifest.json").exists()
    with pytest.raises(UserError, match="it was interrupted"):
        read_manifest(tmp_path / "out")


def test_a_crash_leaves_the_former_output_as_it_was(tmp_path):
    make(tmp_path / "out", text="first")
    with pytest.raises(RuntimeError):
        make(tmp_path / "out", text="second", fail=True)
    assert (tmp_path / "out" / "a.txt").read_text() == "first"
    assert read_manifest(tmp_path / "out")["stage"] == "toy"


def test_without_resumption_each_run_begins_empty(tmp_path):
    with pytest.raises(RuntimeError):
        make(tmp_path / "out", fail=True)
    assert make(tmp_path / "out") == []


def test_a_resumable_stage_finds_its_work_again_while_the_request_is_the_same(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("x")
    request = {"config": {"k": 1}, "inputs": {"source": source}, "resumable": True}
    with pytest.raises(RuntimeError):
        make(tmp_path / "out", **request, fail=True)
    with pytest.raises(RuntimeError):
        assert make(tmp_path / "out", **request, fail=True) == ["a.txt"]
    assert make(tmp_path / "out", **request) == ["a.txt"]


@pytest.mark.parametrize("change", ["config", "input", "version"])
def test_a_changed_request_begins_anew(tmp_path, monkeypatch, change):
    source = tmp_path / "in.txt"
    source.write_text("x")
    request = {"config": {"k": 1}, "inputs": {"source": source}, "resumable": True}
    with pytest.raises(RuntimeError):
        make(tmp_path / "out", **request, fail=True)
    if change == "config":
        request["config"] = {"k": 2}
    elif change == "input":
        source.write_text("y")
    else:
        monkeypatch.setattr("dedpo.__version__", "99")
    assert make(tmp_path / "out", **request) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [("config", "k was 1, now 2"), ("input", "input 'source' has other content"), ("version", "made by dedpo 1")],
)
def test_precious_work_is_not_thrown_away_for_another_request(tmp_path, monkeypatch, change, message):
    monkeypatch.setattr("dedpo.__version__", "1")
    source = tmp_path / "in.txt"
    source.write_text("x")
    request = {"config": {"k": 1}, "inputs": {"source": source}, "resumable": True, "precious": "a.*"}
    with pytest.raises(RuntimeError):
        make(tmp_path / "out", **request, fail=True)
    if change == "config":
        request["config"] = {"k": 2}
    elif change == "input":
        source.write_text("y")
    else:
        monkeypatch.setattr("dedpo.__version__", "2")
    with pytest.raises(
        UserError, match=f"unfinished run lies there.*{message}; finish that one .* or delete the folder"
    ):
        make(tmp_path / "out", **request)
    assert (tmp_path / "out.partial" / "a.txt").exists()
    assert make(tmp_path / "out", **request | {"precious": "b.*"}) == []


def test_a_resumed_run_may_change_how_the_work_is_done(tmp_path):
    request = {"resumable": True, "changeable": ("workers",)}
    with pytest.raises(RuntimeError):
        make(tmp_path / "out", config={"k": 1, "workers": 1}, **request, fail=True)
    assert make(tmp_path / "out", config={"k": 1, "workers": 8}, **request) == ["a.txt"]
    assert read_manifest(tmp_path / "out")["config"] == {"k": 1, "workers": 8}


def test_working_files_do_not_reach_the_output(tmp_path):
    with output_folder(tmp_path / "out", stage="toy", config={}, inputs={}) as partial:
        (partial / ".work").write_text("x")
        (partial / "a.txt").write_text("x")
    assert files(tmp_path / "out") == ["a.txt", "manifest.json", "manifest.run.json"]
    assert list(read_manifest(tmp_path / "out")["outputs"]) == ["a.txt"]


def test_a_new_run_replaces_the_whole_folder(tmp_path):
    with output_folder(tmp_path / "out", stage="toy", config={}, inputs={}) as partial:
        (partial / "b.txt").write_text("x")
    make(tmp_path / "out", text="second")
    assert files(tmp_path / "out") == ["a.txt", "manifest.json", "manifest.run.json"]
    assert (tmp_path / "out" / "a.txt").read_text() == "second"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_a_missing_input_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        make(tmp_path / "out", inputs={"source": tmp_path / "nowhere"})
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_never_was_is_said_so(tmp_path):
    with pytest.raises(UserError, match="it does not exist"):
        read_manifest(tmp_path / "out")


def test_a_broken_manifest_is_said_so(tmp_path):
    make(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="make the folder again"):
        read_manifest(tmp_path / "out")


# fingerprints


def test_a_folder_has_the_same_fingerprint_with_and_without_its_manifest(tmp_path):
    with output_folder(tmp_path / "out", stage="toy", config={}, inputs={}) as partial:
        (partial / "inner").mkdir()
        (partial / "inner" / "b.txt").write_text("b")
        (partial / "a.txt").write_text("a")
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    (tmp_path / "copy" / "manifest.json").unlink()
    assert fingerprint(tmp_path / "out") == fingerprint(tmp_path / "copy")
    assert fingerprint(tmp_path / "out" / "inner") == fingerprint(tmp_path / "copy" / "inner")


def test_a_fingerprint_follows_content_and_names(tmp_path):
    for name, file, text in [("one", "a", "x"), ("two", "a", "y"), ("three", "b", "x"), ("four", "a", "x")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    one, two, three, four = (fingerprint(tmp_path / n) for n in ("one", "two", "three", "four"))
    assert len({one, two, three}) == 3
    assert one == four


def test_a_finished_outputs_hashes_are_believed_for_its_folders_too(tmp_path, monkeypatch):
    with output_folder(tmp_path / "out", stage="toy", config={}, inputs={}) as partial:
        (partial / "pairs").mkdir()
        (partial / "pairs" / "a.parquet").write_text("heavy")
    monkeypatch.setattr(hashes, "sha256", lambda path: pytest.fail("hashed again"))
    fingerprint(tmp_path / "out")
    fingerprint(tmp_path / "out" / "pairs")


def test_files_of_a_finished_output_are_not_hashed_again_but_new_ones_are(tmp_path, monkeypatch):
    with output_folder(tmp_path / "out", stage="toy", config={}, inputs={}) as partial:
        (partial / "pairs").mkdir()
        (partial / "pairs" / "a.parquet").write_text("heavy")
    recorded, appended = (tmp_path / "out" / "pairs" / name for name in ("a.parquet", "b.parquet"))
    appended.write_text("new")
    expected = {recorded: fingerprint(recorded), appended: fingerprint(appended)}
    hashed, sha256 = [], hashes.sha256
    monkeypatch.setattr(hashes, "sha256", lambda path: hashed.append(path) or sha256(path))
    assert manifest.file_hashes([recorded, appended]) == expected
    assert hashed == [appended]


def test_a_strangers_manifest_is_a_file_like_any_other(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    (tmp_path / "a.txt").write_text("a")
    before = fingerprint(tmp_path)
    (tmp_path / "a.txt").write_text("b")
    assert fingerprint(tmp_path) != before


# a disk that does not play along


def test_a_target_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written.*choose another place"):
        make(tmp_path / "file" / "out")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_read_only_target_is_said_so(tmp_path, monkeypatch, code):
    def refuse(path, *args, **kwargs):
        raise OSError(code, os.strerror(code), str(path))

    # Not by chmod: tests in containers run as root, who may write everywhere.
    monkeypatch.setattr(manifest.Path, "mkdir", refuse)
    with pytest.raises(UserError, match=f"cannot be written .{os.strerror(code)}.; choose another place"):
        make(tmp_path / "out")


def test_an_input_that_cannot_be_read_is_no_place_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()

    def refuse(paths):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "in" / "a.png"))

    monkeypatch.setattr(manifest, "fingerprints", refuse)
    with pytest.raises(UserError, match=r"in/a.png: cannot be read or written .*give this user access"):
        make(tmp_path / "out")


def test_an_unfinished_run_keeps_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "s3cret-s3cret")
    with (
        pytest.raises(RuntimeError),
        output_folder(
            tmp_path / "out", stage="toy", config={"request": {"user": "s3cret-s3cret"}}, inputs={}
        ) as partial,
    ):
        raise RuntimeError
    assert "s3cret" not in (partial / ".request.json").read_text()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_remedy_and_keeps_the_work(tmp_path, monkeypatch, code):
    def full(path, value):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(manifest, "write_json", full)
    with pytest.raises(UserError, match="make room and run again: what was done lies in .*out.partial"):
        make(tmp_path / "out")
    assert (tmp_path / "out.partial" / "a.txt").exists()
    assert not (tmp_path / "out").exists()


def test_a_full_disk_that_a_library_in_rust_tells_is_one_too(tmp_path, monkeypatch):
    def full(path, value):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(manifest, "write_json", full)
    with pytest.raises(UserError, match="No space left on device; make room and run again"):
        make(tmp_path / "out")


def test_other_trouble_is_not_dressed_up(tmp_path, monkeypatch):
    def broken(path, value):
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(manifest, "write_json", broken)
    with pytest.raises(OSError, match="I/O error") as raised:
        make(tmp_path / "out")
    assert not isinstance(raised.value, UserError)


def test_json_is_readable_sorted_and_leaves_no_temporary_file(tmp_path):
    write_json(tmp_path / "a.json", {"λ": 0.5, "a": tmp_path})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"a": str(tmp_path), "λ": 0.5}
    assert text.index('"a"') < text.index('"λ"')
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


# what varies


def test_the_same_again_has_the_same_manifest_whenever_and_on_whatever_commit(tmp_path, monkeypatch):
    source = tmp_path / "in.txt"
    source.write_text("x")
    clock = iter([0.0, 1.5, 100.0, 107.25])
    monkeypatch.setattr(manifest.time, "time", lambda: next(clock))
    found = []
    for commit in ("a" * 40, "b" * 40 + "+changes"):
        monkeypatch.setattr(manifest.origin, "git_commit", lambda commit=commit: commit)
        make(tmp_path / "out", config={"k": 1}, inputs={"source": source})
        found.append((tmp_path / "out" / "manifest.json").read_bytes())
        assert read_manifest(tmp_path / "out")["git_commit"] == commit
    assert found[0] == found[1]
    assert read_manifest(tmp_path / "out")["seconds"] == 7.25


def test_what_a_stage_notes_of_its_run_stands_beside_the_manifest(tmp_path):
    with output_folder(tmp_path / "out", stage="toy", config={}, inputs={}) as partial:
        manifest.note_run(partial, {"asked": 7})
    assert "asked" not in json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert read_manifest(tmp_path / "out")["asked"] == 7


def test_an_output_whose_run_nobody_recorded_is_whole(tmp_path):
    """As in a clone: DVC neither hashes nor pushes the record."""
    make(tmp_path / "out")
    before = fingerprint(tmp_path / "out")
    (tmp_path / "out" / "manifest.run.json").unlink()
    assert fingerprint(tmp_path / "out") == before
    assert "seconds" not in read_manifest(tmp_path / "out")
    make(tmp_path / "out")
