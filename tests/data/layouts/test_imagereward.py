"""ImageReward's rankings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dedpo.data.layouts.detect import detect
from dedpo.errors import UserError
from tests.data.importing.test_columns import run
from tests.data.layouts.test_hpdv2 import ratings_of
from tests.data.published import picture

RANKED = {
    "id": "005658-0040",
    "prompt": "a",
    "generations": [f"part/{i}.webp" for i in range(4)],
    "ranking": [1, 3, 5, 3],
}


def written(root: Path, entries: list[object], below: str = "") -> Path:
    (root / below / "part").mkdir(parents=True)
    for i in range(5):
        (root / below / "part" / f"{i}.webp").write_bytes(picture(i))
    (root / "test.json").write_text(json.dumps(entries))
    return root


@pytest.mark.parametrize("below", ["", "images"])
def test_every_two_images_are_a_pair_with_ties_and_gaps(tmp_path: Path, below: str) -> None:
    source = written(tmp_path / "in", [RANKED], below)
    summary = run(source, tmp_path / "out")
    assert (summary["layout"], summary["rows"], summary["ties"]) == ("imagereward", 6, 1)
    assert summary["published_splits"] == {"test": 6}
    assert [found["human"] for _, found in ratings_of(tmp_path / "out")] == [0, 0, 0, 0, 0.5, 1]


def test_a_ranking_of_another_length_is_set_aside(tmp_path: Path) -> None:
    broken = RANKED | {"prompt": "b", "ranking": [1, 2]}
    none = RANKED | {"prompt": "c", "ranking": [1, None, 2, 3]}
    summary = run(written(tmp_path / "in", [RANKED, broken, none, RANKED | {"generations": ["x"]}]), tmp_path / "out")
    assert summary["set_aside"] == {"ranking is not 4 numbers": 2, "no list of images": 1}
    assert summary["ratings"] == 6


def test_the_published_database_lists_an_image_an_entry(tmp_path: Path) -> None:
    part = tmp_path / "in" / "images" / "train" / "train_1"
    part.mkdir(parents=True)
    entries = []
    for i, rank in enumerate([1, 3, 3]):
        (part / f"{i}.webp").write_bytes(picture(i))
        path = f"images/train/train_1/{i}.webp"
        entries.append({"image_path": path, "prompt_id": "7", "prompt": "a", "rank": rank, "overall_rating": 5})
    (part / "train_1.json").write_text(json.dumps(entries))
    for source, out in ((tmp_path / "in", "one"), (part, "two"), (part / "train_1.json", "three")):
        assert detect(source) == "imagereward"
        assert run(source, tmp_path / out)["published_splits"] == {"train": 3}
        assert [found["human"] for _, found in ratings_of(tmp_path / out)] == [0, 0, 0.5]


def test_another_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="entry 1 has neither 'generations' nor"):
        run(written(tmp_path / "in", [RANKED, {"text": "x"}]), tmp_path / "out")
