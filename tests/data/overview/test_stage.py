import json
from html.parser import HTMLParser

import numpy as np
import pytest

from dedpo.contract import tables
from dedpo.contract.sections import DataConfig
from dedpo.data import stage
from dedpo.data.overview import numbers
from dedpo.data.overview.numbers import Pairs, Ratings
from dedpo.data.overview.page import binned
from dedpo.errors import UserError
from tests.data.published import choice, picture, write_hpdv2, write_pickapic

HOSTILE = '<script>alert("1")</script> & {{ 7 * 7 }} \u202e $x$'


def run(data, out):
    return stage.stats(DataConfig(), data=data, ratings=data / "ratings.parquet", out=out)


@pytest.fixture
def ranked(tmp_path):
    """Two prompts, three images each, two raters who agree on 4 of 6 pairs."""
    entries = [
        {"prompt": prompt, "image_path": [f"{prompt}{i}.png" for i in range(3)], "rank": [0, 1, 2],
         "raw_annotations": [{"rank": [0, 1, 2], "user_hash": "ann"}, {"rank": other, "user_hash": "bob"}]}
        for prompt, other in (("cat", [0, 1, 2]), ("dog", [1, 0, 0]))
    ]  # fmt: skip
    stage.import_pairs(DataConfig(), source=write_hpdv2(tmp_path / "HPD", None, entries), out=tmp_path / "data")
    return tmp_path / "data"


def test_numbers_of_people_are_right(ranked, tmp_path):
    summary = run(ranked, tmp_path / "stats")
    found = json.loads((tmp_path / "stats" / "stats.json").read_text())
    assert (found["pairs"], found["prompts"], found["ratings"], found["raters"]) == (6, 2, 12, 2)
    # ann: image 0 always; bob: image 0 on the cats, then image 1, image 1, a tie.
    assert found["choices"] == {"image_0": 9, "tie": 1, "image_1": 2}
    assert found["preferences"]["0"] == 9
    assert found["preferences"]["0.5"] == 1
    assert found["agreement"]["share"] == pytest.approx(0.5)
    expected = sum((n / 12) ** 2 for n in (9, 1, 2))
    assert found["agreement"]["fleiss_kappa"] == pytest.approx((0.5 - expected) / (1 - expected))
    assert [(r["rater"], r["ratings"], r["alike"]) for r in found["busiest"]] == [("ann", 6, 0.5), ("bob", 6, 0.5)]
    assert found["pairs_by_ratings"] == {"2": 6}
    assert found["pairs_of_a_group"]["median"] == 3
    assert found["images"]["sizes"] == {"6×6": 12}
    assert found["images"]["formats"] == {"image/png": 12}
    assert found["words"] == {"cat": 0.5, "dog": 0.5}
    assert summary["Fleiss' kappa"] == f"{found['agreement']['fleiss_kappa']:.2f}"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_one_file_and_hostile_text_is_only_text(tmp_path):
    rows = [choice(i, i % 2, caption=f"{HOSTILE} {i % 3}", user_id=i) for i in range(8)]
    rows[0] |= {"jpg_0": picture(77, side=300)}
    write_pickapic(tmp_path / "<b>pick" / "a.parquet", rows)
    stage.import_pairs(DataConfig(), source=tmp_path / "<b>pick", out=tmp_path / "data")
    run(tmp_path / "data", tmp_path / "stats")
    text = (tmp_path / "stats" / "stats.html").read_text()
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "b")]
    assert HOSTILE in "".join(page.texts)
    assert "49" not in "".join(page.texts)
    addresses = [attrs[name] for _, attrs in page.tags for name in ("src", "href") if name in attrs]
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 16
    assert any(address.startswith("data:image/jpeg") for address in addresses), "large ones become thumbnails"


def test_it_does_without_ratings_and_with_ratings_from_elsewhere(ranked, tmp_path):
    unrated = [choice(i, has_label=False) for i in range(3)]
    write_pickapic(tmp_path / "pick" / "a.parquet", unrated)
    stage.import_pairs(DataConfig(), source=tmp_path / "pick", out=tmp_path / "bare")
    assert run(tmp_path / "bare", tmp_path / "one")["ratings"] == 0
    assert "No pair is rated" in (tmp_path / "one" / "stats.html").read_text()
    with pytest.raises(UserError, match="is rated but not in the import"):
        stage.stats(DataConfig(), data=tmp_path / "bare", ratings=ranked / "ratings.parquet", out=tmp_path / "two")
    assert tables.count_rows(ranked / "ratings.parquet") == 12


def test_only_so_many_images_are_opened(ranked, tmp_path, monkeypatch):
    monkeypatch.setattr("dedpo.data.overview.stage.MEASURED", 1)
    data = tmp_path / "many"
    write_pickapic(tmp_path / "pick" / "a.parquet", [choice(i) for i in range(5)])
    stage.import_pairs(DataConfig(shard_rows=2), source=tmp_path / "pick", out=data)
    run(data, tmp_path / "stats")
    found = json.loads((tmp_path / "stats" / "stats.json").read_text())
    assert found["images"]["images"] in (2, 4)
    assert "of 10 images" in (tmp_path / "stats" / "stats.html").read_text()


def test_the_first_image_shown_is_counted_where_the_order_is_known():
    pairs = Pairs(["a", "b", "c", "d"], ["p"] * 4, ["p"] * 4, ["s"] * 4)
    ratings = Ratings(["a", "b", "c", "d"], ["x"] * 4, [0.0, 1.0, 0.5, 1.0], ["01", "10", "01", None])
    found = numbers.of_ratings(pairs, ratings)["order"]
    assert (found["first_chosen"], found["ratings"]) == (1.0, 2)


def test_bars_are_put_together_and_lose_nothing():
    counts = {int(n): int(n) + 1 for n in np.random.default_rng(0).choice(500, 60, replace=False)}
    bars = binned(counts)
    assert len(bars) <= 24
    assert sum(bars.values()) == sum(counts.values())
    assert binned({2: 5, 4: 1}) == {"2": 5, "3": 0, "4": 1}
