"""Features of pairs: their algebra by property, and the stage on a small import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dedpo.contract import tables
from dedpo.contract.sections import DataConfig
from dedpo.data import feature_stage, features, imported, stage
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest
from dedpo.vision import covariates, images
from tests import tiny_clip as tiny
from tests.fixtures import write_tables

PLACES = ["red", "blue", "on", "photo", "8k", "木", "дом"]
prompts_ = st.lists(st.lists(st.sampled_from(PLACES), min_size=1, max_size=4).map(" ".join), min_size=1, max_size=30)
SMALL = {"allow_nan": False, "min_value": -2, "max_value": 2}


@st.composite
def measured_pairs(draw):
    """Prompts, one measured column, embeddings, and which pairs are swapped."""
    prompts = draw(prompts_)
    n = len(prompts)
    column = draw(hnp.arrays(np.float64, n, elements=st.floats(**SMALL)))
    width = draw(st.integers(1, 20))
    embeddings = draw(hnp.arrays(np.float32, (n, width), elements=st.floats(**SMALL, width=32)))
    swapped = draw(hnp.arrays(bool, n))
    return prompts, column, embeddings, swapped


@given(measured_pairs())
@settings(deadline=None, max_examples=100)
def test_swapping_any_pairs_flips_their_signs_and_nothing_else(case):
    prompts, column, embeddings, swapped = case
    sign = np.where(swapped, -1, 1)[:, None]
    one = features.assemble(prompts, {"x": column}, embeddings)
    other = features.assemble(prompts, {"x": sign[:, 0] * column}, sign.astype(np.float32) * embeddings)
    assert one.names == other.names
    assert one.kept == other.kept
    np.testing.assert_array_equal(other.values, sign * one.values)


def test_columns_are_the_measured_the_directions_and_the_measured_times_words():
    rng = np.random.default_rng(0)
    prompts = [f"{'painting' if i % 2 else 'sketch'} a" for i in range(9)] + ["a"]
    measured = {"sharpness": rng.normal(size=10), "similarity": rng.normal(size=10)}
    embeddings = rng.normal(size=(10, 3)).astype(np.float32)
    found = features.assemble(prompts, measured, embeddings)
    directions = [f"embedding {i}" for i in (1, 2, 3)]
    words = [f"{name} × {word}" for word in ("sketch", "painting") for name in measured]
    assert found.names == ["sharpness", "similarity", *directions, *words]
    assert found.word_shares == {"sketch": 0.5, "painting": 0.4}
    has = np.array(["painting" in p for p in prompts])
    np.testing.assert_allclose(found.values[:, -2], measured["sharpness"] * (has - 0.4))
    assert found.kept == pytest.approx(1.0)
    # A rotation keeps every distance.
    np.testing.assert_allclose((found.values[:, 2:5] ** 2).sum(axis=1), (embeddings**2).sum(axis=1), rtol=1e-5)


def test_directions_are_those_of_the_largest_second_moment_in_order():
    rng = np.random.default_rng(1)
    scales = np.array([0.1, 5.0, 0.0, 1.0, 2.0])
    points = (rng.normal(size=(5000, 5)) * scales).astype(np.float32)
    points[:, 1] += 3.0  # a mean, which is part of the second moment
    basis, kept = features.directions(points, most=3)
    np.testing.assert_allclose(np.abs(basis), np.eye(5)[:, [1, 4, 3]], atol=0.05)
    assert (basis[np.abs(basis).argmax(axis=0), range(3)] > 0).all()
    assert kept == pytest.approx(1 - 0.1**2 / (34 + 4 + 1 + 0.01), rel=1e-3)
    every, kept = features.directions(points)
    assert every.shape == (5, 4), "where nothing varies there is no direction"
    assert kept == pytest.approx(1.0)


def test_equal_embeddings_have_no_direction():
    basis, kept = features.directions(np.zeros((4, 6), dtype=np.float32))
    assert basis.shape == (6, 0)
    assert kept == 0.0


@given(prompts_, st.integers(1, 4))
def test_words_are_neither_rare_nor_common_and_nearest_to_half_first(prompts, most):
    found = features.common_words(prompts, most)
    shares = [float(has.mean()) for has in found.values()]
    assert all(0.1 <= share <= 0.9 for share in shares)
    assert len(found) <= most
    ranks = [(abs(int(2 * has.sum()) - len(prompts)), word) for word, has in found.items()]
    assert ranks == sorted(ranks)
    for word, has in found.items():
        assert has.tolist() == [word in p.split() for p in prompts]


def test_a_tenth_and_nine_tenths_are_within_bounds():
    prompts = ["often"] * 27 + ["seldom"] * 3
    assert set(features.common_words(prompts)) == {"often"}, "'seldom' says the same as 'often'"
    assert features.common_words([*prompts, "often"]) == {}
    assert set(features.common_words(["never again"] * 3 + ["again"] * 27)) == {"never"}


def test_words_that_say_the_same_are_taken_once():
    prompts = ["a photo of x", "a photo of y", "a sketch x", "a sketch y"]
    assert list(features.common_words(prompts)) == ["of", "x"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve pairs in one shard, nine of them rated."""
    write_tables(tmp_path, n=8, n_labelled=4, n_holdout=4)
    path = tmp_path / "data" / "ratings.parquet"
    tables.write(tables.read(path, tables.RATINGS).slice(0, 9), tables.RATINGS, path)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "clip"
    tiny.write(folder)
    return folder


def rows(data: Path, out: Path, **config: object) -> tuple[np.ndarray, dict]:
    stage.features(DataConfig.model_validate(config), data=data, out=out)
    table = tables.read(out / "features.parquet", tables.FEATURES)
    assert table.column("pair_id").to_pylist() == sorted(table.column("pair_id").to_pylist())
    values = np.array(table.column("features").to_pylist())
    facts = json.loads((out / "features.json").read_text())
    assert values.shape == (facts["pairs"], len(facts["names"]))
    return values, facts


def pairs_of(data: Path) -> list[dict]:
    return tables.read(data / "pairs", tables.PAIRS).to_pylist()


def rewrite(data: Path, pairs: list[dict], *, shards: int = 1) -> None:
    for old in (data / "pairs").glob("*.parquet"):
        old.unlink()
    for i in range(shards):
        part = pa.Table.from_pylist(pairs[i::shards], schema=tables.PAIRS.schema)
        tables.write(part, tables.PAIRS, data / "pairs" / f"pairs-{i}.parquet")


def test_only_rated_pairs_are_measured(data: Path, tmp_path: Path):
    values, facts = rows(data, tmp_path / "out")
    pairs = pairs_of(data)[:9]
    decoded = [[images.decode(p[f"image_{i}"]["bytes"]) for i in (0, 1)] for p in pairs]
    expected = [covariates.measure(second) - covariates.measure(first) for first, second in decoded]
    np.testing.assert_allclose(values[:, :4], expected, atol=1e-12)
    assert facts["names"][:4] == list(covariates.PROPERTIES)
    assert facts["clip_model"] is None
    assert facts["embeddings_kept"] is None
    table = tables.read(tmp_path / "out" / "features.parquet", tables.FEATURES)
    assert table.column("group").to_pylist() == [p["group"] for p in pairs]
    assert read_manifest(tmp_path / "out")["stage"] == "features"


def test_similarity_and_embeddings_are_clips(data: Path, clip: Path, tmp_path: Path):
    import torch

    from dedpo.vision.clip import load

    values, facts = rows(data, tmp_path / "out", clip_model=str(clip))
    assert facts["names"][4:6] == ["similarity", "embedding 1"]
    model = load(str(clip), "test", torch.device("cpu"))
    pairs = pairs_of(data)[:9]
    seen = [model.images([images.decode(p[f"image_{i}"]["bytes"]) for p in pairs]) for i in (0, 1)]
    difference = (seen[1] - seen[0]).double().numpy()
    texts = model.texts([p["prompt"] for p in pairs]).double().numpy()
    np.testing.assert_allclose(values[:, 4], (difference * texts).sum(axis=1), atol=1e-6)
    # 9 differences span at most 9 directions, so that nothing is lost and lengths stay.
    used = [name.startswith("embedding ") for name in facts["names"]]
    assert 1 < sum(used) <= 9
    np.testing.assert_allclose((values[:, used] ** 2).sum(axis=1), (difference**2).sum(axis=1), atol=1e-6)
    assert set(read_manifest(tmp_path / "out")["inputs"]) == {"data", "clip_model"}


@pytest.mark.parametrize("with_clip", [False, True])
def test_the_same_pairs_swapped_on_disk_have_the_opposite_features(with_clip, data, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_stage, "BATCH", 4)
    config = {"clip_model": str(clip)} if with_clip else {}
    pairs = pairs_of(data)
    pairs[0]["image_1"] = pairs[0]["image_0"]
    rewrite(data, pairs)
    before, facts = rows(data, tmp_path / "before", **config)
    swapped = np.arange(9) % 3 == 1
    for pair in [p for p, is_swapped in zip(pairs, swapped, strict=False) if is_swapped]:
        pair["image_0"], pair["image_1"] = pair["image_1"], pair["image_0"]
    rewrite(data, pairs)
    after, same = rows(data, tmp_path / "after", **config)
    assert facts == same
    np.testing.assert_array_equal(after, np.where(swapped, -1, 1)[:, None] * before)
    assert not before[0].any(), "of one image twice nothing differs"
    assert before[1:].any(axis=1).all()


def test_shards_and_batches_do_not_matter(data, clip, tmp_path, monkeypatch):
    one, _ = rows(data, tmp_path / "one", clip_model=str(clip))
    rewrite(data, pairs_of(data), shards=3)
    monkeypatch.setattr(feature_stage, "BATCH", 2)
    other, _ = rows(data, tmp_path / "other", clip_model=str(clip))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_hostile_prompts_reach_the_json_only(data: Path, tmp_path: Path):
    pairs = pairs_of(data)
    for i, pair in enumerate(pairs):
        pair["prompt"] = "<script>alert(1)</script> \x1b[31m ../../etc {{7*7}}" if i % 2 else "=cmd() " + "x" * 10_000
    rewrite(data, pairs)
    summary = stage.features(DataConfig(), data=data, out=tmp_path / "out")
    assert set(map(type, summary.values())) == {int}
    facts = json.loads((tmp_path / "out" / "features.json").read_text())
    assert facts["word_shares"], "there are words to use"
    assert all(word.isalnum() and len(word) <= 40 for word in facts["word_shares"])
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"features.parquet", "features.json", "manifest.json", "manifest.run.json"}


def test_without_a_model_torch_stays_unimported(data: Path, tmp_path: Path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom dedpo.data import stage\n"
        "from dedpo.contract.sections import DataConfig\n"
        f"stage.features(DataConfig(), data=Path({str(data)!r}), out=Path({str(tmp_path / 'out')!r}))\n"
        "print([m for m in ('torch', 'transformers', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_corrupt_shard_is_named(data: Path, tmp_path: Path):
    rewrite(data, pairs_of(data), shards=2)
    shard = data / "pairs" / "pairs-1.parquet"
    content = bytearray(shard.read_bytes())
    # The image bytes in the middle; the footer, which is read first, stays whole.
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"pairs-1\.parquet") as caught:
        stage.features(DataConfig(), data=data, out=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"no image", b"", None])
def test_a_broken_image_names_its_shard_and_pair(content: bytes | None, data: Path, tmp_path: Path):
    pairs = pairs_of(data)
    pairs[4]["image_1"]["bytes"] = content
    rewrite(data, pairs)
    with pytest.raises(UserError, match=rf"pairs-0\.parquet: pair {pairs[4]['pair_id']}: .*; import again"):
        stage.features(DataConfig(), data=data, out=tmp_path / "out")


def test_images_are_decoded_within_the_limit(data: Path, tmp_path: Path):
    with pytest.raises(UserError, match="pixels exceed the limit of 100"):
        stage.features(DataConfig(max_pixels=100), data=data, out=tmp_path / "out")


def test_a_rated_pair_that_is_not_there_is_named(data: Path, tmp_path: Path):
    pairs = pairs_of(data)
    rewrite(data, pairs[1:])
    with pytest.raises(UserError, match=f"pair {pairs[0]['pair_id']} is rated in .* but not there"):
        stage.features(DataConfig(), data=data, out=tmp_path / "out")


def test_without_ratings_there_is_nothing_to_measure(data: Path, tmp_path: Path):
    path = data / "ratings.parquet"
    tables.write(tables.read(path, tables.RATINGS).slice(0, 0), tables.RATINGS, path)
    with pytest.raises(UserError, match="no pair has a human rating"):
        stage.features(DataConfig(), data=data, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "nothing is there"),
        ("/no/such/folder", "nothing is there"),
        ("no/folder", "no CLIPModel could be loaded .*hf download no/folder"),
    ],
)
def test_a_model_that_cannot_be_had_names_the_setting(name: str, message: str, data: Path, tmp_path: Path):
    with pytest.raises(UserError, match=rf"^data\.clip_model: {name}: {message}"):
        stage.features(DataConfig(clip_model=name), data=data, out=tmp_path / "out")


def test_a_model_without_finite_embeddings_is_refused(data: Path, tmp_path: Path):
    import torch

    model = tiny.write(tmp_path / "clip")
    with torch.no_grad():
        model.visual_projection.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path / "clip")
    with pytest.raises(UserError, match=r"^data\.clip_model: .*no finite embedding of an image in .*pairs-0\.parquet"):
        stage.features(DataConfig(clip_model=str(tmp_path / "clip")), data=data, out=tmp_path / "out")


def test_an_image_pairs_order_does_not_depend_on_which_image_is_image_0(data: Path):
    pairs = pairs_of(data)
    pairs[0]["image_1"] = pairs[0]["image_0"]
    rewrite(data, pairs)
    ids = pa.chunked_array([[p["pair_id"] for p in pairs]])
    (before,) = imported.image_pairs(data / "pairs", ids, 100)
    for pair in pairs:
        pair["image_0"], pair["image_1"] = pair["image_1"], pair["image_0"]
    rewrite(data, pairs)
    (after,) = imported.image_pairs(data / "pairs", ids, 100)
    assert [t.images for t in before] == [t.images for t in after]
    assert [t.sign for t in before] == [-t.sign for t in after]
    assert before[0].sign == 0, "one file twice"
    assert {abs(t.sign) for t in before[1:]} == {1}
