import csv
import hashlib

import numpy as np

from dedpo.contract.sections import DataConfig, WorldConfig
from dedpo.data import stage
from dedpo.outputs.manifest import read_manifest
from dedpo.vision import images
from dedpo.world import pairs as world
from dedpo.world.pairs import write_pairs
from dedpo.world.prompts import parse, prompts_of


def content(root):
    files = [p for p in root.rglob("*") if p.is_file() and not p.name.startswith("manifest.")]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def rows(folder):
    with (folder / "pairs.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_is_an_ordinary_folder(tmp_path):
    summary = write_pairs(WorldConfig(pairs=12), out=tmp_path / "world")
    found = rows(tmp_path / "world")
    assert list(found[0]) == ["prompt", "image_0", "image_1", "preference", "rater"]
    assert len(found) == summary["pairs"] == 12
    assert found[3]["image_1"] == "images/000003_1.png"
    for row in found:
        assert row["preference"] in ("0", "0.5", "1")
        for side in ("image_0", "image_1"):
            assert images.decode((tmp_path / "world" / row[side]).read_bytes()).size == (16, 16)
    assert summary["ties"] == sum(row["preference"] == "0.5" for row in found)
    assert read_manifest(tmp_path / "world")["config"] == {"pairs": 12, "seed": 0}


def test_only_training_prompts_are_shown_and_all_are_listed(tmp_path):
    summary = write_pairs(WorldConfig(pairs=30), out=tmp_path / "world")
    for split in ("train", "validation", "test"):
        lines = (tmp_path / "world" / f"prompts-{split}.txt").read_text().splitlines()
        assert [parse(line) for line in lines] == prompts_of(split)
        assert summary[f"prompts_{split}"] == len(lines)
    assert all(parse(row["prompt"]).split == "train" for row in rows(tmp_path / "world"))


def test_the_bytes_depend_on_the_settings_alone(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write_pairs(WorldConfig(pairs=8, seed=seed), out=tmp_path / name)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert content(tmp_path / "one")["images/000000_0.png"] != content(tmp_path / "three")["images/000000_0.png"]


def test_a_last_block_may_be_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(world, "BLOCK", 5)
    write_pairs(WorldConfig(pairs=12), out=tmp_path / "world")
    assert len(rows(tmp_path / "world")) == 12
    assert len(list((tmp_path / "world" / "images").iterdir())) == 24


def test_it_is_imported_and_split_as_a_users_folder(tmp_path):
    written = write_pairs(WorldConfig(pairs=120), out=tmp_path / "world")
    summary = stage.import_pairs(DataConfig(), source=tmp_path / "world", out=tmp_path / "data")
    assert (summary["pairs"], summary["ratings"], summary["set_aside"]) == (120, 120, {})
    assert (summary["ties"], summary["prompts"]) == (written["ties"], written["prompts"])
    split = stage.split(DataConfig(labelled=20), data=tmp_path / "data", out=tmp_path / "s", seed=0)
    assert split["labelled"] == 20
    assert 0 < split["holdout"] < 40


def test_the_imported_pixels_are_the_rendered_ones(tmp_path):
    write_pairs(WorldConfig(pairs=2), out=tmp_path / "world")
    rng = np.random.default_rng(0)
    known = prompts_of("train")
    drawn = [known[i] for i in rng.integers(0, len(known), 2)]
    expected = world.render(drawn, rng)
    decoded = images.decode((tmp_path / "world" / "images" / "000001_0.png").read_bytes())
    assert np.array_equal(np.asarray(decoded), expected[1])
