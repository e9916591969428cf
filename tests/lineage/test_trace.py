"""A small chain (raw CSV → data → labels, splits → targets → policy) made with real outputs, and what befalls it."""

import json
import re
import shutil

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from dedpo.cli import app
from dedpo.contract import tables
from dedpo.errors import UserError
from dedpo.lineage import page
from dedpo.lineage.trace import all_match, trace
from dedpo.outputs import hashes
from dedpo.outputs.manifest import fingerprint, output_folder, write_json

RATERS = ["ann"] * 3 + ["[red]bob[/red]\x1b[31m"] * 2
PULLED = {"repo": "team/data", "revision": "v1", "commit": "c" * 40, "path": ".", "md5": "m", "files": 1, "bytes": 7}


def make(out, stage, config=None, files=None, **inputs):
    with output_folder(out, stage=stage, config=config or {}, inputs=inputs) as partial:
        for name, text in (files or {}).items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_text(text)
        if stage == "data":
            tables.write(ratings(), tables.RATINGS, partial / "ratings.parquet")
            write_json(partial / "summary.json", {"rows": 5, "pairs": 5})
    return out


def ratings():
    empty = {"order_shown": pa.nulls(5, pa.string()), "time": pa.nulls(5, pa.timestamp("us", tz="UTC"))}
    columns = {"pair_id": list("abcde"), "rater": RATERS, "preference": [1.0] * 5, "source": ["raw"] * 5}
    return pa.table(columns | empty)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build(tmp_path)
    return tmp_path


def build(root):
    raw, work = root / "raw", root / "outputs"
    raw.mkdir()
    (raw / "pairs.csv").write_text("a,b\n1,2")
    (raw / ".pulled.json").write_text(json.dumps(PULLED))
    (root / "base").mkdir()
    (root / "base" / "unet.bin").write_text("weights")
    data = make(work / "data", "data", {"source": "raw"}, {"pairs/p0": "0", "pairs/p1": "1"}, source=raw / "pairs.csv")
    labels = make(work / "labels", "label", {"model": "vlm", "template": "t1"}, {"labels.x": "l"}, pairs=data / "pairs")
    splits = make(work / "splits" / "0", "split", {"seed": 0}, {"splits.x": "s"}, data=data)
    targets = make(
        work / "targets" / "0",
        "targets",
        {"seed": 0},
        {"dedpo/targets.json": '{"arm": "dedpo", "n": 5, "n_labelled": 2}', "sft/targets.json": '{"arm": "sft"}'},
        ratings=data / "ratings.parquet",
        splits=splits / "splits.x",
        labels=labels / "labels.x",
    )
    make(
        work / "policies" / "0" / "dedpo",
        "train",
        {"seed": 0, "base": "base", "beta": 1000.0},
        {"unet.bin": "tuned"},
        pairs=data / "pairs",
        splits=splits / "splits.x",
        targets=targets / "dedpo",
        base=root / "base",
    )


def policy(root):
    return root / "outputs" / "policies" / "0" / "dedpo"


def links(link):
    """Every link of the chain by the names on the way to it."""
    found = {(): link}
    for child in link.made.inputs if link.made else []:
        found |= {(child.name, *rest): inner for rest, inner in links(child).items()}
    return found


def states(link):
    return {"/".join(names): inner.state for names, inner in links(link).items() if inner.state != "matches"}


def printed(link, capsys):
    page.show(link)
    return capsys.readouterr().out


def run(*arguments):
    return CliRunner().invoke(app, ["trace", *map(str, arguments)])


# a whole chain


def test_a_whole_chain_matches_down_to_raw_files(root):
    found = trace(policy(root), root / "outputs")
    assert all_match(found)
    chain = links(found)
    assert {("pairs", "source"), ("targets", "labels", "pairs"), ("base",)} <= chain.keys()
    assert chain["pairs", "source"].path == "raw/pairs.csv"
    assert chain["pairs", "source"].sha256 == fingerprint(root / "raw" / "pairs.csv")
    assert chain["pairs", "source"].made is None


def test_the_tree_says_who_rated_what_was_set_and_which_data_it_was(root, capsys):
    text = printed(trace(policy(root), root / "outputs"), capsys)
    for part in (
        "arm dedpo · seed 0 · base base · beta 1000",
        "annotator vlm · template t1",
        "arm dedpo · pairs 5 · labelled 2",
        "source raw · rows 5 · pairs 5",
        "data team/data@v1:., commit cccccccccccc",
        "outside git",
    ):
        assert part in text, text
    assert re.search(r"raters ann 3, \[red\]bob\[/red\] \[31m 2", text)
    assert "\x1b" not in text


def test_each_output_is_told_once(root, capsys):
    text = printed(trace(policy(root), root / "outputs"), capsys)
    assert text.count("stage data") == text.count("stage split") == text.count("annotator vlm") == 1
    assert "match, shown above" in text


def test_exit_codes_and_json(root):
    whole = run(policy(root), "--json")
    assert whole.exit_code == 0
    assert json.loads(whole.output)["matches"] is True
    (root / "raw" / "pairs.csv").write_text("a,b\n9,9")
    broken = run(policy(root), "--json")
    assert broken.exit_code == 1
    assert json.loads(broken.output)["matches"] is False
    source = json.loads(broken.output)["chain"]["made"]["inputs"][1]["made"]["inputs"][0]
    assert (source["name"], source["state"]) == ("source", "changed")
    assert "dvc checkout" in run(policy(root)).output
    assert "1 something has changed" in " ".join(run("--help").output.split())


def test_a_part_of_an_output_is_traced_as_well(root):
    found = trace(root / "outputs" / "targets" / "0" / "sft" / "targets.json", root / "outputs")
    assert found.made is not None
    assert found.made.stage == "targets"
    assert all_match(found)


# what no longer matches


def test_a_changed_raw_file_is_named_with_both_hashes(root):
    then = fingerprint(root / "raw" / "pairs.csv")
    (root / "raw" / "pairs.csv").write_text("other")
    found = trace(policy(root), root / "outputs")
    assert states(found) == {"pairs/source": "changed"}
    now = fingerprint(root / "raw" / "pairs.csv")
    assert links(found)["pairs", "source"].note == f"now has {now[:8]}, the import was made from {then[:8]}"


def test_a_manifests_word_is_not_enough(root):
    (root / "outputs" / "data" / "pairs" / "p1").write_text("changed behind its manifest's back")
    found = trace(policy(root), root / "outputs")
    assert states(found) == {
        "pairs": "changed",
        "splits/data": "changed",
        "targets/labels/pairs": "changed",
    }
    link = links(found)["pairs",]
    assert link.note.endswith("unlike then, changed: p1")
    # Its manifest is still that of then, so that the chain goes on to the raw file.
    assert links(found)["pairs", "source"].state == "matches"


@pytest.mark.parametrize(("change", "words"), [("add", "new: p2"), ("remove", "missing: p0")])
def test_files_that_came_or_went_are_named(root, change, words):
    pairs = root / "outputs" / "data" / "pairs"
    (pairs / "p2").write_text("2") if change == "add" else (pairs / "p0").unlink()
    assert words in links(trace(policy(root), root / "outputs"))["pairs",].note


def test_an_input_that_was_made_again_from_other_things_is_not_followed(root):
    (root / "raw" / "pairs.csv").write_text("other")
    make(root / "outputs" / "data", "data", {}, {"pairs/p0": "new"}, source=root / "raw" / "pairs.csv")
    found = trace(policy(root), root / "outputs")
    assert links(found)["pairs",].state == "changed"
    assert links(found)["pairs",].made is None
    assert ("pairs", "source") not in links(found)


def test_what_is_gone_is_said_so(root):
    shutil.rmtree(root / "base")
    found = trace(policy(root), root / "outputs")
    assert states(found) == {"base": "gone"}
    assert not all_match(found)


def test_what_was_asked_about_is_checked_against_its_own_manifest(root, capsys):
    (policy(root) / "unet.bin").write_text("tampered")
    (policy(root) / "stray").write_text("x")
    found = trace(policy(root), root / "outputs")
    assert (found.state, found.note) == ("changed", "unlike what its manifest says, changed: unet.bin; new: stray")


def test_more_files_beside_what_was_asked_about_are_a_note(root):
    (policy(root) / "promotion.json").write_text("{}")
    found = trace(policy(root), root / "outputs")
    assert (found.state, found.note) == ("matches", "beside what its manifest names: promotion.json")
    assert all_match(found)


# things that moved


def test_a_tree_that_was_moved_as_a_whole_still_matches(root, tmp_path_factory, monkeypatch):
    new = tmp_path_factory.mktemp("new") / "tree"
    shutil.move(root, new)
    monkeypatch.chdir(new)
    assert all_match(trace(new / "outputs" / "policies" / "0" / "dedpo", new / "outputs"))


def test_an_input_that_moved_is_found_by_its_hash(root):
    (root / "outputs" / "data").rename(root / "outputs" / "data-2026")
    (root / "outputs" / "targets" / "0").rename(root / "outputs" / "elsewhere")
    found = trace(policy(root), root / "outputs")
    assert all_match(found)
    chain = links(found)
    assert chain["pairs",].path.endswith("outputs/data-2026/pairs")
    assert chain["pairs",].note == "moved from outputs/data/pairs"
    assert chain["targets",].path.endswith("outputs/elsewhere/dedpo")
    assert chain["targets", "ratings"].path.endswith("outputs/data-2026/ratings.parquet")


def test_what_moved_and_was_replaced_is_found_where_it_moved(root):
    shutil.copytree(root / "outputs" / "data", root / "outputs" / "kept")
    make(root / "outputs" / "data", "data", {}, {"pairs/p0": "new"}, source=root / "raw" / "pairs.csv")
    link = links(trace(policy(root), root / "outputs"))["pairs",]
    assert (link.state, link.note) == ("matches", "moved from outputs/data/pairs, where something else lies now")
    assert link.path.endswith("outputs/kept/pairs")


def test_an_artefact_alone_tells_what_it_knows(root, tmp_path_factory, monkeypatch, capsys):
    # So deep that its relative paths lead to nothing else.
    alone = tmp_path_factory.mktemp("artefact") / "a" / "b" / "c" / "policy"
    alone.parent.mkdir(parents=True)
    shutil.move(policy(root), alone)
    shutil.rmtree(root / "outputs")
    monkeypatch.chdir(alone.parent)
    found = trace(alone, root / "outputs")
    assert states(found) == dict.fromkeys(["base", "pairs", "splits", "targets"], "not here")
    text = printed(found, capsys)
    assert "stage train" in text
    assert "seed 0" in text
    assert run(alone).exit_code == 1


# what manifests may say


def test_an_older_manifest_without_paths_is_followed_by_hash(root):
    for manifest in root.rglob("manifest.json"):
        write_json(manifest, {k: v for k, v in json.loads(manifest.read_text()).items() if k not in ("paths", "code")})
    found = trace(policy(root), root / "outputs")
    assert states(found) == {"base": "not here", "pairs/source": "not here"}
    assert links(found)["targets", "labels"].path.endswith("outputs/labels/labels.x")


def test_a_circle_ends(root):
    first, second = (root / "outputs" / name for name in ("one", "two"))
    for folder, other in ((first, second), (second, first)):
        folder.mkdir()
        outputs = {"a": fingerprint(root / "raw" / "pairs.csv")}
        shutil.copy(root / "raw" / "pairs.csv", folder / "a")
        paths = {"other": f"{other.name}/a"}
        manifest = {"stage": "toy", "outputs": outputs, "inputs": {"other": outputs["a"]}, "paths": paths}
        write_json(folder / "manifest.json", manifest)
    assert all_match(trace(first, root / "outputs"))


@pytest.mark.parametrize("place", ["../../..", "/", ".", "../.."])
def test_a_hostile_place_does_not_send_the_search_upwards(root, monkeypatch, place):
    manifest = json.loads((policy(root) / "manifest.json").read_text())
    manifest["paths"]["base"] = place
    write_json(policy(root) / "manifest.json", manifest)
    assert states(trace(policy(root), root / "outputs")) == {"base": "not here"}


@pytest.mark.parametrize(
    "broken", [{"inputs": []}, {"paths": "x"}, {"config": None}, {"code": 1, "seconds": "long", "hub": []}]
)
def test_a_manifest_of_another_shape_breaks_nothing(root, capsys, broken):
    manifest = json.loads((policy(root) / "manifest.json").read_text())
    write_json(policy(root) / "manifest.json", manifest | broken)
    assert "stage train" in printed(trace(policy(root), root / "outputs"), capsys)


def test_what_is_no_output_is_refused_in_a_line(root):
    with pytest.raises(UserError, match="nowhere: no such file or folder; name a finished output"):
        trace(root / "nowhere", root / "outputs")
    with pytest.raises(UserError, match="raw: no manifest.json of dedpo is in it or above it"):
        trace(root / "raw", root / "outputs")


def test_a_file_that_cannot_be_read_is_named(root, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(hashes, "sha256", refuse)
    with pytest.raises(UserError, match="unet.bin: cannot be read .Permission denied.; make it readable"):
        trace(policy(root), root / "outputs")


def test_a_round_of_human_labels_names_its_raters_and_exports(root):
    folder = root / "human" / "rounds" / "first"
    make(folder, "select", {"round": "first", "budget": 2}, {"selection.x": "s"}, labels=root / "outputs" / "labels")
    answers = {"selected": 2, "answered": 2, "raters": {"ann@x.org": 1, "bob": 2}, "exports": {"e" * 64: "export.json"}}
    write_json(folder / "answered.json", answers)
    inputs = {"selection of first": folder / "selection.x", "answers of first": folder / "answered.json"}
    make(root / "outputs" / "splits" / "1", "split", {}, {"splits.x": "s"}, **inputs)
    found = trace(root / "outputs" / "splits" / "1", root / "outputs")
    assert all_match(found)
    chain = links(found)
    assert chain["selection of first",].made.facts == {"round": "first", "budget": "2"}
    assert ("selection of first", "labels", "pairs", "source") in chain
    told = {"selected": "2", "answered": "2", "raters": "bob 2, ann@x.org 1", "exports": "export.json eeeeeeee"}
    assert chain["answers of first",].facts == told


def test_a_round_outlives_what_it_was_drawn_from(root):
    labels, folder = root / "outputs" / "labels", root / "human" / "rounds" / "first"
    make(folder, "select", {}, {"selection.x": "drawn"}, labels=labels / "labels.x", base=root / "base")
    make(root / "outputs" / "splits" / "1", "split", {}, {"splits.x": "s"}, selection=folder / "selection.x")
    make(labels, "label", {}, {"labels.x": "after the round"}, pairs=root / "outputs" / "data" / "pairs")
    shutil.rmtree(root / "base")
    found = trace(root / "outputs" / "splits" / "1", root / "outputs")
    assert states(found) == {"selection/labels": "replaced", "selection/base": "replaced"}
    assert all_match(found)
    (folder / "selection.x").write_text("changed")
    assert not all_match(trace(root / "outputs" / "splits" / "1", root / "outputs"))


def test_many_raters_are_counted_together(root):
    columns = ratings().to_pydict() | {"rater": list("vwxyz")}
    table = pa.table({"pair_id": [f"{i:02}" for i in range(12)], "rater": [f"r{i:02}" for i in range(12)]})
    for name in columns.keys() - {"pair_id", "rater"}:
        table = table.append_column(name, pa.array([columns[name][0]] * 12, tables.RATINGS.schema.field(name).type))
    path = root / "human.parquet"
    tables.write(table, tables.RATINGS, path)
    make(root / "outputs" / "ratings", "ratings", {}, {"r.x": "r"}, human=path)
    facts = trace(root / "outputs" / "ratings", root / "outputs").made.inputs[0].facts
    assert facts["rows"] == "12"
    assert facts["raters"].endswith("r04 1, 4 more 4")
