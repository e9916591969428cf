import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedpo.contract import tables
from dedpo.contract.sections import DataConfig
from dedpo.data import stage
from dedpo.data.importing.columns import ColumnOptions
from dedpo.data.layouts import hub
from dedpo.data.layouts.detect import LAYOUTS, detect
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest
from dedpo.tabular.codings import ValueMeanings
from tests.data.hub_server import COMMIT, serving
from tests.data.published import choice, picture, write_hpdv2, write_pickapic


def run(source, out, **arguments):
    return stage.import_pairs(DataConfig(), source=source, out=out, **arguments)


def rows_of(out):
    pairs = [r for shard in tables.iterate(out / "pairs", tables.PAIRS) for r in shard.to_pylist()]
    ratings = tables.read(out / "ratings.parquet", tables.RATINGS).to_pylist()
    by_pair = {r["pair_id"]: (r["rater"], r["preference"]) for r in ratings}
    return [(p["prompt"], p["image_0"]["bytes"], *by_pair.get(p["pair_id"], (None, None))) for p in pairs]


@pytest.fixture
def saved(tmp_path):
    """A DatasetDict with the Image feature and other columns' names, as `save_to_disk` leaves it."""
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "left": datasets.Image(),
            "right": datasets.Image(),
            "right_wins": datasets.Value("bool"),
            "by": datasets.Value("string"),
        }
    )

    def part(numbers):
        images = [[{"bytes": picture(2 * n + side), "path": None} for n in numbers] for side in (0, 1)]
        columns = {"text": [f"p{n}" for n in numbers], "left": images[0], "right": images[1]}
        return datasets.Dataset.from_dict(
            columns | {"right_wins": [n % 2 == 1 for n in numbers], "by": [f"r{n}" for n in numbers]}, features=features
        )

    path = tmp_path / "saved"
    datasets.DatasetDict(train=part([0, 1]), test=part([2])).save_to_disk(str(path))
    return path


NAMES = {"prompt": "text", "image_0": "left", "image_1": "right", "preference": "right_wins", "rater": "by"}
COLUMNS = ColumnOptions(NAMES, ValueMeanings(frozenset({"false"}), frozenset({"true"})))


def test_a_saved_dataset_is_read_by_its_columns_without_decoding(saved, tmp_path):
    summary = run(saved, tmp_path / "out", asked=COLUMNS)
    assert rows_of(tmp_path / "out") == [
        ("p0", picture(0), "r0", 0.0),
        ("p1", picture(2), "r1", 1.0),
        ("p2", picture(4), "r2", 0.0),
    ]
    assert (summary["layout"], summary["published_splits"]) == ("datasets", {"train": 2, "test": 1})
    assert "train/data-00000-of-00001.arrow" in read_manifest(tmp_path / "out")["inputs"]


def test_a_published_split_may_lack_a_column(saved, tmp_path):
    import datasets

    found = datasets.load_from_disk(str(saved))
    found["test"] = found["test"].remove_columns(["right_wins", "by"])
    found["more"] = found["train"].select([0]).remove_columns(["left"])
    found["other"] = datasets.Dataset.from_dict({"note": ["x", "y"]})
    # The column that is chosen need not be in the first split.
    datasets.DatasetDict({k: found[k] for k in ("test", "train", "more", "other")}).save_to_disk(tmp_path / "uneven")
    summary = run(tmp_path / "uneven", tmp_path / "out", asked=COLUMNS)
    assert rows_of(tmp_path / "out") == [
        ("p2", picture(4), None, None),
        ("p0", picture(0), "r0", 0.0),
        ("p1", picture(2), "r1", 1.0),
    ]
    assert (summary["rows"], summary["set_aside"]) == (6, {"empty prompt": 2, "no image": 1})
    assert summary["ignored_columns"] == ["note"]


def test_one_arrow_file_is_a_dataset(saved, tmp_path):
    run(saved / "test" / "data-00000-of-00001.arrow", tmp_path / "out", asked=COLUMNS)
    assert [row[0] for row in rows_of(tmp_path / "out")] == ["p2"]


def test_a_broken_saved_dataset_is_named(saved, tmp_path):
    path = saved / "train" / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="not a whole saved dataset") as raised:
        run(saved, tmp_path / "out", asked=COLUMNS)
    assert "\n" not in str(raised.value)


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_the_contracts_names_need_no_options(tmp_path):
    images = [{"bytes": picture(n), "path": "/etc/passwd"} for n in range(2)]
    path = parquet(
        tmp_path / "a.parquet",
        prompt=["a", "b"], image_0=images, image_1=images[::-1], preference=[0.25, None], note=["x", "y"],
    )  # fmt: skip
    summary = run(path, tmp_path / "out")
    assert rows_of(tmp_path / "out") == [("a", picture(0), "human", 0.25), ("b", picture(1), None, None)]
    assert summary["ignored_columns"] == ["note"]


def test_a_path_in_a_dataset_is_never_followed(tmp_path):
    path = parquet(
        tmp_path / "a.parquet",
        prompt=["a", "b"], image_0=[{"bytes": None, "path": "/etc/passwd"}, {"bytes": picture(1), "path": None}],
        image_1=[{"bytes": picture(n), "path": None} for n in (2, 3)],
    )  # fmt: skip
    assert run(path, tmp_path / "out")["set_aside"] == {"no image": 1}
    texts = parquet(tmp_path / "b.parquet", prompt=["a"], image_0=["/etc/passwd"], image_1=["/etc/group"])
    with pytest.raises(UserError, match="none of its 1 rows is usable .1 × no image"):
        run(texts, tmp_path / "out2")


def test_pick_a_pics_columns_in_a_dataset_mean_what_they_mean_there(tmp_path):
    write_pickapic(tmp_path / "a.parquet", [choice(0, 1.0), choice(1, 0.0)])
    run(tmp_path / "a.parquet", tmp_path / "out", layout="datasets")
    assert [row[2:] for row in rows_of(tmp_path / "out")] == [("7", 0.0), ("7", 1.0)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "column 'prompt' is missing; name it with --prompt; there are: words, image_0, image_1"),
        ({"prompt": "word"}, "--prompt: .* has no column 'word'; there are: words, image_0, image_1"),
        ({"prompt": "words", "preference": "z"}, "--preference: .* has no column 'z'"),
    ],
)
def test_a_missing_column_is_named_with_its_option(tmp_path, columns, message):
    path = parquet(tmp_path / "a.parquet", words=["a"], image_0=[picture(0)], image_1=[picture(1)])
    with pytest.raises(UserError, match=message):
        run(path, tmp_path / "out", asked=ColumnOptions(columns))


def test_columns_belong_to_tables_only(tmp_path):
    write_hpdv2(tmp_path / "HPD", [{"prompt": "a", "file_path": ["0.png", "1.png"], "human_preference": [1, 0]}], None)
    with pytest.raises(UserError, match="--rater: layout 'hpdv2' has fields of its own"):
        run(tmp_path / "HPD", tmp_path / "out", asked=ColumnOptions({"rater": "user_hash"}))


def from_hub(source, work, endpoint):
    """`dedpo data import` as a user runs it, with another hub."""
    other = {"HF_ENDPOINT": endpoint, "HF_HOME": str(work / "home"), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-m", "dedpo", "data", "import", source, "--work", str(work)],
        env=os.environ | other, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip


def test_the_hub_out_of_reach_is_one_line_at_once(tmp_path):
    done = from_hub("somebody/pairs", tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "somebody/pairs: no such file or folder, and it cannot be had from the Hugging Face hub" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_a_dataset_on_the_hub_is_pinned_and_streamed(tmp_path):
    folder = tmp_path / "hub"
    folder.mkdir()
    for part, numbers in (("train", range(5)), ("test", range(5, 8))):
        images = [[{"bytes": picture(2 * n + side), "path": None} for n in numbers] for side in (0, 1)]
        columns = {"prompt": [f"p{n}" for n in numbers], "preference": [0.5] * len(numbers)}
        parquet(folder / f"{part}-00000-of-00001.parquet", image_0=images[0], image_1=images[1], **columns)
    with serving("somebody/pairs", folder) as (endpoint, asked):
        done = from_hub("somebody/pairs@v1", tmp_path, endpoint)
        lost = from_hub("somebody/else", tmp_path / "other", endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row[:2] for row in rows_of(tmp_path / "data")] == [(f"p{n}", picture(2 * n)) for n in range(8)]
    assert "published_splits: {'train': 5, 'test': 3}" in done.stdout
    manifest = read_manifest(tmp_path / "data")["config"]
    assert (manifest["revision"], manifest["source"]) == (COMMIT, "somebody/pairs")
    assert "GET /api/datasets/somebody/pairs/revision/v1" in asked
    assert all(COMMIT in path for path in asked if ".parquet" in path)
    assert lost.returncode == 2
    assert len(lost.stderr.strip().splitlines()) == 1


def test_streamed_rows_are_counted_over_all_splits():
    splits = {"train": list("abcde"), "test": list("fgh")}
    part = type("Split", (list,), {"select_columns": lambda self, columns: ({columns[0]: v} for v in self)})
    read = hub.read_streamed({name: part(values) for name, values in splits.items()}, "a/b")
    assert [(n, key, row["x"]) for n, key, row in read(["x"], [1, 6])] == [(1, "train", "b"), (6, "test", "g")]
    assert [row["x"] for _, _, row in read(["x"], None)] == list("abcdefgh")


def test_a_lost_connection_is_one_line():
    class Split:
        def select_columns(self, columns):
            yield {"x": 1}
            raise ConnectionResetError("reset\nby peer")

    with pytest.raises(UserError, match=r"a/b: broke off after 1 rows .reset by peer.; run the import again"):
        list(hub.read_streamed({"train": Split()}, "a/b")(["x"], None))


# what a source is


def test_every_layout_is_recognised_by_what_lies_there(tmp_path, saved):
    import csv

    (tmp_path / "mine").mkdir()
    for n in range(2):
        (tmp_path / "mine" / f"{n}.png").write_bytes(picture(n))
    with (tmp_path / "mine" / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["prompt", "image_0", "image_1"], ["a", "0.png", "1.png"]])
    write_pickapic(tmp_path / "pick" / "data" / "train-0.parquet", [choice(0)])
    write_pickapic(tmp_path / "fifa" / "train-0.parquet", [choice(0)])
    (tmp_path / "fifa" / "index.txt").write_text("0")
    (tmp_path / "HPD").mkdir()
    (tmp_path / "HPD" / "test.json").write_text(json.dumps([{"image_path": []}]))
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward" / "test.json").write_text(json.dumps([{"prompt": "", "generations": [], "ranking": []}]))
    run(tmp_path / "mine", tmp_path / "done")
    found = {
        "folder": tmp_path / "mine", "pickapic": tmp_path / "pick", "fifa": tmp_path / "fifa", "datasets": saved,
        "hpdv2": tmp_path / "HPD", "import": tmp_path / "done", "imagereward": tmp_path / "reward",
    }  # fmt: skip
    assert {layout: detect(path) for layout, path in found.items()} == {layout: layout for layout in LAYOUTS}
    assert detect("owner/name") == "datasets"


def test_what_fits_no_layout_gets_the_list(tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "nowhere", "./nowhere/else"):
        with pytest.raises(UserError) as raised:
            run(source, tmp_path / "out")
        assert all(f"{layout}: " in str(raised.value) for layout in LAYOUTS)
    with pytest.raises(UserError, match="--layout: there is no 'coco'; there are folder, pickapic"):
        run(tmp_path / "empty", tmp_path / "out", layout="coco")
