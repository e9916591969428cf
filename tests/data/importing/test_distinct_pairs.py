import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dedpo.data.importing.distinct_pairs import (
    CheckedImage,
    Merged,
    UnusableImage,
    check_image,
    flipped,
    locate,
    pair_id,
    read_image,
)
from dedpo.data.importing.distinct_pairs import merge as merge_looked
from dedpo.data.importing.rows import Row, typed
from dedpo.tabular.rejected import SetAside


def row(number=2, prompt="a cat", image_0="a", image_1="b", preference=None, rater="ann", order=None) -> Row:
    return Row(number, prompt, image_0, image_1, preference, rater, prompt, order, None)


def checked(*names: str) -> dict[str, CheckedImage | UnusableImage]:
    return {name: CheckedImage(name * 64, 10) for name in names}


def merge(rows: list[Row], found: dict[str, CheckedImage | UnusableImage]) -> Merged:
    return merge_looked((row, found[row.image_0], found[row.image_1]) for row in rows)


# images


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_good_image_is_hashed(tmp_path):
    data = save(tmp_path / "0.png").read_bytes()
    assert check_image(data, "0.png", 100) == CheckedImage(hashlib.sha256(data).hexdigest(), len(data))


def test_paths_must_stay_in_the_folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    outside = save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(outside)
    for name in ("../outside.png", str(outside), "link.png", "/etc/passwd"):
        assert locate(folder, name) == UnusableImage("path leaves the folder", name)


def test_an_absolute_path_is_refused_even_inside(tmp_path):
    path = str(save(tmp_path / "0.png"))
    assert locate(tmp_path, path) == UnusableImage("path leaves the folder", path)


def test_a_symlink_that_stays_inside_is_followed(tmp_path):
    (tmp_path / "link.png").symlink_to(save(tmp_path / "0.png"))
    assert locate(tmp_path, "link.png") == tmp_path.resolve() / "0.png"


@pytest.mark.parametrize("name", ["", ".", "nowhere.png", "a\x00b.png", "x" * 5000, "loop.png"])
def test_what_is_no_file_is_missing(tmp_path, name):
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    found = locate(tmp_path, name)
    assert isinstance(found, UnusableImage)
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
        data = read_image(tmp_path / name, name, limit)
        found = data if isinstance(data, UnusableImage) else check_image(data, name, limit)
        assert isinstance(found, UnusableImage)
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
    images = checked("a", "b") | {"copy": CheckedImage("a" * 64, 10), "bad": UnusableImage("missing file", "bad")}
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
    found = merge(rows, checked("a", "b", "c") | {"bad": UnusableImage("missing file", "bad")})
    assert len(rows) == len(found.ratings) + found.unrated_rows + found.duplicates + len(found.set_aside)
    assert found.rows == len(rows)
    ids = [p.pair_id for p in found.pairs]
    assert len(ids) == len(set(ids))
    numbers = [p.number for p in found.pairs]
    assert numbers == sorted(numbers)
    keys = [(r.pair_id, r.rater) for r in found.ratings]
    assert keys == sorted(set(keys))
    assert {r.pair_id for r in found.ratings} <= set(ids)


@given(row_lists)
def test_swapping_all_images_flips_all_ratings_and_changes_nothing_else(given_rows):
    rows = [row(i, p, a, b, z, who) for i, (p, a, b, z, who) in enumerate(given_rows)]
    swapped = [row(i, p, b, a, z, who) for i, (p, a, b, z, who) in enumerate(given_rows)]
    images = checked("a", "b", "c") | {"bad": UnusableImage("missing file", "bad")}
    one, two = merge(rows, images), merge(swapped, images)
    assert [p.pair_id for p in one.pairs] == [p.pair_id for p in two.pairs]
    assert [(p.image_0, p.image_1) for p in one.pairs] == [(p.image_1, p.image_0) for p in two.pairs]
    assert [(r.pair_id, r.rater, r.preference) for r in one.ratings] == [
        (r.pair_id, r.rater, r.preference) for r in two.ratings
    ]


@given(row_lists, row_lists)
def test_what_is_appended_changes_no_pair_before_it(given_rows, appended):
    rows = [row(i, p, a, b, z, who) for i, (p, a, b, z, who) in enumerate([*given_rows, *appended])]
    images = checked("a", "b", "c") | {"bad": UnusableImage("missing file", "bad")}
    before, after = merge(rows[: len(given_rows)], images), merge(rows, images)
    assert after.pairs[: len(before.pairs)] == before.pairs


def test_a_prompt_with_rows_of_two_published_splits_is_counted():
    rows = [row(0), row(1, prompt="a dog"), row(2)]
    parts = ["train", "train", "test"]
    looked = [
        (typed(r.number, prompt=r.prompt, image_0="a", image_1="b", part=p), r)
        for r, p in zip(rows, parts, strict=True)
    ]
    images = checked("a", "b")
    found = merge_looked((r, images["a"], images["b"]) for r, _ in looked if isinstance(r, Row))
    assert (found.rows_of_part, found.divided_prompts) == ({"train": 2, "test": 1}, 1)


def test_half_of_a_surrogate_pair_sets_a_row_aside():
    found = typed(7, prompt="a \ud800 cat", image_0="a", image_1="b")
    assert isinstance(found, SetAside)
    assert (found.number, found.reason) == (7, "text is not Unicode")
