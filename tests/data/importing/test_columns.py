"""Columns of tables: codings, several raters, which image is better, and known layouts named by hand."""

from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dedpo.cli import app
from dedpo.contract import tables
from dedpo.contract.sections import DataConfig
from dedpo.data import stage
from dedpo.data.importing.columns import ColumnOptions
from dedpo.data.importing.row_reader import drawn
from dedpo.data.layouts import embedded, hub
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest
from dedpo.tabular.codings import value_meanings
from tests.data.published import choice, picture, write_pickapic


def ask(columns: dict[str, str] | None = None, **values: str) -> ColumnOptions:
    found = value_meanings({meaning: [text] for meaning, text in values.items()})
    return ColumnOptions(columns or {}, *found.values())


def run(source: Path, out: Path, asked: ColumnOptions | None = None, **settings: Any) -> dict[str, Any]:
    return stage.import_pairs(DataConfig(**settings), source=source, out=out, asked=asked)


def opinions(out: Path) -> dict[str, Any]:
    """Prompt → preference, or rater → preference where a pair has several."""
    shards = tables.read(out / "pairs", tables.PAIRS, ["pair_id", "prompt"])
    pairs = {p["pair_id"]: p["prompt"] for p in shards.to_pylist()}
    found: dict[str, dict[str, float]] = {}
    for row in tables.read(out / "ratings.parquet", tables.RATINGS).to_pylist():
        found.setdefault(pairs[row["pair_id"]], {})[row["rater"]] = row["preference"]
    return {prompt: next(iter(r.values())) if len(r) == 1 else r for prompt, r in found.items()}


def folder(
    root: Path, rows: list[tuple[Any, ...]], header: str = "preference", delimiter: str = ",", encoding: str = "utf-8"
) -> Path:
    """pairs.csv with two images a row, called p0, p1, …, and further cells."""
    root.mkdir(parents=True)
    for i in range(2 * len(rows)):
        (root / f"{i}.png").write_bytes(picture(i))
    text = io.StringIO()
    lines = [[f"p{i}", f"{2 * i}.png", f"{2 * i + 1}.png", *cells] for i, cells in enumerate(rows)]
    csv.writer(text, delimiter=delimiter).writerows([["prompt", "image_0", "image_1", *header.split(",")], *lines])
    (root / "pairs.csv").write_bytes(text.getvalue().encode(encoding))
    return root


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def images(n: int, first: int = 0) -> list[bytes]:
    return [picture(2 * i + first) for i in range(n)]


# codings


def test_one_and_two_are_refused_and_then_said(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", [("1",), ("2",), ("2",), ("1",)])
    with pytest.raises(UserError, match="column 'preference': .* --first 1 --second 2"):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    run(source, tmp_path / "out", ask(first="1", second="2"))
    assert opinions(tmp_path / "out") == {"p0": 0, "p1": 1, "p2": 1, "p3": 0}
    made = read_manifest(tmp_path / "out")["config"]
    assert made["values"] == {"first": ["1"], "second": ["2"]}


def test_the_command_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = folder(tmp_path / "in", [("-1",), ("1",), ("0",), ("9",)])
    flags = ["--first=-1", "--second", "1", "--tie", "0", "--unrated", "9"]
    done = CliRunner().invoke(app, ["data", "import", str(source), "--work", "w", *flags])
    assert done.exit_code == 0, done.output
    assert opinions(tmp_path / "w" / "data") == {"p0": 0, "p1": 1, "p2": 0.5}


def test_words_and_other_separators_need_no_option(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", [("left",), ("right",), ("tie",), ("",)], delimiter=";", encoding="utf-16")
    summary = run(source, tmp_path / "out")
    assert opinions(tmp_path / "out") == {"p0": 0, "p1": 1, "p2": 0.5}
    assert summary["unrated_rows"] == 1


def test_left_is_asked_where_the_order_shown_changes(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", [("left", "01"), ("right", "10")], "preference,order_shown")
    with pytest.raises(UserError, match="order_shown is 10"):
        run(source, tmp_path / "out")
    run(source, tmp_path / "out", ask(first="left", second="right"))
    assert opinions(tmp_path / "out") == {"p0": 0, "p1": 1}


def test_one_hot_columns(tmp_path: Path) -> None:
    rows = [("1", "0", "0"), ("0", "1", "0"), ("0", "0", "1")]
    source = folder(tmp_path / "lmsys", rows, "winner_model_a,winner_model_b,winner_tie")
    run(source, tmp_path / "one")
    assert opinions(tmp_path / "one") == {"p0": 0, "p1": 1, "p2": 0.5}
    source = folder(tmp_path / "mine", [("True", "False"), ("False", "True")], "l,r")
    run(source, tmp_path / "two", ask({"preference": "r,l"}))
    assert opinions(tmp_path / "two") == {"p0": 1, "p1": 0}


def test_a_list_in_a_cell_is_several_raters(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", [("[0, 1, 1]",), ("1;0",), ("[1]",), ("",)])
    summary = run(source, tmp_path / "out")
    assert opinions(tmp_path / "out") == {
        "p0": {"human 1": 0, "human 2": 1, "human 3": 1},
        "p1": {"human 1": 1, "human 2": 0},
        "p2": 1,
    }
    assert (summary["rows"], summary["ratings"], summary["unrated_rows"], summary["pairs"]) == (7, 6, 1, 4)


def test_argilla_names_the_raters_of_a_list(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a.parquet",
        prompt=["a", "b", "c"], image_1=images(3), image_2=images(3, 1),
        responses=[["image_1", "both_bad"], ["image_2"], ["image_1"]], users=[["ann", "bob"], ["ann"], ["ann", "bob"]],
    )  # fmt: skip
    names = {"image_0": "image_1", "image_1": "image_2", "preference": "responses", "rater": "users"}
    summary = run(path, tmp_path / "out", ColumnOptions(names))
    assert opinions(tmp_path / "out") == {"a": {"ann": 0, "bob": 0.5}, "b": 1}
    assert summary["set_aside"] == {"not one rater a preference": 1}


def test_a_coding_that_begins_late_in_a_stream_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dedpo.data.layouts import embedded

    source = folder(tmp_path / "in", [("1",)] * 4 + [("2",)] * 4)
    rows = (tmp_path / "in" / "pairs.csv").read_text().splitlines()[1:]
    path = parquet(
        tmp_path / "a.parquet",
        prompt=[r.split(",")[0] for r in rows], image_0=images(8), image_1=images(8, 1), preference=[1] * 4 + [2] * 4,
    )  # fmt: skip
    of_parquet = embedded.of_parquet
    monkeypatch.setattr(embedded, "of_parquet", lambda *a: of_parquet(*a)._replace(peek=range(4)))
    with pytest.raises(UserError, match=r"preferences: .*2 \(4×\)"):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert source.is_dir()


# chosen and rejected


def test_sides_of_chosen_images_are_drawn_and_the_pair_is_the_same_in_any_row_order(tmp_path: Path) -> None:
    n = 40
    order = list(range(n))
    for name, numbers in (("one", order), ("two", order[::-1])):
        parquet(
            tmp_path / f"{name}.parquet",
            prompt=[f"p{i}" for i in numbers], chosen=[picture(2 * i) for i in numbers],
            rejected=[picture(2 * i + 1) for i in numbers],
        )  # fmt: skip
        run(tmp_path / f"{name}.parquet", tmp_path / name)
    assert opinions(tmp_path / "one") == opinions(tmp_path / "two")
    assert 8 <= sum(opinions(tmp_path / "one").values()) <= n - 8
    pairs = [p for s in tables.iterate(tmp_path / "one" / "pairs", tables.PAIRS) for p in s.to_pylist()]
    better = opinions(tmp_path / "one")
    for pair in pairs:
        i = int(pair["prompt"][1:])
        assert pair[f"image_{int(better[pair['prompt']])}"]["bytes"] == picture(2 * i)
    run(tmp_path / "one.parquet", tmp_path / "other", sides_seed=1)
    assert opinions(tmp_path / "other") != better
    assert read_manifest(tmp_path / "other")["config"]["sides_seed"] == 1


@given(st.integers(0, 9), st.binary(min_size=1, max_size=4), st.binary(min_size=1, max_size=4))
def test_who_wins_does_not_move_an_image(seed: int, one: bytes, other: bytes) -> None:
    if one != other:
        assert drawn(seed, one, other) != drawn(seed, other, one)


def test_hpdv3_names_its_better_image(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_bytes(picture(i))
    rows = [
        {"prompt": "a", "path1": "0.jpg", "path2": "1.jpg", "choice_dist": [12, 7], "confidence": 0.9},
        {"prompt": "b", "path1": "2.jpg", "path2": "1.jpg", "choice_dist": None, "confidence": None},
    ]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match="--chosen path1 --rejected path2"):
        run(tmp_path / "train.json", tmp_path / "out")
    run(tmp_path / "train.json", tmp_path / "out", ColumnOptions({"chosen": "path1", "rejected": "path2"}))
    pairs = [p for s in tables.iterate(tmp_path / "out" / "pairs", tables.PAIRS) for p in s.to_pylist()]
    better = opinions(tmp_path / "out")
    assert [p[f"image_{int(better[p['prompt']])}"]["bytes"] for p in pairs] == [picture(0), picture(2)]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"chosen": "a"}, "--chosen: name the column of the other image with --rejected"),
        ({"chosen": "a", "rejected": "b", "preference": "c"}, "--preference: --chosen and --rejected say it"),
        ({"chosen": "a", "rejected": "x"}, "--rejected: .* has no column 'x'"),
        ({"image_0": "image_1"}, "column 'image_1' cannot be both image_0 and image_1"),
        ({"preference": "a,b,c,prompt"}, "--preference: 4 columns"),
    ],
)
def test_columns_that_collide(tmp_path: Path, asked: dict[str, str], message: str) -> None:
    source = folder(tmp_path / "in", [("1", "2", "3")], "a,b,c")
    with pytest.raises(UserError, match=message):
        run(source, tmp_path / "out", ColumnOptions(asked))


# known layouts, one column named by hand


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"rater": "model_0"}, [0, 1, 0.5]),
        ({"preference": "label_0"}, [0, 1, 0.5]),
        ({"preference": "label_1"}, [0, 1, 0.5]),
        ({"preference": "label_0,label_1"}, [0, 1, 0.5]),
        ({"prompt": "caption"}, [0, 1, 0.5]),
        ({"image_0": "jpg_1", "image_1": "jpg_0"}, [1, 0, 0.5]),
        ({"image_0": "jpg_1", "image_1": "jpg_0", "preference": "label_1"}, [1, 0, 0.5]),
    ],
)
@pytest.mark.parametrize("layout", ["pickapic", "datasets"])
def test_pick_a_pic_keeps_its_meaning(
    tmp_path: Path, layout: str, columns: dict[str, str], expected: list[float]
) -> None:
    rows = [choice(0, 1.0, model_0="m"), choice(1, 0.0), choice(2, 0.5), choice(3, 1.0, has_label=False)]
    write_pickapic(tmp_path / "a.parquet", rows)
    stage.import_pairs(
        DataConfig(), source=tmp_path / "a.parquet", out=tmp_path / "out", layout=layout, asked=ColumnOptions(columns)
    )
    assert opinions(tmp_path / "out") == {f"prompt {i}": p for i, p in enumerate(expected)}
    raters = {r["rater"] for r in tables.read(tmp_path / "out" / "ratings.parquet", tables.RATINGS).to_pylist()}
    assert raters == ({"m", "human"} if "rater" in columns else {"7"})


def test_what_is_said_of_label_0_is_about_the_pair(tmp_path: Path) -> None:
    write_pickapic(tmp_path / "a.parquet", [choice(0, 1.0), choice(1, 0.0), choice(2, 0.5)])
    run(tmp_path / "a.parquet", tmp_path / "out", ask(first="1", second="0", tie="0.5"))
    assert opinions(tmp_path / "out") == {"prompt 0": 0, "prompt 1": 1, "prompt 2": 0.5}


def test_an_index_keeps_its_rows_when_a_column_is_named(tmp_path: Path) -> None:
    write_pickapic(tmp_path / "train-0.parquet", [choice(i, 0.0, model_1=f"m{i}") for i in range(5)])
    (tmp_path / "index.txt").write_text("3\n1")
    run(tmp_path, tmp_path / "out", ColumnOptions({"rater": "model_1"}))
    assert opinions(tmp_path / "out") == {"prompt 1": 1, "prompt 3": 1}


# image folders


def test_an_image_folder_with_metadata_in_its_splits(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("test", 10)):
        (tmp_path / "in" / part).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "in" / part / f"{i}.png").write_bytes(picture(first + i))
        lines = [
            {"image_0_file_name": "0.png", "image_1_file_name": "1.png", "text": f"{part} a", "preference": 1},
            {"image_0_file_name": "2.png", "image_1_file_name": "3.png", "text": f"{part} b", "preference": 0.5},
        ]
        (tmp_path / "in" / part / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    summary = run(tmp_path / "in", tmp_path / "out")
    assert summary["layout"] == "folder"
    assert summary["published_splits"] == {"test": 2, "train": 2}
    assert opinions(tmp_path / "out") == {"train a": 1, "train b": 0.5, "test a": 1, "test b": 0.5}
    assert set(read_manifest(tmp_path / "out")["inputs"]) == {"train/metadata.jsonl", "test/metadata.jsonl"}


def test_two_file_names_a_row_are_a_pair(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", [(), ()])
    (source / "pairs.csv").unlink()
    lines = [{"file_names": [f"{2 * i}.png", f"{2 * i + 1}.png"], "prompt": f"p{i}", "preference": i} for i in (0, 1)]
    (source / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run(source, tmp_path / "out")
    assert opinions(tmp_path / "out") == {"p0": 0, "p1": 1}


def test_metadata_may_say_which_image_is_chosen(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", [(), ()])
    (source / "pairs.csv").unlink()
    text = "chosen_file_name,rejected_file_name,prompt\n0.png,1.png,a\n3.png,2.png,b\n"
    (source / "metadata.csv").write_text(text)
    assert run(source, tmp_path / "out")["ratings"] == 2
    (source / "metadata.jsonl").write_text("{}")
    with pytest.raises(UserError, match="metadata.jsonl lies there as well"):
        run(source, tmp_path / "again")


def test_one_image_a_row_is_no_pair(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,text\n0.png,a\n")
    with pytest.raises(UserError, match="one image a row .'file_name'. is no pair"):
        run(tmp_path, tmp_path / "out")


def test_a_torn_line_of_metadata_is_named(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"prompt": "a", "image_0": "0.png", "image_1": "1.png"}\n{"prom')
    with pytest.raises(UserError, match=r"metadata\.jsonl: line 2 is no JSON"):
        run(tmp_path, tmp_path / "out")


# what a user is told, and does


FOLLOWED = {
    "1 2 2": "0 1 1",
    "-2 0 2 1 -1": "0 ½ 1 1 0",
    "1 2 3 4": "0 0 1 1",
    "it's_A it's_B": "0 1",
    "A,_surely B,_surely": "0 1",
    "$A `B`": "0 1",
    "[1,0] [0,1]": "0 1",
    "image_1 image_2": "0 1",
    "x=1 x=2": "0 1",
}


@pytest.mark.parametrize("values", FOLLOWED)
def test_what_a_refusal_advises_can_be_pasted_and_reads_the_column(tmp_path: Path, values: str) -> None:
    source = folder(tmp_path / "in", [(value.replace("_", " "),) for value in values.split()])
    with pytest.raises(UserError) as told:
        run(source, tmp_path / "out")
    given = shlex.split(str(told.value).split("such as ")[1].split(" where ")[0])
    done = CliRunner().invoke(app, ["data", "import", str(source), "--work", str(tmp_path), *given])
    assert done.exit_code == 0, done.exception
    expected = [{"½": 0.5}.get(value) or float(value) for value in FOLLOWED[values].split()]
    assert [p for _, p in sorted(opinions(tmp_path / "data").items())] == expected


def test_a_column_about_the_first_is_not_read_the_other_way_round(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", [("1",), ("0",), ("0.5",)], "winner_model_a")
    with pytest.raises(UserError, match="about the first.* --first 1 --second 0 --tie 0.5 where 1"):
        run(source, tmp_path / "out", ColumnOptions({"preference": "winner_model_a"}))
    run(source, tmp_path / "out", ask({"preference": "winner_model_a"}, first="1", second="0", tie="0.5"))
    assert opinions(tmp_path / "out") == {"p0": 0, "p1": 1, "p2": 0.5}
    run(folder(tmp_path / "b", [("1",)], "right_wins"), tmp_path / "two", ColumnOptions({"preference": "right_wins"}))
    assert opinions(tmp_path / "two") == {"p0": 1}


def test_the_path_of_a_rows_own_image_is_a_choice(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", [("0.png",), ("3.png",), ("tie",), ("",)], "winner")
    run(source, tmp_path / "out", ColumnOptions({"preference": "winner"}))
    assert opinions(tmp_path / "out") == {"p0": 0, "p1": 1, "p2": 0.5}


def test_pickapics_labels_keep_their_meaning_in_either_order(tmp_path: Path) -> None:
    write_pickapic(tmp_path / "in" / "a.parquet", [choice(0, 1.0)])
    for i, names in enumerate(("label_0", "label_0,label_1", "label_1,label_0")):
        run(tmp_path / "in", tmp_path / str(i), ColumnOptions({"preference": names}))
        assert set(opinions(tmp_path / str(i)).values()) == {0.0}, names


def test_a_pair_that_nobody_of_a_list_rated_stays(tmp_path: Path) -> None:
    lists = {"preference": [[0.0, 1.0], []], "rater": [["ann", "bob"], []]}
    columns = {"prompt": ["p0", "p1"], "image_0": images(2), "image_1": images(2, 1)}
    made = run(parquet(tmp_path / "a.parquet", **columns, **lists), tmp_path / "out")
    assert (made["pairs"], made["ratings"], made["set_aside"]) == (2, 2, {})


@pytest.mark.parametrize(
    ("header", "asked", "message"),
    [
        ("rater_1,rater_2", {}, "as a list in one column 'preference'"),
        ("a,b", {"preference": "a,b"}, "must sum to 1: .*divide votes"),
        ("human_preference,b", {}, "add --preference human_preference"),
    ],
)
def test_what_cannot_be_said_with_values_is_told_otherwise(
    tmp_path: Path, header: str, asked: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(folder(tmp_path / "in", [("1", "1"), ("0", "3")], header), tmp_path / "out", ColumnOptions(asked))


def test_of_a_crowd_one_unlucky_rater_is_no_warning(tmp_path: Path) -> None:
    """Of 40 raters one who sides with the others on none of seven pairs is chance; on none of 30 is none."""
    for n, expected in ((7, 0), (30, 1)):
        rows = [(f"[{1 - i % 2}, {i % 2}, {i % 2}]", f"[odd, x{i % 38}, y{i % 38}]") for i in range(n)] + [
            (f"[{i % 2}, {i % 2}]", f"[x{i}, y{i}]") for i in range(38)
        ]
        made = run(folder(tmp_path / f"in{n}", rows, "preference,rater"), tmp_path / f"out{n}")
        assert len([w for w in made["warnings"] if "'odd'" in w]) == expected


def test_a_folders_tables_are_named(tmp_path: Path) -> None:
    folder(tmp_path / "in", [("1",)])
    (tmp_path / "in" / "pairs.csv").rename(tmp_path / "in" / "mine.csv")
    with pytest.raises(UserError, match=r"name it as the SOURCE: .*mine\.csv"):
        stage.import_pairs(DataConfig(), source=str(tmp_path / "in"), out=tmp_path / "out")


@pytest.mark.parametrize("names", [("left", "right"), ("right", "left")])
def test_a_class_label_means_what_its_names_say(tmp_path: Path, names: tuple[str, str]) -> None:
    """`datasets` writes a ClassLabel as whole numbers, in a folder as in Parquet; its names are beside them."""
    features = {"prompt": datasets.Value("string"), "image_0": datasets.Image(), "image_1": datasets.Image()}
    rows = {"prompt": ["p0", "p1"], "image_0": images(2), "image_1": images(2, 1), "preference": [0, 1]}
    label = datasets.ClassLabel(names=list(names))
    made = datasets.Dataset.from_dict(rows, datasets.Features({**features, "preference": label}))
    made.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "parquet").mkdir()
    made.to_parquet(tmp_path / "parquet" / "a.parquet")
    expected = {f"p{i}": float(name == "right") for i, name in enumerate(names)}
    for form in ("saved", "parquet"):
        run(tmp_path / form, tmp_path / f"out-{form}")
        assert opinions(tmp_path / f"out-{form}") == expected
    read = embedded._named(hub.read_streamed({"": made.to_iterable_dataset()}, "x"), {"preference": names}, rows, None)
    assert [values["preference"] for _, _, values in read] == list(names)
    assert embedded.classes(made.features.to_dict()) == {"preference": list(names)}


def test_lists_of_class_labels_and_missing_ones() -> None:
    label = datasets.ClassLabel(names=["left", "right"])
    told = datasets.Features({"a": datasets.Sequence(label), "b": datasets.Value("int64")}).to_dict()
    assert embedded.classes(told) == {"a": ["left", "right"]}
    assert embedded._name([0, 1, -1, None], ["left", "right"]) == ["left", "right", None, None]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rater": "preference"}, "'preference' cannot be both .*--rater"),
        ({"preference": "image_0"}, "'image_0' cannot be both"),
        ({"prompt": "image_1"}, "cannot be both"),
        ({"chosen": "image_0", "rejected": "image_0"}, "cannot be both chosen and rejected"),
    ],
)
def test_no_column_means_two_things(tmp_path: Path, asked: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(folder(tmp_path / "in", [("1",), ("0",)]), tmp_path / "out", ColumnOptions(asked))


def test_what_is_said_of_no_column_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", [("1",), ("2",)], "score")
    with pytest.raises(UserError, match="has no preference; name the column with --preference"):
        run(source, tmp_path / "out", ask(first="1", second="2"))
    with pytest.raises(UserError, match="chosen and rejected say it"):
        run(source, tmp_path / "out", ask({"chosen": "image_0", "rejected": "image_1"}, first="1", second="2"))


def test_a_column_is_what_a_user_says_and_not_also_what_it_is_called(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", [("1", "monday"), ("0", "tuesday")], "preference,time")
    run(source, tmp_path / "out", ColumnOptions({"rater": "time"}))
    rows = tables.read(tmp_path / "out" / "ratings.parquet", tables.RATINGS).to_pylist()
    assert {(row["rater"], row["time"]) for row in rows} == {("monday", None), ("tuesday", None)}
