import json
import tracemalloc
from contextlib import closing, contextmanager

import pytest

from dedpo.contract import tables
from dedpo.contract.sections import DataConfig
from dedpo.data import stage
from dedpo.data.importing import shard_writer
from dedpo.data.importing.checked_images import CheckedImages
from dedpo.data.layouts import hpdv2
from dedpo.errors import UserError
from tests.data.published import write_hpdv2

TRAIN = [
    {"prompt": "a cat", "file_path": ["0.jpg", "1.jpg"], "human_preference": [1, 0]},
    {"prompt": "a dog", "file_path": ["2.jpg", "3.jpg"], "human_preference": [0, 1]},
]
TEST = [
    {
        "prompt": "a bird",
        "image_path": ["a.jpg", "b.jpg", "c.jpg"],
        "rank": [0, 1, 2],
        "raw_annotations": [{"rank": [0, 1, 2], "user_hash": "ann"}, {"rank": [1, 0, 1], "user_hash": "bob"}],
    }
]


def run(source, out):
    return stage.import_pairs(DataConfig(), source=source, out=out)


def ratings_of(out):
    """(prompt, names of nothing but order of the pairs) → {rater: preference}, in the shards' order."""
    pairs = [r for shard in tables.iterate(out / "pairs", tables.PAIRS) for r in shard.to_pylist()]
    ratings = tables.read(out / "ratings.parquet", tables.RATINGS).to_pylist()
    return [
        (p["prompt"], {r["rater"]: r["preference"] for r in ratings if r["pair_id"] == p["pair_id"]}) for p in pairs
    ]


def test_training_pairs_have_one_choice_and_rankings_become_all_their_pairs(tmp_path):
    summary = run(write_hpdv2(tmp_path / "HPD", TRAIN, TEST), tmp_path / "out")
    assert ratings_of(tmp_path / "out") == [
        ("a cat", {"human": 0.0}),
        ("a dog", {"human": 1.0}),
        ("a bird", {"ann": 0.0, "bob": 1.0}),
        ("a bird", {"ann": 0.0, "bob": 0.5}),
        ("a bird", {"ann": 0.0, "bob": 0.0}),
    ]
    assert (summary["layout"], summary["rows"], summary["raters"], summary["ties"]) == ("hpdv2", 8, 3, 1)
    assert summary["published_splits"] == {"train": 2, "test": 6}


def test_one_file_alone_imports_that_split(tmp_path):
    folder = write_hpdv2(tmp_path / "HPD", TRAIN, TEST)
    assert run(folder / "train.json", tmp_path / "out")["published_splits"] == {"train": 2}


def test_a_prompt_in_both_files_is_reported_and_stays_on_one_side(tmp_path):
    test = [TEST[0] | {"prompt": "a cat"}]
    summary = run(write_hpdv2(tmp_path / "HPD", TRAIN, test), tmp_path / "out")
    assert "1 prompts have rows in more than one published split" in summary["notes"][0]
    pairs = tables.read(tmp_path / "out" / "pairs", tables.PAIRS, ["pair_id", "group"]).to_pylist()
    assert {p["group"] for p in pairs} == {"a cat", "a dog"}


def test_without_raters_the_averaged_ranks_count(tmp_path):
    test = [{"prompt": "a bird", "image_path": ["a.jpg", "b.jpg"], "rank": [2, 1]}]
    run(write_hpdv2(tmp_path / "HPD", None, test), tmp_path / "out")
    assert ratings_of(tmp_path / "out") == [("a bird", {"average of several raters": 1.0})]


def test_images_may_lie_beside_the_file(tmp_path):
    folder = write_hpdv2(tmp_path / "HPD", TRAIN[:1], None)
    for image in (folder / "train").iterdir():
        image.rename(folder / image.name)
    assert run(folder, tmp_path / "out")["pairs"] == 1


def test_bad_entries_are_set_aside_with_their_reason(tmp_path):
    train = [
        TRAIN[0],
        TRAIN[0] | {"human_preference": [1, 1]},
        TRAIN[0] | {"human_preference": None},
        TRAIN[0] | {"file_path": ["0.jpg"]},
        TRAIN[0] | {"prompt": "  "},
        TRAIN[0] | {"prompt": "half \ud800"},
        TRAIN[0] | {"human_preference": [2, 0], "prompt": "half \ud800"},
    ]
    test = [
        TEST[0],
        TEST[0] | {"raw_annotations": [{"rank": [1, 2], "user_hash": "x"}, "text"]},
        TEST[0] | {"raw_annotations": 7},
    ]
    folder = write_hpdv2(tmp_path / "HPD", train, test)
    escape = TRAIN[0] | {"file_path": ["../../secret.png", "/etc/passwd"]}
    (folder / "train.json").write_text(json.dumps([*train, escape]))
    summary = run(folder, tmp_path / "out")
    assert summary["set_aside"] == {
        "human_preference is not a 1 and a 0": 3, "file_path is not two images": 1, "empty prompt": 1,
        "text is not Unicode": 1, "path leaves the folder": 1, "rank is not 3 numbers": 3,
    }  # fmt: skip
    assert (summary["pairs"], summary["rows"]) == (4, 7 + 10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"prompt": "a", "file_path": ["0', "ends in the middle of entry 0"),
        ('[{"prompt": "a", "file_path": ["0.jpg", "1.jpg"], "human_preference": [1, 0]},', "in the middle of entry 1"),
        ("", "ends in the middle of entry 0"),
        ('{"prompt": "a"}', "not a JSON list"),
        ('[{"prompt": "a"}]', "entry 0 has neither 'file_path' nor 'image_path'"),
        ('["text"]', "entry 0 has neither"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(tmp_path, content, message):
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        stage.import_pairs(DataConfig(), source=tmp_path, out=tmp_path / "out", layout="hpdv2")
    assert "train.json" in str(raised.value)


def test_a_long_list_is_never_held_as_a_whole(tmp_path):
    path = tmp_path / "train.json"
    entry = json.dumps({"prompt": "x" * 1000, "file_path": ["0.jpg", "1.jpg"], "human_preference": [1, 0]})
    path.write_text("[" + ",\n".join([entry] * 20_000) + "]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in hpdv2.entries(path)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 2
    finally:
        tracemalloc.stop()


def test_older_editions_name_raters_otherwise(tmp_path):
    """Until 2023 test.json said raw_annotation, and train.json named who chose (README of tgxs002/HPSv2)."""
    old = {k: v for k, v in TEST[0].items() if k != "raw_annotations"} | {"raw_annotation": TEST[0]["raw_annotations"]}
    train = [entry | {"user_hash": "eve"} for entry in TRAIN]
    summary = run(write_hpdv2(tmp_path / "HPD", train, [old]), tmp_path / "out")
    found = ratings_of(tmp_path / "out")
    assert found[:2] == [("a cat", {"eve": 0.0}), ("a dog", {"eve": 1.0})]
    assert [set(raters) for _, raters in found[2:]] == [{"ann", "bob"}] * 3
    assert (summary["rows"], summary["raters"]) == (8, 3)


def test_choices_in_another_coding_are_not_kept_by_halves(tmp_path):
    train = [TRAIN[0] | {"prompt": f"p{i}", "human_preference": [1, 0] if i % 2 else [0.5, 0.5]} for i in range(8)]
    with pytest.raises(UserError, match=r"human_preference is not a 1 and a 0: \[0.5, 0.5\] .4×."):
        run(write_hpdv2(tmp_path / "HPD", train, None), tmp_path / "out")


def test_a_list_is_parsed_once_and_the_bar_goes_to_its_end(tmp_path, monkeypatch):
    folder = write_hpdv2(tmp_path / "HPD", TRAIN * 40, TEST)
    monkeypatch.setattr("dedpo.data.layouts.json_list._BLOCK", 64)
    parsed, bars = [], []
    decode = json.JSONDecoder.raw_decode
    monkeypatch.setattr(json.JSONDecoder, "raw_decode", lambda *args: parsed.append(found := decode(*args)) or found)

    @contextmanager
    def progress(what, total):
        bars.append([total, 0])
        yield lambda _: bars[-1].__setitem__(1, bars[-1][1] + 1)

    monkeypatch.setattr("dedpo.data.importing.shard_writer.progress", progress)
    opened = hpdv2.open_files(folder)
    with closing(CheckedImages(tmp_path / "checked")) as checks:
        rows = list(shard_writer.look(opened, checks, 10_000))
    assert (len(rows), len(parsed)) == (86, 81)
    [[total, done]] = bars
    assert done == total > 10
