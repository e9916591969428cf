"""A folder that is not ours is never touched, whatever lies there and however it is named."""

import json
import os
import shutil
from pathlib import Path

import pytest

from dedpo.errors import UserError
from dedpo.outputs import ownership
from dedpo.outputs.manifest import output_folder, read_manifest

SHARED = ("page.html", "numbers.json")


def make(out, stage="toy", inputs=None, names=("a.txt",), fail=False, **how):
    with output_folder(out, stage=stage, config={}, inputs=inputs or {}, **how) as partial:
        for name in names:
            (partial / name).write_bytes(os.fsencode(f"{stage} {name}"))
        if fail:
            raise RuntimeError


def tree(folder):
    """Every path with what it is and holds."""
    return {
        p.relative_to(folder).as_posix(): os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else None
        for p in folder.rglob("*")
    }


def refused(root, out, match, **how):
    """It is refused in one line, and nothing is touched."""
    before = tree(root)
    with pytest.raises(UserError, match=match) as raised:
        make(out, **how)
    assert len(str(raised.value).splitlines()) == 1
    assert tree(root) == before
    return str(raised.value)


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "root").mkdir()
    monkeypatch.chdir(tmp_path / "root")
    return tmp_path / "root"


def thesis(folder):
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("three years")


def web_page(folder):
    thesis(folder)
    (folder / "manifest.json").write_text('{"name": "a web app", "start_url": "/"}')


def extension(folder):
    thesis(folder)
    (folder / "manifest.json").write_text('{"manifest_version": 3, "name": "x", "version": "1"}')


def claims_a_stage(folder):
    thesis(folder)
    (folder / "manifest.json").write_text('{"stage": "toy", "outputs": ["thesis.txt"]}')


def torn(folder):
    thesis(folder)
    (folder / "manifest.json").write_text('{"stage": "toy", "outp')


def only_a_manifest(folder):
    folder.mkdir()
    (folder / "manifest.json").write_text("[]")


def git_checkout(folder):
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")


def empty_folders(folder):
    (folder / "to" / "fill").mkdir(parents=True)


def dangling_link(folder):
    folder.mkdir()
    (folder / "data").symlink_to("/nowhere/at/all")


def a_folder_named_like_litter(folder):
    thesis(folder / ".nfs-drafts")
    thesis(folder / "._drafts")


def a_note_named_like_ours(folder):
    folder.mkdir()
    (folder / "..request.json.why").write_text("three years")


def a_request_of_something_else(folder):
    thesis(folder)
    (folder / ".request.json").write_text('{"url": "https://example.org"}')


STRANGERS = [
    a_request_of_something_else, a_folder_named_like_litter, a_note_named_like_ours, thesis, web_page, extension,
    claims_a_stage, torn, only_a_manifest, git_checkout, empty_folders, dangling_link,
]  # fmt: skip


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_strangers_folder_is_refused(root, stranger):
    stranger(root / "results")
    refused(root, root / "results", "results: files lie there that no run of dedpo made")
    refused(root, Path("results"), "choose another place, or move them")


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_strangers_partial_folder_is_refused(root, stranger):
    stranger(root / "results.partial")
    for resumable in (False, True):
        refused(root, root / "results", "results.partial: files lie there that no run", resumable=resumable)


def test_a_backup_that_a_user_named_old_is_no_business_of_ours(root):
    make(root / "results")
    shutil.copytree(root / "results", root / "results.old")
    thesis(root / "old")
    before = tree(root / "results.old")
    make(root / "results")
    assert tree(root / "results.old") == before


@pytest.mark.parametrize("out", [".", "..", "/", "sub/..", "./.", "results/.."])
def test_what_cannot_be_replaced_as_a_whole_is_refused(root, out):
    (root / "sub").mkdir()
    refused(root, Path(out), "cannot be replaced as a whole; name a folder in it")


@pytest.mark.parametrize("is_finished", [True, False])
def test_the_folder_that_one_is_in_is_not_pulled_away(root, monkeypatch, is_finished):
    make(root / "results") if is_finished else (root / "results").mkdir()
    monkeypatch.chdir("results")
    for out in (root / "results", Path("../results")):
        refused(root, out, "under your feet; leave that folder")


def test_a_shared_folder_that_one_is_in_is_written_into(root, monkeypatch):
    (root / "results").mkdir()
    monkeypatch.chdir("results")
    make(Path("../results"), names=SHARED, shared=SHARED)
    assert Path("page.html").is_file()


def test_a_manifest_from_elsewhere_speaks_of_nothing_outside_its_folder(root):
    make(root / "results", names=SHARED, shared=SHARED)
    thesis(root / "mine")
    manifest = json.loads((root / "results" / "manifest.json").read_text())
    manifest["outputs"] |= {"../mine/thesis.txt": "", str(root / "mine" / "thesis.txt"): ""}
    (root / "results" / "manifest.json").write_text(json.dumps(manifest))
    make(root / "results", names=SHARED, shared=SHARED)
    assert (root / "mine" / "thesis.txt").read_text() == "three years"


def test_names_of_all_kinds(root):
    for name in ("Ergebnisse ü", "two\nlines", os.fsdecode(b"latin-1 \xfc"), "-out", 'it\'s "here"'):
        (root / name).write_text("1")
        out = root / f"{name.encode(errors='replace').decode()} out"
        for _ in range(2):
            make(out, inputs={"table": root / name}, names=(name,))
        manifest = read_manifest(out)
        assert set(manifest["outputs"]) == {name}
        assert manifest["paths"] == {"table": name}
    refused(root, root / os.fsdecode(b"latin-1 \xfc"), "this name is no UTF-8; rename it")
    refused(root, root / ("long" * 62), "File name too long.; choose another place")


def test_a_way_through_the_output_itself_leads_to_it(root):
    (root / "link").symlink_to(root.parent)
    for _ in range(2):
        make(Path("results/../results"))
        make(Path("link/root/results"))
    assert {path.name for path in root.iterdir()} == {"link", "results"}


def test_a_file_on_the_way_is_named_with_the_right_remedy(root):
    (root / "file").write_text("mine")
    refused(root, Path("file/out"), "file: cannot be written .*choose another place")


def test_a_file_is_refused(root):
    (root / "results").write_text("mine")
    refused(root, root / "results", "results: a file lies there")
    (root / "other.partial").write_text("mine")
    refused(root, root / "other", "other.partial: a file lies there")


@pytest.mark.parametrize("name", ["results", "results.partial"])
@pytest.mark.parametrize("target", ["elsewhere", "empty", "ours", "nowhere"])
def test_a_link_is_refused_wherever_it_leads(root, name, target):
    thesis(root / "elsewhere")
    (root / "empty").mkdir()
    make(root / "ours")
    (root / name).symlink_to(root / target)
    refused(root, root / "results", f"{name}: a link .to .*{target}. lies there")


def test_a_linked_folder_above_is_as_good_as_any(root):
    (root / "disk").mkdir()
    (root / "outputs").symlink_to(root / "disk")
    for _ in range(2):
        make(root / "outputs" / "toy")
    assert read_manifest(root / "disk" / "toy")["stage"] == "toy"
    assert (root / "outputs").is_symlink()


@pytest.mark.parametrize("ending", ["", ".partial"])
def test_another_stages_output_is_refused(root, ending):
    make(root / "results", stage="data")
    if ending:
        (root / "results").rename(root / "results.partial")
        (root / "results.partial" / ".request.json").write_text(json.dumps({"stage": "data"}))
        (root / "results.partial" / "manifest.json").unlink()
    refused(root, root / "results", "'data' lies there")


def test_what_a_user_put_beside_an_output_is_named_and_kept(root):
    make(root / "results")
    (root / "results" / "notes.txt").write_text("mine")
    (root / "results" / "deeper").mkdir()
    (root / "results" / "deeper" / "more.txt").write_text("mine")
    message = refused(root, root / "results", "beside what 'toy' wrote lies what would be lost with it")
    assert "(deeper/more.txt, notes.txt)" in message
    git_checkout(root / "results" / "inner")
    (root / "results" / ".env").write_text("secret")
    refused(root, root / "results", r"\.env.* and 1 more\); move it away and run again")


def test_what_comes_beside_an_output_while_it_is_made_again_is_kept(root, capsys):
    make(root / "results")
    with output_folder(root / "results", stage="toy", config={}, inputs={}) as partial:
        (partial / "a.txt").write_text("second")
        (root / "results" / "notes.txt").write_text("mine")
    assert (root / "results" / "a.txt").read_text() == "second"
    assert (root / ".results.dedpo.old" / "notes.txt").read_text() == "mine"
    assert "kept, for it holds notes.txt" in capsys.readouterr().err
    refused(root, root / "results", r"\.results\.dedpo\.old: .*notes\.txt")


def test_what_file_managers_leave_is_in_nobodys_way(root):
    for name in (".DS_Store", "Thumbs.db", "._a.txt", ".nfs0000000000000001"):
        (root / "results").mkdir(exist_ok=True)
        (root / "results" / name).write_text("x")
        make(root / "results")
        (root / "results" / name).write_text("x")
    make(root / "results")
    assert (root / "results" / "a.txt").exists()


def test_inputs_are_neither_replaced_nor_written_into(root):
    make(root / "data", stage="toy")
    refused(root, root / "data", "what is read lies there", inputs={"data": root / "data"})
    refused(root, root / "data", "what is read lies there", inputs={"a": root / "data" / "a.txt"})
    refused(root, root / "data" / "out", "it lies in what is read", inputs={"data": root / "data"})
    (root / "alias").symlink_to(root / "data")
    refused(root, root / "data", "what is read lies there", inputs={"data": root / "alias"})
    make(root / "out", inputs={"data": root / "data"})


def test_an_unfinished_run_of_the_same_stage_is_taken_up_or_emptied(root):
    for resumable in (True, False):
        with pytest.raises(RuntimeError):
            make(root / "results", names=["half.txt"], resumable=resumable, fail=True)
        with output_folder(root / "results", stage="toy", config={}, inputs={}, resumable=resumable) as partial:
            assert (partial / "half.txt").exists() == resumable


def test_a_partial_folder_that_was_made_and_no_more_is_taken(root):
    (root / "results.partial").mkdir()
    (root / "results.partial" / "..request.json.tmp").write_text("{")
    make(root / "results")


@pytest.mark.parametrize("what", ["the former output", "an unfinished one"])
def test_a_kill_while_something_is_removed_is_in_nobodys_way(root, monkeypatch, what):
    names, unlink = [f"{i}.txt" for i in range(9)], os.unlink

    def killed(path, **how):
        if str(path).endswith("5.txt"):
            raise KeyboardInterrupt
        unlink(path, **how)

    if what == "the former output":
        make(root / "results", names=names)
    else:
        with pytest.raises(RuntimeError):
            make(root / "results", names=names, fail=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            make(root / "results")
    make(root / "results")
    assert sorted(tree(root)) == ["results", "results/a.txt", "results/manifest.json", "results/manifest.run.json"]


@pytest.mark.parametrize("step", ["first rename", "second rename", "before sweeping"])
def test_a_kill_at_the_last_moment_loses_neither_the_old_nor_the_new(root, step):
    make(root / "results", names=["a.txt", "gone.txt"])
    former = ownership.former_of(root / "results")
    if step == "first rename":  # and then somebody deleted what was to come
        (root / "results").rename(former)
        with pytest.raises(RuntimeError):
            make(root / "results", fail=True)
        assert (root / "results" / "gone.txt").exists(), "the former output is back until there is another"
    elif step == "second rename":
        shutil.copytree(root / "results", former)
    else:
        (root / "results" / ".request.json").write_text('{"stage": "toy"}')
        (root / "results" / ".checkpoint-1.pt").write_text("x")
    make(root / "results")
    assert sorted(tree(root)) == ["results", "results/a.txt", "results/manifest.json", "results/manifest.run.json"]


# a shared folder


def test_neighbours_in_a_shared_folder_stay(root):
    thesis(root / "reports")
    for _ in range(2):
        make(root / "reports", names=SHARED, shared=SHARED)
        assert (root / "reports" / "thesis.txt").read_text() == "three years"
    make(root / "reports", names=SHARED[:1], shared=SHARED)
    assert sorted(tree(root / "reports")) == ["manifest.json", "manifest.run.json", "page.html", "thesis.txt"]
    assert sorted(tree(root)) == ["reports", *(f"reports/{name}" for name in sorted(tree(root / "reports")))]


@pytest.mark.parametrize("name", [*SHARED, "manifest.json"])
def test_a_neighbour_of_the_same_name_is_not_written_over(root, name):
    thesis(root / "reports")
    (root / "reports" / name).write_text("mine")
    refused(root, root / "reports", f"{name} would be written over, and no earlier 'toy' made it", shared=SHARED)


def test_a_folder_in_the_place_of_a_page_is_not_written_over(root):
    make(root / "reports", names=SHARED, shared=SHARED)
    (root / "reports" / "page.html").unlink()
    thesis(root / "reports" / "page.html")
    refused(root, root / "reports", "page.html would be written over", names=SHARED, shared=SHARED)


def test_a_shared_folder_is_written_whole_after_a_kill_in_the_middle(root, monkeypatch):
    make(root / "reports", names=SHARED, shared=SHARED)
    moved, replace = [], os.replace

    def killed(source, target):
        if Path(target).parent.name == "reports":
            moved.append(target)
            if len(moved) == 2:
                raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            make(root / "reports", names=SHARED, shared=SHARED)
    with pytest.raises(UserError, match="interrupted"):
        read_manifest(root / "reports")
    make(root / "reports", names=SHARED, shared=SHARED)
    assert sorted(tree(root / "reports")) == ["manifest.json", "manifest.run.json", "numbers.json", "page.html"]
