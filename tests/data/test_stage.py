import csv
import hashlib
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dedpo.contract import tables
from dedpo.contract.sections import DataConfig
from dedpo.data import splits, stage
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest
from dedpo.vision import images

COLUMNS = ["prompt", "image_0", "image_1", "preference", "rater", "group"]


class Folder:
    """A user's folder: `pair` adds a row with two fresh images."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[list[str]] = []
        (path / "images").mkdir(parents=True)

    def image(self, name: str, seed: int) -> str:
        pixels = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(self.path / "images" / name)
        return f"images/{name}"

    def pair(self, prompt: str, preference: str = "1", group: str = "") -> list[str]:
        i = len(self.rows)
        line = [prompt, self.image(f"{i}_0.png", 2 * i), self.image(f"{i}_1.png", 2 * i + 1), preference, "", group]
        self.rows.append(line)
        return line

    def save(self) -> Path:
        with (self.path / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *self.rows])
        return self.path


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "mine")


def content(root: Path) -> dict[str, str]:
    files = [p for p in root.rglob("*") if p.is_file() and not p.name.startswith("manifest.")]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def run(folder: Folder, out: Path, **settings) -> dict:
    return stage.import_pairs(DataConfig(**settings), source=folder.save(), out=out)


def test_an_import_is_complete_and_says_what_it_did(folder, tmp_path):
    for i in range(5):
        folder.pair(f"prompt {i % 2}", ["1", "0", "0.5", "", "1"][i])
    swapped = folder.rows[1]
    folder.rows.append([swapped[0], swapped[2], swapped[1], "1", "bob", ""])
    folder.rows.append(folder.rows[0])
    folder.rows.append(["=evil()", "../secret.png", "images/0_0.png", "1", "", ""])
    summary = run(folder, tmp_path / "out", shard_rows=2)
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary == {
        "layout": "folder",
        "rows": 8,
        "pairs": 5,
        "rated_pairs": 4,
        "ratings": 5,
        "ties": 1,
        "raters": 2,
        "unrated_rows": 1,
        "duplicates": 1,
        "set_aside": {"path leaves the folder": 1},
        "prompts": 2,
        "groups": 2,
        "published_splits": {},
        "ignored_columns": [],
        "notes": [],
        "warnings": [],
    }
    assert read_manifest(tmp_path / "out")["stage"] == "data"
    assert len(tables.shard_paths(tmp_path / "out" / "pairs")) == 3
    ratings = tables.read(tmp_path / "out" / "ratings.parquet", tables.RATINGS).to_pylist()
    assert [r["preference"] for r in ratings if r["rater"] == "bob"] == [0.0]
    with (tmp_path / "out" / "set_aside.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["row", "reason", "detail", "prompt"],
            ["9", "path leaves the folder", "../secret.png", "'=evil()"],
        ]


def test_images_are_kept_byte_for_byte_and_called_by_their_content(folder, tmp_path):
    folder.pair("a cat")
    run(folder, tmp_path / "out")
    (pair,) = tables.read(tmp_path / "out" / "pairs", tables.PAIRS).to_pylist()
    for side in (0, 1):
        data = (folder.path / f"images/0_{side}.png").read_bytes()
        name = f"{hashlib.sha256(data).hexdigest()[:16]}.png"
        assert pair[f"image_{side}"] == {"bytes": data, "path": name}
    assert (pair["prompt"], pair["group"], pair["source"]) == ("a cat", "a cat", "mine")


def shards_of(out: Path) -> dict[str, list[str]]:
    """File name → prompts in it."""
    return {
        path.name: tables.read(path, tables.PAIRS, ["prompt"]).column("prompt").to_pylist()
        for path in tables.shard_paths(out / "pairs")
    }


def test_pairs_keep_the_order_of_their_first_mention(folder, tmp_path):
    for i in (3, 1, 2, 0, 5):
        folder.pair(f"prompt {i}")
    folder.rows.append(folder.rows[0])
    run(folder, tmp_path / "out", shard_rows=2)
    assert sorted(shards_of(tmp_path / "out").values()) == [
        ["prompt 2", "prompt 0"],
        ["prompt 3", "prompt 1"],
        ["prompt 5"],
    ]


def test_appended_rows_leave_every_byte_of_all_shards_but_the_last(folder, tmp_path):
    for i in range(7):
        folder.pair(f"prompt {i}")
    run(folder, tmp_path / "one", shard_rows=3)
    for i in range(7, 9):
        folder.pair(f"prompt {i}")
    run(folder, tmp_path / "two", shard_rows=3)
    one, two = content(tmp_path / "one" / "pairs"), content(tmp_path / "two" / "pairs")
    assert len(one) == len(two) == 3
    assert len(one.items() & two.items()) == 2


def test_other_file_names_change_no_shard(folder, tmp_path):
    for i in range(3):
        folder.pair(f"prompt {i}")
    run(folder, tmp_path / "one")
    for row in folder.rows:
        for side in (1, 2):
            renamed = row[side].replace("images/", "images/x")
            (folder.path / row[side]).rename(folder.path / renamed)
            row[side] = renamed
    run(folder, tmp_path / "two")
    assert content(tmp_path / "one" / "pairs") == content(tmp_path / "two" / "pairs")


def test_hostile_files_are_set_aside_each_with_its_reason(folder, tmp_path):
    good = folder.pair("a cat")
    (tmp_path / "secret.png").write_bytes((folder.path / good[1]).read_bytes())
    (folder.path / "out.png").symlink_to(tmp_path / "secret.png")
    # 40,000 × 40,000 pixels in 60 bytes: 4.8 GB once decoded.
    whole = (folder.path / good[1]).read_bytes()
    header = whole[12:16] + (40_000).to_bytes(4, "big") * 2 + whole[24:29]
    (folder.path / "bomb.png").write_bytes(whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:])
    (folder.path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name in ("out.png", "bomb.png", "cut.png", "../secret.png", "/etc/passwd", "gone.png"):
        folder.rows.append([name, good[1], name, "1", "", ""])
    run(folder, tmp_path / "out")
    with (tmp_path / "out" / "set_aside.csv").open(newline="") as file:
        found = {row["prompt"]: (row["reason"], row["detail"]) for row in csv.DictReader(file)}
    assert {name: reason for name, (reason, _) in found.items()} == {
        "out.png": "path leaves the folder",
        "bomb.png": "unusable image",
        "cut.png": "unusable image",
        "../secret.png": "path leaves the folder",
        "/etc/passwd": "path leaves the folder",
        "gone.png": "missing file",
    }
    assert "40000×40000 pixels exceed" in found["bomb.png"][1]
    assert "broken image" in found["cut.png"][1]


def test_no_usable_pair_names_the_reasons_and_where_to_read_more(folder, tmp_path):
    folder.rows = [["p", "a.png", "b.png", "1", "", ""]] * 2 + [["", "a.png", "b.png", "1", "", ""]]
    with pytest.raises(UserError, match="none of its 3 rows is usable \\(2 × missing file, 1 × empty prompt\\)") as bad:
        run(folder, tmp_path / "out")
    written = Path(str(bad.value).rsplit(" ", 1)[-1])
    assert len(written.read_text().splitlines()) == 4
    assert not (tmp_path / "out").exists()


def test_pairs_without_any_rating_can_be_imported(folder, tmp_path):
    folder.pair("a cat", preference="")
    assert run(folder, tmp_path / "out")["ratings"] == 0
    assert tables.count_rows(tmp_path / "out" / "ratings.parquet") == 0


def test_an_interrupted_import_keeps_finished_shards_and_drops_stray_files(folder, tmp_path, monkeypatch):
    for i in range(6):
        folder.pair(f"prompt {i}")
    run(folder, tmp_path / "whole", shard_rows=2)
    write, written = tables.write, []

    def count(table, rule, path):
        if len(written) == 2:
            raise KeyboardInterrupt
        write(table, rule, path)
        written.append(path)

    monkeypatch.setattr(tables, "write", count)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "out", shard_rows=2)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out.partial" / "pairs" / ".pairs-0.parquet.tmp").write_text("half")
    before = {p: p.stat().st_mtime_ns for p in written}

    monkeypatch.setattr(tables, "write", write)
    run(folder, tmp_path / "out", shard_rows=2)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert {p: (tmp_path / "out/pairs" / p.name).stat().st_mtime_ns for p in written} == before


def test_an_image_that_changes_between_the_passes_stops_the_import_and_is_looked_at_again(
    folder, tmp_path, monkeypatch
):
    folder.pair("a cat")
    path = folder.path / "images" / "0_1.png"
    plan = stage.shard_plan.plan_shards

    def change(*args, **kwargs):
        before = path.stat()
        folder.image("0_1.png", 99)
        # Of the same size and time, it would be taken for what it was.
        path.write_bytes(path.read_bytes()[: before.st_size].ljust(before.st_size, b"\0"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return plan(*args, **kwargs)

    monkeypatch.setattr(stage.shard_plan, "plan_shards", change)
    with pytest.raises(UserError, match="0_1.png: the file changed during the import"):
        run(folder, tmp_path / "out")
    monkeypatch.setattr(stage.shard_plan, "plan_shards", plan)
    run(folder, tmp_path / "out")
    (pair,) = tables.read(tmp_path / "out" / "pairs", tables.PAIRS).to_pylist()
    assert pair["image_1"]["bytes"] == path.read_bytes()


def test_a_resumed_import_decodes_only_what_it_has_not_seen(folder, tmp_path, monkeypatch):
    for i in range(40):
        folder.pair(f"prompt {i}")
    run(folder, tmp_path / "whole")
    decode, decoded = images.decode, []

    def interrupt(data, max_pixels):
        if len(decoded) == 50:
            raise KeyboardInterrupt
        decoded.append(data)
        return decode(data, max_pixels)

    monkeypatch.setattr(images, "decode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "out")
    store = tmp_path / "out.partial" / ".checked.jsonl"
    kept = store.read_bytes().splitlines(keepends=True)
    assert 20 <= len(kept) <= 50
    store.write_bytes(b"".join(kept) + b'["images/39_1.png", 1, 2, "ab')
    decoded.clear()
    monkeypatch.setattr(images, "decode", lambda data, limit: decoded.append(data) or decode(data, limit))
    run(folder, tmp_path / "out")
    assert len(decoded) == 80 - len(kept)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert not (tmp_path / "out" / ".checked.jsonl").exists()


def test_a_file_that_changed_since_the_interruption_is_looked_at_again(folder, tmp_path, monkeypatch):
    folder.pair("a cat")
    with monkeypatch.context() as patch:
        patch.setattr(stage.shard_plan, "plan_shards", lambda *args, **kwargs: raise_interrupt())
        with pytest.raises(KeyboardInterrupt):
            run(folder, tmp_path / "out")
    (folder.path / "images" / "0_1.png").write_bytes(b"no image any more")
    with pytest.raises(UserError, match="1 × unusable image"):
        run(folder, tmp_path / "out")


def raise_interrupt():
    raise KeyboardInterrupt


def test_two_imports_into_one_folder_do_not_mix(folder, tmp_path, monkeypatch):
    folder.pair("a cat")
    look = stage.shard_writer.look

    def twice(*args):
        with pytest.raises(UserError, match="has been writing there since"):
            run(folder, tmp_path / "out")
        return look(*args)

    with monkeypatch.context() as patch:
        patch.setattr(stage.shard_writer, "look", twice)
        run(folder, tmp_path / "out")


# split


@pytest.fixture
def imported(folder, tmp_path):
    for i in range(60):
        folder.pair(f"prompt {i % 30}", preference="" if i >= 50 else str(i % 2))
    run(folder, tmp_path / "data")
    return tmp_path / "data"


def table_of(out: Path) -> pa.Table:
    return tables.read(out / "splits.parquet", tables.SPLITS)


def test_a_split_holds_out_whole_groups_and_draws_rated_training_pairs(imported, tmp_path):
    config = DataConfig(holdout=0.3, labelled=7)
    summary = stage.split(config, data=imported, out=tmp_path / "s", seed=0)
    rows = {r["pair_id"]: r for r in table_of(tmp_path / "s").to_pylist()}
    pairs = tables.read(imported / "pairs", tables.PAIRS, ["pair_id", "group"]).to_pylist()
    rated = set(tables.read(imported / "ratings.parquet", tables.RATINGS).column("pair_id").to_pylist())
    sides = {}
    for pair in pairs:
        sides.setdefault(pair["group"], set()).add(rows[pair["pair_id"]]["split"])
    assert all(len(s) == 1 for s in sides.values())
    assert {s for side in sides.values() for s in side} == {"train", "holdout"}
    labelled = [r for r in rows.values() if r["is_labelled"]]
    assert len(labelled) == summary["labelled"] == 7
    assert all(r["split"] == "train" and r["pair_id"] in rated for r in labelled)
    for r in rows.values():
        assert r["propensity"] == (7 / summary["train"] if r["split"] == "train" else 1.0)
    assert summary["train"] + summary["holdout"] == summary["pairs"] == 60
    assert summary["groups_train"] + summary["groups_holdout"] == 30
    assert summary["rated_train"] + summary["rated_holdout"] == 50
    assert "have a rating" in summary["warnings"][0]
    assert summary == json.loads((tmp_path / "s" / "summary.json").read_text())


def test_the_holdout_does_not_depend_on_the_seed_and_the_draw_does(imported, tmp_path):
    for seed in (0, 1):
        stage.split(DataConfig(holdout=0.3, labelled=7), data=imported, out=tmp_path / str(seed), seed=seed)
    stage.split(DataConfig(holdout=0.3, labelled=7), data=imported, out=tmp_path / "again", seed=0)
    one, two = table_of(tmp_path / "0"), table_of(tmp_path / "1")
    assert one.column("split") == two.column("split")
    assert one.column("is_labelled") != two.column("is_labelled")
    assert content(tmp_path / "0") == content(tmp_path / "again")


def test_a_share_is_one_of_all_training_pairs(imported, tmp_path):
    summary = stage.split(DataConfig(holdout=0, labelled=0.25), data=imported, out=tmp_path / "s", seed=0)
    assert (summary["train"], summary["labelled"], summary["propensity"]) == (60, 15, 0.25)
    assert "no rated pair is held out" in summary["warnings"][1]


def test_too_few_ratings_are_an_error_with_both_numbers(imported, tmp_path):
    with pytest.raises(UserError, match="55 labelled training pairs are asked for and only 50 of 60"):
        stage.split(DataConfig(holdout=0, labelled=55), data=imported, out=tmp_path / "s", seed=0)


def test_a_holdout_that_leaves_nothing_is_an_error(folder, tmp_path):
    folder.pair("a cat")
    run(folder, tmp_path / "data")
    with pytest.raises(UserError, match="leaves none of 1 groups"):
        stage.split(DataConfig(holdout=0.999999), data=tmp_path / "data", out=tmp_path / "s", seed=0)


def test_no_ratings_at_all_is_an_error(folder, tmp_path):
    folder.pair("a cat", preference="")
    run(folder, tmp_path / "data")
    with pytest.raises(UserError, match="no pair has a human rating"):
        stage.split(DataConfig(), data=tmp_path / "data", out=tmp_path / "s", seed=0)


@pytest.mark.parametrize(
    ("asked", "n_train", "message"),
    [(1.5, 100, "neither a share"), (2.5, 100, "neither a share"), (0.01, 100, "ask for at least 2")],
)
def test_a_senseless_number_of_labels_is_refused(asked, n_train, message):
    with pytest.raises(UserError, match=message):
        splits.number_labelled(asked, n_train, n_train)


def test_all_of_them_is_a_share_of_one():
    assert splits.number_labelled(1.0, 40, 40) == 40


def test_a_group_once_held_out_stays_so_in_a_larger_holdout():
    groups = [f"g{i}" for i in range(2000)]
    small = {g for g in groups if splits.is_held_out(g, 0.1)}
    large = {g for g in groups if splits.is_held_out(g, 0.2)}
    assert small < large
    assert len(small) / 2000 == pytest.approx(0.1, abs=0.02)
    assert not any(splits.is_held_out(g, 0.0) for g in groups)


def test_every_rated_pair_is_drawn_equally_often_and_smaller_draws_nest():
    counts = np.bincount(np.concatenate([splits.draw_labelled(20, 5, s) for s in range(2000)]), minlength=20)
    assert np.abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)
    assert set(splits.draw_labelled(20, 5, 3)) < set(splits.draw_labelled(20, 9, 3))
