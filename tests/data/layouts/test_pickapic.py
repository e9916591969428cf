import random
from datetime import UTC

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedpo.contract import tables
from dedpo.contract.sections import DataConfig
from dedpo.data import stage
from dedpo.data.layouts import parquet
from dedpo.errors import UserError
from dedpo.vision import images
from tests.data.published import CREATED, choice, picture, write_pickapic


def run(source, out, **settings):
    return stage.import_pairs(DataConfig(**settings), source=source, out=out)


def ratings_of(out):
    """Preferences by prompt."""
    pairs = tables.read(out / "pairs", tables.PAIRS, ["pair_id", "prompt"]).to_pylist()
    prompts = {p["pair_id"]: p["prompt"] for p in pairs}
    rows = tables.read(out / "ratings.parquet", tables.RATINGS).to_pylist()
    return {prompts[r["pair_id"]]: r for r in rows}


def test_label_0_is_the_chance_of_image_0_and_unlabelled_rows_are_unrated(tmp_path):
    rows = [choice(0, 1.0), choice(1, 0.0), choice(2, 0.5), choice(3, 1.0, has_label=False)]
    write_pickapic(tmp_path / "pick" / "train-00000-of-00001-abc.parquet", rows)
    summary = run(tmp_path / "pick", tmp_path / "out")
    found = ratings_of(tmp_path / "out")
    assert {prompt: r["preference"] for prompt, r in found.items()} == {"prompt 0": 0, "prompt 1": 1, "prompt 2": 0.5}
    assert found["prompt 1"]["rater"] == "7"
    assert found["prompt 1"]["time"] == CREATED.replace(tzinfo=UTC)
    assert found["prompt 1"]["order_shown"] is None
    assert (summary["layout"], summary["pairs"], summary["ties"], summary["unrated_rows"]) == ("pickapic", 4, 1, 1)
    assert summary["published_splits"] == {"train": 4}
    assert summary["notes"] == []


def test_images_are_the_published_bytes_in_the_published_order(tmp_path):
    write_pickapic(tmp_path / "pick" / "data" / "a.parquet", [choice(i) for i in (3, 1, 2)], rows_of_a_group=2)
    run(tmp_path / "pick", tmp_path / "out")
    (shard,) = tables.iterate(tmp_path / "out" / "pairs", tables.PAIRS)
    rows = shard.to_pylist()
    assert [r["prompt"] for r in rows] == ["prompt 3", "prompt 1", "prompt 2"]
    assert [r["image_1"]["bytes"] for r in rows] == [picture(7), picture(3), picture(5)]
    assert rows[0]["image_0"]["path"].endswith(".png")


def test_bad_rows_are_set_aside_and_duplicates_across_files_count_once(tmp_path):
    cut = picture(99)[:40]
    rows = [
        choice(0),
        choice(1, jpg_0=cut),
        choice(2, jpg_1=None),
        choice(3, label_0=float("nan")),
        choice(4, caption=None),
        choice(5, jpg_1=choice(5)["jpg_0"]),
    ]
    write_pickapic(tmp_path / "pick" / "test-00000-of-00001.parquet", rows)
    write_pickapic(tmp_path / "pick" / "train-00000-of-00001.parquet", [choice(0), choice(6), choice(0, 0.0)])
    summary = run(tmp_path / "pick", tmp_path / "out")
    assert summary["set_aside"] == {
        "unusable image": 1, "no image": 1, "empty prompt": 1, "identical images": 1, "contradictory rating": 3,
    }  # fmt: skip
    assert (summary["rows"], summary["pairs"], summary["ratings"], summary["unrated_rows"]) == (9, 3, 1, 1)
    (note,) = summary["notes"]
    assert note.startswith("1 prompts have rows in more than one published split")


def test_a_label_written_as_text_is_a_number_or_its_row_is_set_aside(tmp_path):
    labels = ["1.0", "0", "0.5", "", None, "oops", "1.7"]
    table = pa.Table.from_pylist([choice(n) for n in range(len(labels))]).drop_columns(["label_0"])
    pq.write_table(table.append_column("label_0", pa.array(labels, pa.string())), tmp_path / "a.parquet")
    summary = run(tmp_path / "a.parquet", tmp_path / "out")
    found = {prompt: r["preference"] for prompt, r in ratings_of(tmp_path / "out").items()}
    assert found == {"prompt 0": 0, "prompt 1": 1, "prompt 2": 0.5}
    assert summary["set_aside"] == {"preference is not a number": 1, "preference outside [0, 1]": 1}
    assert summary["unrated_rows"] == 2


def test_a_part_of_the_files_can_be_imported_and_says_so(tmp_path):
    write_pickapic(tmp_path / "pick" / "train-00002-of-00646-abc.parquet", [choice(0)])
    summary = run(tmp_path / "pick", tmp_path / "out")
    assert summary["notes"] == ["645 of the numbered Parquet files are not there, the first is train-00000-of-00646"]


def test_half_a_download_is_named(tmp_path):
    path = write_pickapic(tmp_path / "pick" / "a.parquet", [choice(i) for i in range(9)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.parquet: not a whole Parquet file .*download it again"):
        run(tmp_path / "pick", tmp_path / "out")
    # Its footer is there and a page in the middle is not what was written.
    path.write_bytes(whole[:3000] + bytes(600) + whole[3600:])
    with pytest.raises(UserError, match=r"a\.parquet: broken in the rows from \d+ on"):
        run(tmp_path / "pick", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_edition_without_images_is_recognised(tmp_path):
    table = pa.Table.from_pylist([choice(0)]).drop_columns(["jpg_0", "jpg_1"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="column 'jpg_0' is missing; this is the edition without images"):
        run(tmp_path / "a.parquet", tmp_path / "out")


def test_only_the_row_groups_that_are_wanted_are_read(tmp_path, monkeypatch):
    path = write_pickapic(tmp_path / "a.parquet", [choice(i) for i in range(12)])
    read = []
    group = parquet._group
    monkeypatch.setattr(
        parquet, "_group", lambda file, number, *rest: read.append(number) or group(file, number, *rest)
    )
    found = [(number, values["caption"]) for number, _, values in parquet.stream([path], ["caption"], [4, 10, 11])]
    assert found == [(4, "prompt 4"), (10, "prompt 10"), (11, "prompt 11")]
    assert read == [1, 3]


def test_a_row_group_is_not_held_in_memory(tmp_path):
    table = pa.table({"jpg_0": [random.Random(i).randbytes(50_000) for i in range(400)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1000, write_batch_size=1)
    before, most = pa.total_allocated_bytes(), 0
    for _ in parquet.stream([tmp_path / "a.parquet"], ["jpg_0"]):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 0.3 * table.nbytes


def test_a_resumed_import_decodes_no_embedded_image_twice(tmp_path, monkeypatch):
    rows = [choice(i) for i in range(40)]
    write_pickapic(tmp_path / "a.parquet", [*rows, choice(40, jpg_0=rows[0]["jpg_0"])])
    decode, decoded = images.decode, []

    def interrupt(data, max_pixels):
        if len(decoded) == 50:
            raise KeyboardInterrupt
        decoded.append(data)
        return decode(data, max_pixels)

    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "a.parquet", tmp_path / "out")
    kept = len((tmp_path / "out.partial" / ".checked.jsonl").read_bytes().splitlines())
    assert kept >= 20
    decoded.clear()
    monkeypatch.setattr(images, "decode", lambda data, limit: decoded.append(data) or decode(data, limit))
    run(tmp_path / "a.parquet", tmp_path / "out")
    assert len(decoded) == len(set(decoded)) == 81 - kept


def test_appended_files_leave_all_shards_but_the_last(tmp_path):
    write_pickapic(tmp_path / "pick" / "a.parquet", [choice(i) for i in range(40)])
    run(tmp_path / "pick", tmp_path / "one")
    write_pickapic(tmp_path / "pick" / "b.parquet", [choice(i) for i in range(40, 44)])
    run(tmp_path / "pick", tmp_path / "two")
    one, two = ({p.name for p in (tmp_path / out / "pairs").iterdir()} for out in ("one", "two"))
    assert (len(one), len(two), len(one & two)) == (2, 2, 1)
