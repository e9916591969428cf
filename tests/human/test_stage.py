"""Human labels out and in, by the stage's functions on small finished outputs."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dedpo.contract import tables
from dedpo.contract.sections import DataConfig, SelectConfig, TargetsConfig
from dedpo.data import stage as data
from dedpo.errors import UserError
from dedpo.human import stage
from dedpo.outputs import origin
from dedpo.targets import stage as targets
from tests.fixtures import write_tables

HOSTILE = [
    "<img src=x onerror=alert(1)>", "</Text></View>", '=HYPERLINK("http://x")', "$left {{left}}", 'a "quoted"\nline',
    "../../etc/passwd", "\u202eright", "{0} %s", "@SUM(A1)",
]  # fmt: skip

ROUNDS = 24


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    write_tables(root, n=60, n_labelled=10, n_holdout=8)
    return root


@pytest.fixture
def work(outputs: Path, tmp_path: Path) -> Path:
    shutil.copytree(outputs, tmp_path / "outputs")
    return tmp_path


@pytest.fixture
def other(outputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second place with the same outputs."""
    root = tmp_path_factory.mktemp("other")
    shutil.copytree(outputs, root / "outputs")
    return root


def inputs(work: Path, *, split: bool = True) -> stage.Inputs:
    out = work / "outputs"
    return stage.Inputs(
        pairs=out / "data/pairs",
        labels=out / "labels/labels.parquet",
        ratings=out / "data/ratings.parquet",
        splits=out / "splits/0/splits.parquet" if split else None,
        # What the fixture's split holds out has nothing to do with the prompts.
        holdout=0.0 if split else 0.1,
    )


def select(work: Path, name: str = "r1", *, split: bool = True, **settings: Any) -> dict[str, Any]:
    config = SelectConfig(**{"budget": 12} | settings)
    return stage.select(config, name=name, inputs=inputs(work, split=split), human=work / "human")


def selection(work: Path, name: str = "r1") -> pa.Table:
    return tables.read(work / "human/rounds" / name / "selection.parquet", tables.SELECTIONS)


def tasks(work: Path, name: str = "r1") -> list[dict[str, Any]]:
    found = json.loads((work / "human/rounds" / name / "label-studio/tasks.json").read_text(encoding="utf-8"))
    assert isinstance(found, list)
    return found


def image_of(work: Path, pair: str, which: int) -> bytes:
    rows = tables.read(work / "outputs/data/pairs", tables.PAIRS).to_pylist()
    return bytes(next(r for r in rows if r["pair_id"] == pair)[f"image_{which}"]["bytes"])


def answered(
    given: list[dict[str, Any]], say: Callable[[str], float], people: tuple[int, ...] = (7,)
) -> list[dict[str, Any]]:
    """The tasks as an export, each answered by `people` whose preference for image 1 `say` knows."""
    found = []
    for number, task in enumerate(given, start=1):
        wanted = say(task["data"]["pair_id"])
        swapped = task["data"]["order_shown"] == "10"
        choice = "tie" if wanted == 0.5 else "right" if (wanted == 1) != swapped else "left"
        result = [{"from_name": "preference", "to_name": "left", "type": "choices", "value": {"choices": [choice]}}]
        annotations = [
            {"id": 100 * number + i, "completed_by": who, "result": result, "was_cancelled": False,
             "created_at": "2026-11-22T10:00:00.5Z", "updated_at": "2026-11-22T10:00:00.5Z"}
            for i, who in enumerate(people)
        ]  # fmt: skip
        found.append({"id": number, "annotations": annotations, "predictions": [], "data": task["data"]})
    return found


def merge(work: Path, export: list[dict[str, Any]], name: str = "export.json") -> dict[str, Any]:
    path = work / name
    path.write_text(json.dumps(export), encoding="utf-8")
    return stage.merge(path, human=work / "human", ratings=work / "outputs/data/ratings.parquet")


def join(work: Path) -> Path:
    stage.ratings(imported=work / "outputs/data/ratings.parquet", human=work / "human", out=work / "outputs/ratings")
    return work / "outputs/ratings/ratings.parquet"


def hashes(root: Path) -> dict[str, str]:
    files = [p for p in root.rglob("*") if p.is_file()]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def odd(pair: str) -> float:
    return float(int(pair, 16) % 2)


# select


def test_a_round_holds_every_training_pairs_chance_and_exactly_the_budget(work):
    facts = select(work)
    table = selection(work)
    split = tables.read(inputs(work).splits, tables.SPLITS).to_pylist()
    assert table.column("pair_id").to_pylist() == sorted(r["pair_id"] for r in split if r["split"] == "train")
    chosen = [r for r in table.to_pylist() if r["is_selected"]]
    assert len(chosen) == facts["selected"] == 12
    assert sum(table.column("propensity").to_pylist()) == 12
    assert all((r["order_shown"] is not None) == r["is_selected"] for r in table.to_pylist())
    assert {r["order_shown"] for r in chosen} == {"01", "10"}
    # Where the annotator is unsure, the chance is larger.
    labels = tables.read(inputs(work).labels, tables.LABELS).to_pylist()
    unsure = {r["pair_id"]: r["preference"] * (1 - r["preference"]) for r in labels}
    size = np.array([unsure[p] for p in table.column("pair_id").to_pylist()])
    assert (np.diff(np.array(table.column("propensity").to_pylist())[np.argsort(size)]) >= -1e-11).all()


def test_the_project_shows_each_pair_in_the_recorded_order(work):
    select(work)
    folder = work / "human/rounds/r1/label-studio"
    orders = {r["pair_id"]: r["order_shown"] for r in selection(work).to_pylist() if r["is_selected"]}
    assert {t["data"]["pair_id"]: t["data"]["order_shown"] for t in tasks(work)} == orders
    for task in tasks(work):
        shown = task["data"]
        left, right = (shown[side].removeprefix("/data/local-files/?d=") for side in ("left", "right"))
        first, second = (left, right) if shown["order_shown"] == "01" else (right, left)
        assert (folder / first).read_bytes() == image_of(work, shown["pair_id"], 0)
        assert (folder / second).read_bytes() == image_of(work, shown["pair_id"], 1)
        assert Path(first).suffix == ".png"
    assert [t["data"]["pair_id"] for t in tasks(work)] != sorted(orders)


def test_prompts_are_data_and_never_markup(work):
    path = work / "outputs/data/pairs/pairs-0.parquet"
    table = tables.read(path, tables.PAIRS)
    prompts = [HOSTILE[i % len(HOSTILE)] for i in range(table.num_rows)]
    tables.write(table.set_column(1, "prompt", pa.array(prompts)), tables.PAIRS, path)
    select(work, budget=30)
    folder = work / "human/rounds/r1"
    known = dict(zip(table.column("pair_id").to_pylist(), prompts, strict=True))
    assert all(t["data"]["prompt"] == known[t["data"]["pair_id"]] for t in tasks(work))
    written = (folder / "label-studio/config.xml").read_text() + (folder / "README.md").read_text()
    assert not any(prompt in written for prompt in HOSTILE if "{" not in prompt)
    texts = ElementTree.fromstring((folder / "label-studio/config.xml").read_bytes()).iter("Text")
    assert [(t.get("value"), t.get("valueType")) for t in texts] == [("$prompt", "text")]
    # Nothing a prompt says becomes a file's name.
    assert all(len(p.stem) == 32 for p in (folder / "label-studio/images").iterdir())


def test_images_may_lie_in_the_tasks(work):
    select(work, image_prefix="embed")
    assert not (work / "human/rounds/r1/label-studio/images").exists()
    shown = tasks(work)[0]["data"]
    left = base64.b64decode(shown["left"].removeprefix("data:image/png;base64,"))
    assert left == image_of(work, shown["pair_id"], int(shown["order_shown"] == "10"))


def test_images_may_lie_elsewhere(work):
    select(work, image_prefix="s3://bucket/r1/")
    assert tasks(work)[0]["data"]["left"].startswith("s3://bucket/r1/")
    assert "`s3://bucket/r1/<file name>`" in (work / "human/rounds/r1/README.md").read_text()


def test_a_round_is_drawn_once(work):
    select(work)
    before = hashes(work)
    with pytest.raises(UserError, match="the round is there and is never drawn again; name another with --round"):
        select(work, budget=5, seed=9)
    assert hashes(work) == before


def test_a_clone_without_the_heavy_part_gets_it_again_and_nothing_else(work):
    select(work)
    before = hashes(work / "human")
    folder = work / "human/rounds/r1/label-studio"
    shutil.rmtree(folder)
    assert select(work, budget=5, seed=9)["drawn"] == "earlier"
    after = hashes(work / "human")
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"rounds/r1/label-studio/manifest.run.json"}


def test_another_name_or_seed_is_another_draw_and_the_same_is_the_same(work, other):
    select(work, "r1")
    select(work, "r2")
    select(work, "r3", seed=1)
    drawn = [selection(work, n).column("is_selected").to_pylist() for n in ("r1", "r2", "r3")]
    assert drawn[0] != drawn[1] != drawn[2]
    assert selection(work, "r1").column("propensity") == selection(work, "r2").column("propensity")
    select(other, "r1")
    assert selection(other).equals(selection(work))
    assert tasks(other) == tasks(work)


def test_what_people_said_does_not_matter_to_the_draw(work, other):
    path = other / "outputs/data/ratings.parquet"
    rows = tables.read(path, tables.RATINGS)
    opposite = pa.array([1 - p for p in rows.column("preference").to_pylist()])
    tables.write(rows.set_column(2, "preference", opposite), tables.RATINGS, path)
    select(work)
    select(other)
    assert selection(other).equals(selection(work))


def test_before_any_split_the_same_groups_are_kept_out(work):
    groups = tables.read(inputs(work).pairs, tables.PAIRS, ["pair_id", "group"])
    select(work, split=False)
    made = data.split(DataConfig(holdout=0.1, labelled=5), data=work / "outputs/data", out=work / "split", seed=0)
    split = tables.read(work / "split/splits.parquet", tables.SPLITS).to_pylist()
    assert selection(work).column("pair_id").to_pylist() == [r["pair_id"] for r in split if r["split"] == "train"]
    assert 0 < made["holdout"] < groups.num_rows


def test_a_pair_without_an_answer_is_as_uncertain_as_can_be(work):
    path = inputs(work).labels
    rows = tables.read(path, tables.LABELS).to_pylist()
    for row in rows[:2]:
        row["preference"] = None if row is rows[0] else 0.5
    rows = rows[:-1]
    tables.write(pa.Table.from_pylist(rows, tables.LABELS.schema), tables.LABELS, path)
    select(work)
    chance = dict(zip(*(selection(work).column(n).to_pylist() for n in ("pair_id", "propensity")), strict=True))
    assert chance[rows[0]["pair_id"]] == pytest.approx(chance[rows[1]["pair_id"]], rel=1e-9)
    assert chance[rows[0]["pair_id"]] == pytest.approx(max(chance.values()), rel=1e-9)


def test_second_opinions_are_asked_on_what_a_run_sees(work):
    select(work, design="again", budget=18)
    split = tables.read(inputs(work).splits, tables.SPLITS).to_pylist()
    seen = {r["pair_id"] for r in split if r["is_labelled"] or r["split"] == "holdout"}
    table = selection(work)
    assert set(table.column("pair_id").to_pylist()) == seen
    assert table.column("propensity").null_count == len(seen) == 18
    with pytest.raises(UserError, match="run 'dedpo data split' first"):
        select(work, "r2", design="again", split=False)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "r1.partial", "a b", "x" * 65, "é"])
def test_a_name_that_is_no_folder_is_refused(work, name):
    with pytest.raises(UserError, match="--round"):
        select(work, name)
    assert not (work / "human").exists()


def test_more_than_there_is_cannot_be_asked(work):
    with pytest.raises(UserError, match=r"select.budget: 61 pairs are asked for and there are 60"):
        select(work, budget=61)
    assert select(work, budget=60)["selected"] == 60


# merge, ratings, split


def test_the_way_out_and_back_gives_the_same_pairs_with_ratings_and_raters(work):
    select(work)
    before = hashes(work)
    found = merge(work, answered(tasks(work), odd, people=(7, 8)))
    assert (found["new_ratings"], found["set_aside"]) == (24, {})
    path = join(work)
    after = hashes(work)
    assert all(after[name] == digest for name, digest in before.items())
    rows = [r for r in tables.read(path, tables.RATINGS).to_pylist() if r["source"] == "label-studio:r1"]
    chosen = {r["pair_id"]: r["order_shown"] for r in selection(work).to_pylist() if r["is_selected"]}
    assert {(r["pair_id"], r["order_shown"]) for r in rows} == set(chosen.items())
    assert {r["rater"] for r in rows} == {"label-studio:7", "label-studio:8"}
    assert all(r["preference"] == odd(r["pair_id"]) for r in rows)
    assert all(r["time"].isoformat() == "2026-11-22T10:00:00.500000+00:00" for r in rows)
    assert found["agreement"]["raters"]["agreement"] == 1.0
    imported = tables.read(inputs(work).ratings, tables.RATINGS).to_pylist()
    kept = [r for r in tables.read(path, tables.RATINGS).to_pylist() if r["source"] == "test"]
    assert sorted(kept, key=lambda r: r["pair_id"]) == sorted(imported, key=lambda r: r["pair_id"])


def test_the_same_export_again_changes_nothing(work):
    select(work)
    export = answered(tasks(work), odd)
    merge(work, export)
    before = hashes(work)
    found = merge(work, export)
    assert hashes(work) == before
    assert (found["new_ratings"], found["known"]) == (0, 12)
    assert found["warnings"] == ["nothing new: no rating was added"]


def test_later_answers_join_and_other_answers_do_not_replace(work):
    select(work)
    export = answered(tasks(work), odd)
    first = merge(work, export[:5])
    assert first["rounds"]["r1"]["missing"] == 7
    assert "7 of 12 selected pairs have no answer" in first["warnings"][0]
    before = hashes(work / "human/ratings")
    changed_mind = answered(tasks(work)[:1], lambda pair: 1 - odd(pair))
    found = merge(work, changed_mind + export[1:], "later.json")
    assert (found["new_ratings"], found["known"]) == (7, 4)
    assert found["set_aside"] == {"differs from the merged rating": 1}
    after = hashes(work / "human/ratings")
    assert all(after[name] == digest for name, digest in before.items())
    with found["set_aside_in"].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["reason"], r["detail"][:17]) for r in rows] == [("differs from the merged rating", "label-studio:7 on")]
    note = json.loads((work / "human/rounds/r1/answered.json").read_text())
    assert (note["selected"], note["answered"], note["missing"]) == (12, 12, 0)
    assert (note["raters"], sorted(note["exports"].values())) == ({"label-studio:7": 12}, ["export.json", "later.json"])


def test_an_export_of_two_rounds_is_merged_into_each(work):
    select(work, "r1")
    select(work, "r2")
    found = merge(work, answered(tasks(work, "r1") + tasks(work, "r2"), odd))
    assert {name: counts["answered"] for name, counts in found["rounds"].items()} == {"r1": 12, "r2": 12}
    both = {t["data"]["pair_id"] for t in tasks(work, "r1")} & {t["data"]["pair_id"] for t in tasks(work, "r2")}
    assert both
    assert (found["new_ratings"], found["duplicates"]) == (24 - len(both), len(both))


def test_strangers_pairs_and_rounds_are_refused_row_by_row(work):
    select(work)
    export = answered(tasks(work), odd)
    export[0]["data"] = export[0]["data"] | {"pair_id": "f" * 24}
    export[1]["data"] = export[1]["data"] | {"round": "r9"}
    found = merge(work, export)
    assert found["set_aside"] == {"unknown pair": 1, "unknown round": 1}
    assert found["new_ratings"] == 10


def test_an_export_of_strangers_alone_is_refused(work):
    select(work)
    export = [t | {"data": t["data"] | {"round": "r9"}} for t in answered(tasks(work), odd)]
    with pytest.raises(UserError, match=r"none of its 12 answers is to a question of .* \(12 × unknown round\); name"):
        merge(work, export)
    assert not (work / "human/ratings").exists()


def test_hostile_texts_are_inert_in_the_csv(work):
    select(work)
    export = answered(tasks(work), odd)
    for task, prompt in zip(export, HOSTILE, strict=False):
        task["data"] = task["data"] | {"prompt": prompt}
        task["annotations"][0]["was_cancelled"] = True
    path = merge(work, export)["set_aside_in"]
    with path.open(encoding="utf-8", newline="") as file:
        prompts = [r["prompt"] for r in csv.DictReader(file)]
    assert len(prompts) == len(HOSTILE)
    assert not any(p.startswith(("=", "+", "-", "@")) for p in prompts)


def test_merging_without_a_round_says_what_to_do(work):
    select(work)
    export = answered(tasks(work), odd)
    path = work / "export.json"
    path.write_text(json.dumps(export))
    with pytest.raises(UserError, match="there is no round to merge into"):
        stage.merge(path, human=work / "elsewhere", ratings=None)


def split(work: Path, labelled: float | None = 10, **changes: Any) -> dict[str, Any]:
    arguments = {"ratings": work / "outputs/ratings/rated.parquet", "rounds": work / "human/rounds"} | changes
    config = DataConfig(holdout=0.1, labelled=labelled)
    return data.split(config, data=work / "outputs/data", out=work / "split", seed=0, **arguments)


def rows_of_split(work: Path) -> dict[str, dict[str, Any]]:
    return {r["pair_id"]: r for r in tables.read(work / "split/splits.parquet", tables.SPLITS).to_pylist()}


def test_answered_rounds_join_the_uniform_draw_with_the_chance_of_either(work):
    for name in ("r1", "r2", "unanswered"):
        select(work, name, split=False)
    join(work)
    alone = split(work)
    drawn = {p for p, r in rows_of_split(work).items() if r["is_labelled"]}
    merge(work, answered(tasks(work, "r1") + tasks(work, "r2"), odd))
    join(work)
    summary = split(work)
    rounds = [{r["pair_id"]: r for r in selection(work, n).to_pylist()} for n in ("r1", "r2")]
    asked = {p for r in rounds for p in r if r[p]["is_selected"]}
    rows = rows_of_split(work)
    assert {p for p, r in rows.items() if r["is_labelled"]} == drawn | asked
    uniform = alone["labelled"] / alone["train"]
    for pair, row in rows.items():
        missed = (1 - uniform) * np.prod([1 - r[pair]["propensity"] for r in rounds if pair in r])
        assert row["propensity"] == pytest.approx(1 - missed if row["split"] == "train" else 1, rel=1e-12)
    assert summary["labelled"] == len(drawn | asked)
    assert summary["labelled_uniform"] == 10
    assert summary["rounds"]["r1"] == {"selected": 12, "answered": 12, "missing": 0, "elsewhere": 0}
    assert set(summary["rounds"]) == {"r1", "r2"}


def test_without_an_answered_round_a_split_is_what_it_was(work):
    alone = data.split(DataConfig(holdout=0.1, labelled=10), data=work / "outputs/data", out=work / "alone", seed=0)
    select(work)
    select(work, "again", design="again", budget=5)
    merge(work, answered(tasks(work, "again"), odd))
    join(work)
    assert split(work) == alone
    for name in ("splits.parquet", "summary.json"):
        assert (work / "split" / name).read_bytes() == (work / "alone" / name).read_bytes()


def test_nobody_answered_lowers_the_chance_and_is_said(work):
    select(work, split=False)
    merge(work, answered(tasks(work)[:9], odd))
    join(work)
    summary = split(work, labelled=None)
    chance = {r["pair_id"]: r["propensity"] for r in selection(work).to_pylist()}
    rows = {p: r for p, r in rows_of_split(work).items() if r["split"] == "train"}
    assert sum(r["is_labelled"] for r in rows.values()) == summary["labelled"] == 9
    for pair, row in rows.items():
        assert row["propensity"] == pytest.approx(chance[pair] * 9 / 12, rel=1e-12)
    assert "3 of 12 selected pairs have no rating" in summary["warnings"][0]


def test_rounds_alone_must_know_every_training_pair(work):
    join(work)
    with pytest.raises(UserError, match=r"null asks for the pairs of answered rounds alone.*'dedpo data select'"):
        split(work, labelled=None)
    select(work)  # the fixture's split: other pairs than this configuration holds out
    merge(work, answered(tasks(work), odd))
    join(work)
    with pytest.raises(UserError, match="training pairs were in no answered round"):
        split(work, labelled=None)


def test_ratings_older_than_the_answers_are_refused(work):
    path = inputs(work).ratings
    few = tables.read(path, tables.RATINGS).slice(0, 30)
    tables.write(few, tables.RATINGS, path)
    select(work)
    join(work)
    merge(work, answered(tasks(work), odd))
    with pytest.raises(UserError, match=r"has no rating of \d+ of the 12 pairs.*run 'dedpo data ratings' first"):
        split(work)


def test_second_opinions_and_values_leave_what_a_split_reads_as_it_is(work):
    select(work, split=False)
    merge(work, answered(tasks(work), odd))
    join(work)
    folder = work / "outputs/ratings"
    before = {name: (folder / name).read_bytes() for name in ("rated.parquet", "rounds.json", "ratings.parquet")}
    merge(work, answered(tasks(work), odd, people=(8,)), "second.json")
    join(work)
    after = {name: (folder / name).read_bytes() for name in before}
    assert {name for name in before if before[name] != after[name]} == {"ratings.parquet"}


def test_people_alone_are_enough_where_the_import_has_no_rating(work):
    path = inputs(work).ratings
    tables.write(tables.read(path, tables.RATINGS).slice(0, 0), tables.RATINGS, path)
    select(work, split=False)
    merge(work, answered(tasks(work), odd))
    assert tables.count_rows(join(work)) == 12
    assert split(work, labelled=None)["labelled"] == 12
    made = data.features(
        DataConfig(), data=work / "outputs/data", out=work / "features", ratings=work / "outputs/ratings/rated.parquet"
    )
    assert made["rated_pairs"] == 12


def test_answers_to_pairs_that_an_import_has_no_more_are_kept_and_not_measured(work):
    select(work)
    merge(work, answered(tasks(work), odd))
    gone = tasks(work)[0]["data"]["pair_id"]
    for path, rule in (
        (work / "outputs/data/pairs/pairs-0.parquet", tables.PAIRS),
        (inputs(work).ratings, tables.RATINGS),
    ):
        rows = tables.read(path, rule)
        tables.write(rows.filter(pc.not_equal(rows.column("pair_id"), gone)), rule, path)
    assert gone in tables.read(join(work), tables.RATINGS).column("pair_id").to_pylist()
    made = data.features(
        DataConfig(), data=work / "outputs/data", out=work / "features", ratings=work / "outputs/ratings/rated.parquet"
    )
    assert made["rated_pairs"] == 67
    assert split(work)["rounds"]["r1"]["elsewhere"] >= 1


def test_over_many_rounds_the_targets_correction_is_right_on_average_and_pooling_is_not(work, monkeypatch):
    """select → merge → ratings → split → targets; people prefer image 1 wherever the annotator is unsure."""
    monkeypatch.setattr(origin, "git_commit", lambda: None)
    path = inputs(work).labels
    labels = tables.read(path, tables.LABELS).to_pylist()
    for i, row in enumerate(labels):
        row["preference"] = 0.5 if i % 3 == 0 else 0.98
    tables.write(pa.Table.from_pylist(labels, tables.LABELS.schema), tables.LABELS, path)
    annotator = {r["pair_id"]: r["preference"] for r in labels}
    corrected, pooled = [], []
    for i in range(ROUNDS):
        here = work / f"{i}"
        here.mkdir()
        (here / "outputs").symlink_to(work / "outputs")
        config = SelectConfig(budget=12, image_prefix="x")
        stage.select(config, name=f"r{i}", inputs=inputs(work, split=False), human=here / "human")
        merge(here, answered(tasks(here, f"r{i}"), lambda pair: 1.0))
        stage.ratings(imported=inputs(work).ratings, human=here / "human", out=here / "ratings")
        split(here, None, ratings=here / "ratings/ratings.parquet")
        splits = here / "split/splits.parquet"
        rows = [r for r in rows_of_split(here).values() if r["split"] == "train"]
        labelled = [r["pair_id"] for r in rows if r["is_labelled"]]
        mine = tables.read(here / "ratings/ratings.parquet", tables.RATINGS)
        only = mine.filter(pa.array([s.startswith("label-studio") for s in mine.column("source").to_pylist()]))
        tables.write(only, tables.RATINGS, here / "human.parquet")
        targets.run(
            TargetsConfig(regime="reference"), arms=["dedpo"], ratings=here / "human.parquet", splits=splits,
            labels=path, features=None, out=here / "targets",
        )  # fmt: skip
        table = tables.read(here / "targets/dedpo/targets.parquet", tables.TARGETS)
        corrected.append(np.mean(table.column("b").to_numpy()))
        mean = np.mean([annotator[r["pair_id"]] for r in rows])
        pooled.append(mean + np.mean([1.0 - annotator[pair] for pair in labelled]))
    # Everybody prefers image 1: the truth is 1.
    assert abs(np.mean(corrected) - 1) < 3 * np.std(corrected) / np.sqrt(ROUNDS)
    assert abs(np.mean(pooled) - 1) > 5 * np.std(pooled) / np.sqrt(ROUNDS)


KILLED = """
import os, signal, sys
from pathlib import Path
from dedpo.contract import tables
from dedpo.human import project_files, stage
work, what, after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
count = 0
def dying(function):
    def call(*args, **kwargs):
        global count
        result = function(*args, **kwargs)
        count += 1
        if count == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
steps = [(project_files, "_write_image"), (tables, "write"), (stage, "write_json"), (project_files, "_write_tasks")]
for module, name in steps:
    setattr(module, name, dying(getattr(module, name)))
sys.path.insert(0, sys.argv[4])
from tests.human import test_stage
if what == "select":
    test_stage.select(work)
else:
    stage.merge(work / "export.json", human=work / "human", ratings=None)
print("done")
"""


def killed(work: Path, what: str, after: int) -> bool:
    """Run one of both in a process that kills itself after so many steps; False if it lived to the end."""
    root = Path(__file__).parents[2]
    arguments = [sys.executable, "-c", KILLED, str(work), what, str(after), str(root)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def test_killed_at_any_moment_and_run_again_it_ends_the_same(work, other):
    select(other)
    for after in (1, 2, 13, 25):
        assert killed(work, "select", after)
    assert select(work)["drawn"] == "earlier"
    skip = {"rounds/r1/manifest.run.json", "rounds/r1/label-studio/manifest.run.json"}
    assert {k: v for k, v in hashes(work / "human").items() if k not in skip} == {
        k: v for k, v in hashes(other / "human").items() if k not in skip
    }
    export = answered(tasks(work), odd)
    merge(other, export)
    (work / "export.json").write_text(json.dumps(export), encoding="utf-8")
    assert killed(work, "merge", 1)
    found = merge(work, export)
    assert found["rounds"]["r1"]["answered"] == 12
    for name in ("ratings", "rounds/r1/answered.json"):
        one, two = work / "human" / name, other / "human" / name
        assert hashes(one) == hashes(two) if one.is_dir() else one.read_bytes() == two.read_bytes()
