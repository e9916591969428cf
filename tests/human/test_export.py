"""Label Studio's exports: real ones of version 1.23.2, the documented shapes, and whatever else a file may hold."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.errors import UserError
from dedpo.human import export, project

HERE = Path(__file__).parent
# What was clicked: pair (its last two digits), order shown, person, choice.
CLICKED = [("21", "01", 2, "right"), ("21", "01", 1, "right"), ("0b", "10", 1, "tie"), ("13", "10", 1, "left")]
CLICKED += [("14", "01", 1, "left")]
PREFERENCES = {"01": {"left": 0.0, "right": 1.0, "tie": 0.5}, "10": {"left": 1.0, "right": 0.0, "tie": 0.5}}


def real(ending: str = "") -> list[Any]:
    return export.read(HERE / f"label_studio_1_23_2{ending}.json")


def task(choice: Any = "left", **changes: Any) -> dict[str, Any]:
    """A task with one annotation as Label Studio writes it; keys given are of the annotation or of the data."""
    result = [{"from_name": "preference", "to_name": "left", "type": "choices", "value": {"choices": [choice]}}]
    data = {"pair_id": "a", "round": "r1", "order_shown": "01", "prompt": "a cat"}
    annotation = {"result": result, "completed_by": 7, "was_cancelled": False, "updated_at": "2026-11-22T10:00:00Z"}
    for name, value in changes.items():
        (data if name in data else annotation)[name] = value
    return {"id": 1, "data": data, "annotations": [annotation], "predictions": []}


def reasons(tasks: list[Any]) -> list[str]:
    return [s.reason for s in export.parse(tasks)[1]]


@pytest.mark.parametrize("ending", ["", "_min"])
def test_a_real_export_gives_what_was_clicked(ending):
    answers, set_aside = export.parse(real(ending))
    found = {(a.pair_id[-2:], a.order_shown, a.rater, a.preference) for a in answers}
    assert found == {(p, o, f"label-studio:{who}", PREFERENCES[o][c]) for p, o, who, c in CLICKED}
    assert len(answers) == len(CLICKED)
    assert all(a.round == "pilot" and a.time and a.time.tzinfo == UTC and a.time.year == 2026 for a in answers)
    assert [s.reason for s in set_aside] == ([] if ending else ["prediction", "skipped"])


@pytest.mark.parametrize("order", ["01", "10"])
@pytest.mark.parametrize("choice", ["left", "tie", "right"])
def test_the_order_is_undone(order, choice):
    pictures = {"01": {"left": 0, "right": 1}, "10": {"left": 1, "right": 0}}
    expected = 0.5 if choice == "tie" else float(pictures[order][choice])
    assert project.preference(choice, order) == expected
    shown = project.task("r1", "a", order, "a cat", ("zero.png", "one.png"))["data"]
    assert (shown["left"], shown["right"]) == (("zero.png", "one.png") if order == "01" else ("one.png", "zero.png"))


def test_a_person_is_an_address_or_a_number_that_is_nobody_elses():
    people = [7, {"id": 8, "email": "ann@example.org"}, {"id": 9, "email": ""}, {"id": 9}]
    answers, _ = export.parse([task(completed_by=p) for p in people])
    assert [a.rater for a in answers] == ["label-studio:7", "ann@example.org", "label-studio:9", "label-studio:9"]


def test_the_pairwise_tag_is_read_as_well():
    result = [{"from_name": "pw", "to_name": "left", "type": "pairwise", "value": {"selected": "right"}}]
    assert [a.preference for a in export.parse([task(result=result)])[0]] == [1.0]


def test_other_controls_of_a_project_are_left_alone():
    remark = {"from_name": "remark", "to_name": "left", "type": "textarea", "value": {"text": ["blurred"]}}
    other = {"from_name": "quality", "to_name": "left", "type": "choices", "value": {"choices": ["good"]}}
    given = task("right")
    given["annotations"][0]["result"] += [remark, other]
    assert [a.preference for a in export.parse([given])[0]] == [1.0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"was_cancelled": True}, "skipped"),
        ({"skipped": True}, "skipped"),
        ({"result": []}, "no choice"),
        ({"result": None}, "no choice"),
        ({"result": [{"type": "pairwise", "value": {}}]}, "no choice"),
        ({"choice": "both"}, "not one of left, tie, right"),
        ({"choice": ["left"]}, "not one of left, tie, right"),
        ({"completed_by": None}, "no rater"),
        ({"completed_by": True}, "no rater"),
        ({"completed_by": {"email": 5}}, "no rater"),
        ({"pair_id": 5}, "not a task of 'dedpo data select'"),
        ({"round": "../../etc"}, "not a task of 'dedpo data select'"),
        ({"round": "a/b"}, "not a task of 'dedpo data select'"),
        ({"order_shown": "11"}, "not a task of 'dedpo data select'"),
        ({"order_shown": ["01"]}, "not a task of 'dedpo data select'"),
    ],
)
def test_what_is_no_answer_is_set_aside_with_its_reason(changes, reason):
    answers, set_aside = export.parse([task(**changes), task()])
    assert [(s.number, s.reason, s.prompt) for s in set_aside] == [(1, reason, "a cat")]
    assert [a.number for a in answers] == [2]


def test_two_choices_at_once_are_no_answer():
    given = task("left")
    given["annotations"][0]["result"] += task("right")["annotations"][0]["result"]
    assert reasons([given]) == ["not one of left, tie, right"]


def test_tasks_that_are_none_and_annotations_that_are_none():
    assert reasons([5, {"data": {}, "annotations": ["x"]}, {"data": 3, "annotations": [{}]}]) == [
        "not a task",
        "unreadable annotation",
        "not a task of 'dedpo data select'",
    ]
    assert export.parse([{"id": 1, "data": {}, "annotations": []}, {}, task() | {"annotations": 7}]) == ([], [])


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-22T12:00:00+02:00", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T10:00:00", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:00", None),
        (None, None),
    ],
)
def test_times_are_utc_or_unknown(text, time):
    assert export.parse([task(updated_at=text)])[0][0].time == time


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,preference\n1,left\n", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("\udcff", "no JSON"),
        ("[]", "an empty list, expected"),
        ('{"tasks": []}', "a JSON dict, expected"),
    ],
)
def test_what_is_no_export_is_one_line_with_the_remedy(tmp_path, text, message):
    path = tmp_path / "export.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=message) as raised:
        export.read(path)
    assert "Export, then 'JSON'" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"nowhere.json: No such file.*name a JSON export"):
        export.read(Path("nowhere.json"))


# What other versions, controls and storages write; docs/data.md says where each was looked up.


def stored(choice: str = "left", **changes: Any) -> dict[str, Any]:
    """A file of a target storage: the annotation with its task inside."""
    (annotation,) = (given := task(choice, **changes))["annotations"]
    person = {"id": 7, "first_name": "Ann", "last_name": "", "email": "ann@example.org"}
    return {"id": 1217, "created_username": " ann@example.org, 7", "task": {"id": 1, "data": given["data"]}} | (
        annotation | {"completed_by": person}
    )


def row(**changes: Any) -> dict[str, Any]:
    """A row of JSON-MIN."""
    data = {"pair_id": "a", "round": "r1", "order_shown": "01", "prompt": "a cat", "left": "/0.png", "right": "/1.png"}
    return data | {"id": 1, "annotator": 7, "annotation_id": 3, "updated_at": "2026-11-22T10:00:00Z"} | changes


def old(choice: str = "left", **changes: Any) -> dict[str, Any]:
    """A task before version 1, which said 'completions', and often nothing of who."""
    given = task(choice)
    completion = {"id": 1001, "lead_time": 15.0, "created_at": 1583330177, "result": given["annotations"][0]["result"]}
    return {"id": 1, "data": given["data"], "completions": [completion | changes], "predictions": []}


@pytest.mark.parametrize(
    ("items", "rater", "preference"),
    [
        ([stored("right")], "ann@example.org", 1.0),
        ([stored("right", order_shown="10")], "ann@example.org", 0.0),
        ([task("right") | {"drafts": [], "meta": {}, "agreement": 100.0}], "label-studio:7", 1.0),
        ([old("right", completed_by=7)], "label-studio:7", 1.0),
        ([row(preference="right")], "label-studio:7", 1.0),
        ([row(preference="tie", annotator="ann@example.org")], "ann@example.org", 0.5),
        ([row(preference=[{"selected": "right"}])], "label-studio:7", 1.0),
        ([row(pairwise=[{"selected": "right"}])], "label-studio:7", 1.0),
        ([row(comparison=[{"selected": "left"}], remark="sharp", boxes=[{"x": 1}])], "label-studio:7", 0.0),
        ([row(pw=[{"selected": "right"}], order_shown="10")], "label-studio:7", 0.0),
    ],
)
def test_every_export_with_answers_is_read(items, rater, preference, tmp_path):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(items), encoding="utf-8")
    tasks = export.read(path)
    answers, set_aside = export.parse(tasks)
    export.check(path, tasks, answers, set_aside)
    assert [(a.pair_id, a.rater, a.preference) for a in answers] == [("a", rater, preference)]
    assert all(a.time for a in answers)
    assert not set_aside


def test_a_target_storages_files_are_read_one_by_one_and_as_a_folder(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    for name, item in {
        "1217": stored("right"),
        "1218.json": stored("left", pair_id="b"),
        "3.json": task(pair_id="c"),
    }.items():
        (folder / name).write_text(json.dumps(item), encoding="utf-8")
    (folder / ".DS_Store").write_bytes(b"\0")
    found = [(a.pair_id, a.preference) for a in export.parse(export.read(folder))[0]]
    assert found == [("a", 1.0), ("b", 0.0), ("c", 0.0)]
    assert [(a.pair_id, a.preference) for a in export.parse(export.read(folder / "1217"))[0]] == [("a", 1.0)]
    (folder / "notes.txt").write_text("no JSON", encoding="utf-8")
    with pytest.raises(UserError, match=r"notes.txt: no JSON"):
        export.read(folder)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"id": 1, "data": task()["data"]}], "none of its 1 tasks holds an annotation"),
        ([task() | {"annotations": []}] * 3, "none of its 3 tasks holds an annotation"),
        ([task() | {"annotations": [], "predictions": [{}]}], r"\(1 × prediction\); label the tasks"),
        ([task() | {"annotations": [], "drafts": [{}]}], r"\(1 × draft\); submit the drafts"),
        ([task() | {"annotations": [17, 18]}], r"\(2 × unreadable annotation\); in Label Studio choose Export"),
        ([old(), old()], r"\(2 × no rater\); this file does not say who answered"),
        ([row(preference="left") | {"annotator": None}], r"\(1 × no rater\)"),
        ([{k: v for k, v in row(preference="left").items() if k != "annotator"}], r"\(1 × no rater\)"),
        ([row()], r"\(1 × no choice\); the control must be called 'preference'"),
        ([task("links"), task("rechts")], r"\(2 × not one of left, tie, right\); the control 'preference' must have"),
        ([stored() | {"task": 5}], r"\(1 × an annotation without its task\); .* choose Export, then 'JSON'"),
        ([task(round=None)], r"not a task of 'dedpo data select'\); .* of the project that 'dedpo data select' wrote"),
        ([1, 2], r"\(2 × not a task\)"),
        ([{}], "none of its 1 tasks holds an annotation"),
        (
            [task(result=[{"type": "pairwise", "to_name": "right,left", "value": {"selected": "left"}}])],
            "the Pairwise control compares right with left",
        ),
    ],
)
def test_an_export_without_a_single_answer_is_refused_with_what_to_choose(items, message, tmp_path):
    path = tmp_path / "export.json"
    answers, set_aside = export.parse(items)
    assert not answers
    with pytest.raises(UserError, match=message) as raised:
        export.check(path, items, answers, set_aside)
    assert str(raised.value).startswith(f"{path}: none of its ")
    assert len(str(raised.value).splitlines()) == 1


def test_people_who_skipped_every_task_have_answered_so():
    items = [task(was_cancelled=True)]
    export.check(Path("x"), items, *export.parse(items))


def test_an_archive_and_an_empty_folder_say_what_to_name(tmp_path):
    (tmp_path / "export.zip").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(UserError, match="export.zip: a zip archive; unpack it and name the JSON file in it"):
        export.read(tmp_path / "export.zip")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="none: an empty folder; in Label Studio choose Export"):
        export.read(tmp_path / "none")


def test_tasks_listed_whole_are_those_with_their_annotations():
    items = [
        task(),
        task(pair_id="b") | {"annotations": []},
        stored(pair_id="c"),
        row(pair_id="d"),
        old(),
        5,
        {"data": 1},
    ]
    assert export.listed(items) == {("r1", "a"), ("r1", "b")}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
REAL = json.loads((HERE / "label_studio_1_23_2.json").read_text(encoding="utf-8"))


@given(st.data(), values)
def test_no_value_anywhere_in_an_export_breaks_the_reader(data, value):
    """One place of a real export holds something else: the other answers stay as they are."""
    tasks = copy.deepcopy(REAL)
    place: Any = tasks[0]
    for _ in range(8):
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = value
            break
        place = place[key]
    answers, _ = export.parse(tasks)
    whole = [a for a in export.parse(REAL)[0] if not a.pair_id.endswith("21")]
    assert [(a.pair_id, a.rater, a.preference) for a in answers if a.pair_id != REAL[0]["data"]["pair_id"]][-3:] == [
        (a.pair_id, a.rater, a.preference) for a in whole
    ]


def test_a_target_storages_folders_are_read_to_the_bottom(tmp_path):
    for i, place in enumerate(("1", "later/2", ".hidden/3")):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        stored = {**task(updated_at=f"2026-11-2{i}T10:00:00Z")["annotations"][0], "task": {"data": task()["data"]}}
        (tmp_path / place).write_text(json.dumps(stored))
    assert len(export.parse(export.read(tmp_path))[0]) == 2
