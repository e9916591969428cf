import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dedpo.data import importer
from dedpo.data.importer import CheckedImage, Refusal, check_image, flipped, locate, merge, pair_id, plan_shards
from dedpo.data.rows import Row, read_sheet
from dedpo.errors import UserError

HEADER = ["prompt", "image_0", "image_1", "preference", "rater", "group", "order_shown", "time"]


def row(number=2, prompt="a cat", image_0="a", image_1="b", preference=None, rater="ann", order=None) -> Row:
    return Row(number, prompt, image_0, image_1, preference, rater, prompt, order, None)


def checked(*names: str) -> dict[str, CheckedImage | Refusal]:
    return {name: CheckedImage(name * 64, 10) for name in names}


def sheet(tmp_path: Path, lines: list[list[str]], header: list[str] | None = None) -> Path:
    path = tmp_path / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header or HEADER[:3], *lines])
    return path


# rows of the CSV


def test_optional_columns_have_defaults(tmp_path):
    (only,) = read_sheet(sheet(tmp_path, [[" a cat ", "0.png", "1.png"]])).rows
    assert only == Row(2, "a cat", "0.png", "1.png", None, "human", "a cat", None, None)


def test_every_column_is_read(tmp_path):
    line = ["a cat", "0.png", "1.png", "0.5", "ann", "cats", "10", "2026-11-21T10:00:00+02:00"]
    (only,) = read_sheet(sheet(tmp_path, [line], HEADER)).rows
    time = datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert only == Row(2, "a cat", "0.png", "1.png", 0.5, "ann", "cats", "10", time)


def test_a_time_without_zone_is_utc_and_a_lost_leading_zero_is_put_back(tmp_path):
    line = ["a cat", "0.png", "1.png", "1", "", "", "1", "2026-11-21"]
    (only,) = read_sheet(sheet(tmp_path, [line], HEADER)).rows
    assert (only.order_shown, only.time) == ("01", datetime(2026, 11, 21, tzinfo=UTC))


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("prompt", "   ", "empty prompt"),
        ("preference", "left", "preference is not a number"),
        ("preference", "0,5", "preference is not a number"),
        ("preference", "nan", "preference is not a number"),
        ("preference", "1.01", "preference outside [0, 1]"),
        ("preference", "-1", "preference outside [0, 1]"),
        ("preference", "inf", "preference outside [0, 1]"),
        ("order_shown", "left", "order_shown is neither 01 nor 10"),
        ("time", "yesterday", "time is not ISO 8601"),
        ("time", "0001-01-01T00:00:00+14:00", "time is not ISO 8601"),
    ],
)
def test_a_bad_value_sets_its_row_aside(tmp_path, column, value, reason):
    good = ["a cat", "0.png", "1.png", "1", "ann", "cats", "01", "2026-11-21"]
    bad = [value if name == column else v for name, v in zip(HEADER, good, strict=True)]
    found = read_sheet(sheet(tmp_path, [bad, good], HEADER))
    (refused,) = found.set_aside
    assert (refused.number, refused.reason) == (2, reason)
    assert refused.detail == value.strip()
    assert [r.number for r in found.rows] == [3]


def test_a_row_with_too_many_fields_is_set_aside_and_blank_lines_are_not_rows(tmp_path):
    found = read_sheet(sheet(tmp_path, [["a, cat", "0.png", "1.png", "1"], [], ["", "", ""], ["dog", "0", "1"]]))
    assert [(s.number, s.reason, s.prompt) for s in found.set_aside] == [(2, "wrong number of fields", "a, cat")]
    assert [r.number for r in found.rows] == [5]


def test_a_byte_order_mark_and_hostile_prompts_are_read_as_they_are(tmp_path):
    prompt = 'a "cat",\nline\ttwo; =cmd()|\x00\u202e <script>'
    path = sheet(tmp_path, [[prompt, "0.png", "1.png"]])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_sheet(path).rows[0].prompt == prompt


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"prompt,image_0,image_1\n", "no row below the header"),
        (b"prompt,image_1\na,b\n", "column 'image_0' is missing; there are: prompt, image_1"),
        (b"prompt;image_0;image_1\na;b;c\n", "separated by ';'"),
        (b'"prompt";"image_0";"image_1"\na;b;c\n', "separated by ';'"),
        (b"prompt\timage_0\timage_1\na\tb\tc\n", "separated by tabs"),
        (b"prompt,image_0,image_1,preferance\na,b,c,1\n", "did you mean 'preference'"),
        (b"prompt,image_0,image_1,prompt\na,b,c,1\n", "'prompt' occurs twice"),
        ("prompt,image_0,image_1\ncafé,b,c\n".encode("latin-1"), "not UTF-8"),
        ("prompt,image_0,image_1\na,b,c\n".encode("utf-16"), "not UTF-8"),
        (b'prompt,image_0,image_1\na,b,c\n"never closed,b,c\na,b,c\n', "row 3 or below"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(tmp_path, content, message):
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match="pairs.csv") as raised:
        read_sheet(path)
    assert message in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="holds a pairs.csv"):
        read_sheet(tmp_path / "pairs.csv")


def test_a_column_that_means_nothing_is_reported(tmp_path):
    found = read_sheet(sheet(tmp_path, [["a", "b", "c", "x"]], [*HEADER[:3], "comment"]))
    assert found.ignored_columns == ["comment"]


# images


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_good_image_is_hashed(tmp_path):
    path = save(tmp_path / "images" / "0.png")
    found = check_image(tmp_path, "images/0.png", 100)
    assert isinstance(found, CheckedImage)
    assert found.size == path.stat().st_size


def test_paths_must_stay_in_the_folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    outside = save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(outside)
    for name in ("../outside.png", str(outside), "link.png", "/etc/passwd"):
        assert locate(folder, name) == Refusal("path leaves the folder", name)


def test_an_absolute_path_is_refused_even_inside(tmp_path):
    path = str(save(tmp_path / "0.png"))
    assert locate(tmp_path, path) == Refusal("path leaves the folder", path)


def test_a_symlink_that_stays_inside_is_followed(tmp_path):
    (tmp_path / "link.png").symlink_to(save(tmp_path / "0.png"))
    assert locate(tmp_path, "link.png") == tmp_path.resolve() / "0.png"


@pytest.mark.parametrize("name", ["", ".", "nowhere.png", "a\x00b.png", "x" * 5000, "loop.png"])
def test_what_is_no_file_is_missing(tmp_path, name):
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    found = locate(tmp_path, name)
    assert isinstance(found, Refusal)
    assert found.reason == "missing file"


def test_unusable_images_say_why(tmp_path):
    whole = save(tmp_path / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "film.png").write_bytes(bytes(2**17))
    for name, limit, detail in [
        ("cut.png", 100, "broken image"),
        ("text.png", 100, "not a PNG"),
        ("0.png", 63, "8×8 pixels"),
        ("film.png", 100, "bytes are too many"),
    ]:
        found = check_image(tmp_path, name, limit)
        assert isinstance(found, Refusal)
        assert found.reason == "unusable image"
        assert name in found.detail
        assert detail in found.detail


# pairs and ratings


def test_a_pair_has_one_id_whichever_image_comes_first():
    assert pair_id("a cat", "1" * 64, "2" * 64) == pair_id("a cat", "2" * 64, "1" * 64)
    assert len({pair_id("a cat", "1" * 64, "2" * 64), pair_id("a dog", "1" * 64, "2" * 64)}) == 2
    assert len(pair_id("a cat", "1" * 64, "2" * 64)) == 24


@given(st.floats(0, 1))
def test_flipping_twice_changes_nothing(preference):
    assert 0 <= flipped(preference) <= 1
    assert flipped(flipped(preference)) == pytest.approx(preference, abs=1e-11)


def test_a_swapped_row_is_the_same_pair_and_its_rating_is_flipped():
    rows = [
        row(2, preference=1.0, order="01"),
        row(3, image_0="b", image_1="a", preference=0.9, rater="bob", order="01"),
    ]
    found = merge(rows, checked("a", "b"))
    assert len(found.pairs) == 1
    assert [(r.rater, r.preference, r.order_shown) for r in found.ratings] == [("ann", 1.0, "01"), ("bob", 0.1, "10")]


def test_the_same_opinion_twice_is_a_duplicate_also_when_shown_swapped():
    rows = [row(2, preference=0.1), row(3, preference=0.1), row(4, image_0="b", image_1="a", preference=0.9)]
    found = merge(rows, checked("a", "b"))
    assert (len(found.ratings), found.duplicates, found.set_aside) == (1, 2, [])


def test_a_contradiction_takes_all_of_that_raters_ratings_of_the_pair_and_no_others():
    rows = [
        row(2, preference=1.0),
        row(3, preference=1.0),
        row(4, image_0="b", image_1="a", preference=1.0),
        row(5, preference=1.0, rater="bob"),
        row(6, prompt="a dog", preference=0.0),
    ]
    found = merge(rows, checked("a", "b"))
    assert sorted((s.number, s.reason) for s in found.set_aside) == [(n, "contradictory rating") for n in (2, 3, 4)]
    assert sorted(r.rater for r in found.ratings) == ["ann", "bob"]
    assert (len(found.pairs), found.duplicates) == (2, 0)


def test_identical_images_and_refused_images_are_set_aside():
    images = checked("a", "b") | {"copy": CheckedImage("a" * 64, 10), "bad": Refusal("missing file", "bad")}
    rows = [row(2, image_1="copy"), row(3, image_1="bad"), row(4, image_0="bad"), row(5)]
    found = merge(rows, images)
    assert [s.reason for s in found.set_aside] == ["identical images", "missing file", "missing file"]
    assert len(found.pairs) == 1


row_lists = st.lists(
    st.tuples(
        st.sampled_from(["p", "q"]),
        st.sampled_from(["a", "b", "bad"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([None, 0.0, 0.3, 0.5, 1.0]),
        st.sampled_from(["ann", "bob"]),
    ),
    max_size=30,
)


@given(row_lists)
def test_no_row_vanishes_and_every_key_is_unique(given_rows):
    rows = [row(i, p, a, b, z, who) for i, (p, a, b, z, who) in enumerate(given_rows, start=2)]
    found = merge(rows, checked("a", "b", "c") | {"bad": Refusal("missing file", "bad")})
    assert len(rows) == len(found.ratings) + found.unrated_rows + found.duplicates + len(found.set_aside)
    ids = [p.pair_id for p in found.pairs]
    assert ids == sorted(set(ids))
    keys = [(r.pair_id, r.rater) for r in found.ratings]
    assert keys == sorted(set(keys))
    assert {r.pair_id for r in found.ratings} <= set(ids)


@given(row_lists)
def test_swapping_all_images_flips_all_ratings_and_changes_nothing_else(given_rows):
    rows = [row(i, p, a, b, z, who) for i, (p, a, b, z, who) in enumerate(given_rows)]
    swapped = [row(i, p, b, a, z, who) for i, (p, a, b, z, who) in enumerate(given_rows)]
    images = checked("a", "b", "c") | {"bad": Refusal("missing file", "bad")}
    one, two = merge(rows, images), merge(swapped, images)
    assert [p.pair_id for p in one.pairs] == [p.pair_id for p in two.pairs]
    assert [(p.image_0, p.image_1) for p in one.pairs] == [(p.image_1, p.image_0) for p in two.pairs]
    assert [(r.pair_id, r.rater, r.preference) for r in one.ratings] == [
        (r.pair_id, r.rater, r.preference) for r in two.ratings
    ]


# shards


def pairs_of(n: int, size: int = 10) -> list[importer.Pair]:
    return [importer.Pair(f"{i:024x}", "p", "x/0.png", "x/1.png", "0", "1", size, "p") for i in range(n)]


def test_shards_hold_so_many_rows_in_order():
    pairs = pairs_of(7)
    planned = plan_shards(pairs, source="s", shard_rows=3)
    assert [len(part) for part in planned.values()] == [3, 3, 1]
    assert [p for part in planned.values() for p in part] == pairs


def test_a_shard_is_cut_before_its_images_fill_the_memory(monkeypatch):
    monkeypatch.setattr(importer, "SHARD_BYTES", 25)
    planned = plan_shards([*pairs_of(4), *pairs_of(1, size=99)], source="s", shard_rows=100)
    assert [len(part) for part in planned.values()] == [2, 2, 1]


def test_a_shards_name_is_its_content():
    first = plan_shards(pairs_of(3), source="s", shard_rows=3)
    assert list(first) == list(plan_shards(pairs_of(3), source="s", shard_rows=9))
    assert list(first) != list(plan_shards(pairs_of(4), source="s", shard_rows=9))
    assert list(first) != list(plan_shards(pairs_of(3), source="t", shard_rows=3))
