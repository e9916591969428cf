"""What comes back from people when it is not as it should be: late, from another round, with broken notes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dedpo.contract import tables
from dedpo.contract.answered_pairs import answered_rounds
from dedpo.contract.records.human import Selection
from dedpo.contract.sections import SelectConfig
from dedpo.data import rounds
from dedpo.errors import UserError
from dedpo.human import export, merged_ratings, stage
from dedpo.outputs.manifest import output_folder, write_json
from tests.records import record

IDS = [f"{i:024x}" for i in range(2000)]


def draw(root: Path, name: str, n: int = len(IDS), seed: int = 0) -> list[str]:
    """A uniform round over the first `n` pairs that selects each second one; what it selected."""
    selected = np.zeros(n, dtype=bool)
    selected[np.random.default_rng(seed).permutation(n)[: n // 2]] = True
    columns = {
        "pair_id": IDS[:n],
        "propensity": np.full(n, 0.5),
        "is_selected": selected,
        "order_shown": pa.array(["01"] * n, pa.string(), mask=~selected),
    }
    source = root / "source"
    source.write_text("")
    with output_folder(root / "human/rounds" / name, stage="select", config={}, inputs={"pairs": source}) as partial:
        tables.write(pa.table(columns, tables.SELECTIONS.schema), tables.SELECTIONS, partial / "selection.parquet")
        write_json(partial / "summary.json", record(Selection, design="uniform", selected=n // 2))
    return [pair for pair, chosen in zip(IDS, selected, strict=False) if chosen]


def answers(name: str, pairs: list[str], rater: Any = 1, choice: str = "left") -> list[dict[str, Any]]:
    result = [{"from_name": "preference", "value": {"choices": [choice]}}]
    return [
        {
            "data": {"round": name, "pair_id": pair, "order_shown": "01", "prompt": "p"},
            "annotations": [{"completed_by": rater, "result": result, "updated_at": "2026-11-22T10:00:00Z"}],
        }
        for pair in pairs
    ]


def merge(root: Path, tasks: list[dict[str, Any]], ratings: Path | None = None, **options: Any) -> dict[str, Any]:
    path = root / "export.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return stage.merge(path, human=root / "human", ratings=ratings, **options)


def seen(root: Path) -> tuple[list[rounds.Round], np.ndarray, np.ndarray]:
    """The rounds after a join, whom they label, and with which chance."""
    imported = root / "imported.parquet"
    tables.write(tables.RATINGS.schema.empty_table(), tables.RATINGS, imported)
    stage.ratings(imported=imported, human=root / "human", out=root / "joined")
    rated = (
        merged_ratings.read_ratings(root / "joined/ratings.parquet")
        .column("pair_id")
        .combine_chunks()
        .cast(pa.string())
    )
    found = [
        rounds.read(name, folder, pa.array(IDS), rated, root / "joined/ratings.parquet")
        for name, folder in answered_rounds(root / "human/rounds").items()
    ]
    return found, *rounds.together(0.0, np.zeros(len(IDS), dtype=bool), found)


def standing(root: Path) -> dict[tuple[str, str], float]:
    rows = [
        r for path in (root / "human/ratings").glob("*.parquet") for r in tables.read(path, tables.RATINGS).to_pylist()
    ]
    found = {(r["pair_id"], r["rater"]): r["preference"] for r in rows}
    assert len(found) == len(rows)
    return found


def note(root: Path, name: str) -> dict[str, Any]:
    found = json.loads((root / "human/rounds" / name / "answered.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found | {"pairs": sorted(found["pairs"])}


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_rounds_response_counts_its_own_answers_in_whichever_order_rounds_are_merged(tmp_path, order):
    """Both rounds ask half of the pairs; of b's only a fifth is answered, whatever a's people said of the others."""
    selected = {name: draw(tmp_path, name, seed=seed) for seed, name in enumerate("ab")}
    given = {"a": selected["a"], "b": selected["b"][::5]}
    assert set(given["a"]) & set(selected["b"])
    for rater, name in enumerate(order):
        merge(tmp_path, answers(name, given[name], rater))
    assert {name: note(tmp_path, name)["pairs"] for name in "ab"} == {name: sorted(given[name]) for name in "ab"}
    found, labelled, propensity = seen(tmp_path)
    assert [r.response for r in found] == [1.0, 0.2]
    assert propensity == pytest.approx(1 - 0.5 * 0.9)
    assert (labelled / propensity).mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_one_persons_same_answer_in_two_rounds_counts_in_both(tmp_path, order):
    both = sorted(set(draw(tmp_path, "a", 40)) & set(draw(tmp_path, "b", 40, seed=1)))
    assert both
    for name in order:
        merge(tmp_path, answers(name, both))
    assert note(tmp_path, "a")["pairs"] == note(tmp_path, "b")["pairs"] == both
    # And still does when a part of the second, whose ratings are the first's, is merged again.
    merge(tmp_path, answers(order[1], both[:1]))
    assert note(tmp_path, order[1])["pairs"] == both


def test_an_answer_that_differs_from_another_rounds_is_an_answer_of_its_round(tmp_path):
    both = sorted(set(draw(tmp_path, "a", 40)) & set(draw(tmp_path, "b", 40, seed=1)))
    merge(tmp_path, answers("a", both))
    found = merge(tmp_path, answers("b", both, choice="right"))
    assert (found["new_ratings"], found["set_aside"]) == (0, {"differs from the merged rating": len(both)})
    assert note(tmp_path, "b")["pairs"] == both


def test_answers_that_cannot_be_used_are_no_answers(tmp_path):
    first, second, third = draw(tmp_path, "a", 6)
    torn = answers("a", [second]) + answers("a", [second], choice="right")
    found = merge(tmp_path, answers("a", [first, "f" * 24]) + torn)
    assert found["set_aside"] == {"contradictory ratings": 2, "unknown pair": 1}
    assert note(tmp_path, "a")["pairs"] == [first]
    # Another answer than was merged is set aside, and the pair has one nevertheless.
    merge(tmp_path, answers("a", [first, third], choice="right"))
    assert note(tmp_path, "a")["pairs"] == [first, third]


def test_ratings_that_were_deleted_leave_the_rounds_count(tmp_path):
    """Both rounds ask half of the pairs; of a's answers, merged in four parts, three are deleted, b's stay.

    A pair is seen with 1 − (1 − ½·¼)(1 − ½), whoever else rated the pairs whose answers were deleted.
    """
    selected = {name: draw(tmp_path, name, seed=seed) for seed, name in enumerate("ab")}
    everybody = set()
    for part in range(4):
        merge(tmp_path, answers("a", selected["a"][part::4]))
        everybody |= set((tmp_path / "human/ratings").glob("*.parquet"))
        if part == 0:
            (kept,) = everybody
    merge(tmp_path, answers("b", selected["b"], rater=2))
    for path in everybody - {kept}:
        path.unlink()
    found, labelled, propensity = seen(tmp_path)
    assert [r.response for r in found] == [0.25, 1.0]
    assert propensity == pytest.approx(1 - (1 - 0.5 * 0.25) * (1 - 0.5))
    assert set(np.array(IDS)[labelled]) == set(selected["a"][::4]) | set(selected["b"])
    assert (labelled / propensity).mean() == pytest.approx(1, abs=0.03)
    # And what a split is made from has changed, so that it is made again.
    noted = json.loads((tmp_path / "joined/rounds.json").read_text(encoding="utf-8"))
    merge(tmp_path, answers("a", selected["a"][1::4]))
    seen(tmp_path)
    after = json.loads((tmp_path / "joined/rounds.json").read_text(encoding="utf-8"))
    assert {name: noted[name] == after[name] for name in "ab"} == {"a": False, "b": True}


def test_a_round_whose_answers_are_all_deleted_is_seen_by_nobody(tmp_path):
    merge(tmp_path, answers("a", draw(tmp_path, "a")))
    shutil.rmtree(tmp_path / "human/ratings")
    found, labelled, propensity = seen(tmp_path)
    assert ([r.response for r in found], labelled.any(), propensity.max()) == ([0.0], False, 0.0)
    merge(tmp_path, answers("a", note(tmp_path, "a")["pairs"][:1]))
    assert len(note(tmp_path, "a")["pairs"]) == 1


LATER = {"updated_at": "2026-11-23T10:00:00Z"}


def again(tasks: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    return [t | {"annotations": [a | changes for a in t["annotations"]]} for t in tasks]


def test_a_persons_later_answer_stands_in_the_place_of_the_earlier_if_asked_for(tmp_path):
    first, second, third = draw(tmp_path, "a", 6)
    merge(tmp_path, answers("a", [first, second, third]) + answers("a", [first], rater=2))
    before = {p.name for p in (tmp_path / "human/ratings").glob("*.parquet")}
    changed = again(answers("a", [first], choice="right"), **LATER)
    found = merge(tmp_path, changed)
    assert (found["new_ratings"], found["set_aside"]) == (0, {"differs from the merged rating": 1})
    assert {p.name for p in (tmp_path / "human/ratings").glob("*.parquet")} == before
    found = merge(tmp_path, changed, latest=True)
    assert (found["new_ratings"], found["set_aside"]) == (1, {"replaced by a later answer": 1})
    one, two = "label-studio:1", "label-studio:2"
    expected = {(first, one): 1.0, (second, one): 0.0, (third, one): 0.0, (first, two): 0.0}
    assert standing(tmp_path) == expected
    assert f"{one} on pair {first}: 0" in found["set_aside_in"].read_text(encoding="utf-8")
    assert note(tmp_path, "a")["answered"] == 3
    # The same again, and the older export, change nothing any more.
    for tasks in (changed, answers("a", [first, second, third])):
        assert merge(tmp_path, tasks, latest=True)["new_ratings"] == 0
        assert standing(tmp_path) == expected


def test_what_is_gone_from_a_task_of_the_export_goes_if_asked_for(tmp_path):
    first, second, third = draw(tmp_path, "a", 6)
    merge(tmp_path, answers("a", [first, second, third]) + answers("a", [first, second], rater=2))
    deleted = [*answers("a", [first, third]), answers("a", [second])[0] | {"annotations": []}]
    found = merge(tmp_path, deleted)
    assert "1 merged ratings are gone from their tasks in this export" in found["warnings"][-1]
    assert len(standing(tmp_path)) == 5
    found = merge(tmp_path, deleted, latest=True)
    assert found["set_aside"] == {"gone from the export": 1}
    # The other person's answers are of another project, of which this export is none.
    assert set(standing(tmp_path)) == {
        (first, "label-studio:1"), (third, "label-studio:1"), (first, "label-studio:2"), (second, "label-studio:2"),
    }  # fmt: skip
    gone = [*answers("a", [first], rater=2), answers("a", [second])[0] | {"annotations": []}]
    assert merge(tmp_path, gone, latest=True)["rounds"]["a"]["answered"] == 2
    assert note(tmp_path, "a")["pairs"] == [first, third]
    assert seen(tmp_path)[0][0].response == pytest.approx(2 / 3)


def test_a_replacement_that_was_cut_short_is_finished_by_the_next(tmp_path, monkeypatch):
    first, second, _ = draw(tmp_path, "a", 6)
    merge(tmp_path, answers("a", [first, second]))
    changed = again(answers("a", [first], choice="right"), **LATER)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(merged_ratings, "withdraw", killed)
        with pytest.raises(KeyboardInterrupt):
            merge(tmp_path, changed, latest=True)
    merge(tmp_path, changed, latest=True)
    assert standing(tmp_path) == {(first, "label-studio:1"): 1.0, (second, "label-studio:1"): 0.0}


@pytest.mark.parametrize(
    "text", ["<<<<<<< HEAD\n{}\n=======\n", "", "[]", '{"pairs": 5}', '{"pairs": ["z"], "exports": {}}', "\ufeff{}"]
)
def test_a_note_that_git_left_in_conflict_is_made_again(tmp_path, text):
    tasks = answers("a", draw(tmp_path, "a", 20))
    merge(tmp_path, tasks)
    path = tmp_path / "human/rounds/a/answered.json"
    before = path.read_bytes()
    path.write_text(text, encoding="utf-8")
    merge(tmp_path, tasks)
    assert path.read_bytes() == before


def test_a_person_in_two_files_does_not_agree_with_themselves(tmp_path):
    """Two branches merged the same export, each into its own file."""
    pairs = draw(tmp_path, "a", 20)
    merge(tmp_path, answers("a", pairs))
    folder = tmp_path / "human/ratings"
    (path,) = folder.glob("*.parquet")
    shutil.copy(path, folder / "a-of-another-branch.parquet")
    assert merge(tmp_path, answers("a", pairs))["agreement"] == {"raters": None, "import": None}
    found = merge(tmp_path, answers("a", pairs[:4], rater=2) + answers("a", pairs[4:8], rater=2, choice="right"))
    assert (found["agreement"]["raters"]["agreement"], found["agreement"]["raters"]["pairs"]) == (0.5, 8)


@pytest.mark.parametrize(
    ("annotator", "rater"),
    [
        ("ann@example.org", "ann@example.org"),
        (" ann@example.org\n", "ann@example.org"),
        (7, "label-studio:7"),
        ("7", "label-studio:7"),
    ],
)
def test_the_short_export_names_its_annotator_by_address_or_number(annotator, rater):
    row = {"round": "a", "pair_id": IDS[0], "order_shown": "01", "prompt": "p", "preference": "left"}
    found, set_aside = export.parse([row | {"annotator": annotator}])
    assert ([a.rater for a in found], set_aside) == ([rater], [])


@pytest.mark.parametrize("annotator", ["", "  ", "\0", "\ud800"])
def test_an_annotator_without_a_name_is_set_aside(annotator):
    row = {"round": "a", "pair_id": IDS[0], "order_shown": "01", "prompt": "p", "preference": "left"}
    found, set_aside = export.parse([row | {"annotator": annotator}])
    assert ([a.rater for a in found], [s.reason for s in set_aside]) == ([], ["no rater"])


def test_half_a_character_in_an_export_sets_its_row_aside(tmp_path):
    pairs = draw(tmp_path, "a", 6)
    found = merge(tmp_path, answers("a", [*pairs, "\ud800"]))
    assert (found["new_ratings"], found["set_aside"]) == (3, {"unknown pair": 1})
    assert "label-studio:1 on pair ?" in found["set_aside_in"].read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [None, "", "{}", "[]"])
def test_a_round_of_which_nothing_is_left_says_what_to_do(tmp_path, text):
    folder = tmp_path / "human/rounds/a"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "summary.json").write_text(text, encoding="utf-8")
    nowhere = stage.Inputs(tmp_path / "pairs", tmp_path / "labels", tmp_path / "ratings", None, 0.1)
    with pytest.raises(UserError, match=r"a/summary.json: .*no whole round.*bring it back .* or delete") as raised:
        stage.select(SelectConfig(), name="a", inputs=nowhere, human=tmp_path / "human")
    assert len(str(raised.value).splitlines()) == 1
