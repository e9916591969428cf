"""The cache: what it holds is what the encoders say, and nothing is encoded twice, whoever is killed."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from dedpo.contract import tables
from dedpo.errors import UserError
from dedpo.train import backbone, cache_entry
from dedpo.train.cache import Cache, open_or_build
from dedpo.train.encoding import Encoder
from dedpo.vision import diffusion

SIDE = 16
LONG = "red " * 40


@pytest.fixture(scope="module")
def pipeline(sd: Path) -> Any:
    return diffusion.load(str(sd), "here")


def _image(seed: int, size: tuple[int, int] = (20, 16)) -> Image.Image:
    array = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(array)


def _bytes(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def _write_shard(pairs: Path, number: int, prompts: list[str], *first_images: bytes) -> list[str]:
    """A shard of len(prompts) pairs named a, b, … and its number; returns the pair ids."""
    ids = [f"{letter}{number}" for letter, _ in zip("abcdefgh", prompts, strict=False)]
    made = [[_bytes(_image(100 * number + 2 * i + k)) for i in range(len(prompts))] for k in (0, 1)]
    made[0][: len(first_images)] = first_images
    columns = {"pair_id": ids, "prompt": prompts, "group": prompts, "source": ["test"] * len(ids)}
    columns |= {f"image_{k}": [{"bytes": data, "path": None} for data in made[k]] for k in (0, 1)}
    tables.write(pa.table(columns), tables.PAIRS, pairs / f"pairs-{number}.parquet")
    return ids


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three shards of two pairs."""
    for number in range(3):
        _write_shard(tmp_path / "pairs", number, ["a red circle", f"a blue square on {number}"])
    return tmp_path / "pairs"


def _open(pairs: Path, pipeline: Any, **settings: Any) -> Cache:
    return open_or_build(pairs.parent / "cache", pairs, pipeline, SIDE, 10**6, **settings)


def _row(pairs: Path, pair_id: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = tables.read(pairs, tables.PAIRS).to_pylist()
    return next(row for row in rows if row["pair_id"] == pair_id)


def _pixels(pairs: Path, pair_id: str) -> torch.Tensor:
    row = _row(pairs, pair_id)
    opened = [Image.open(io.BytesIO(row[c]["bytes"])).convert("RGB") for c in ("image_0", "image_1")]
    return torch.stack([backbone.pixels(image, SIDE) for image in opened])


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_what_is_cached_is_what_the_encoders_say(kind: str, pairs: Path, request: pytest.FixtureRequest) -> None:
    pipeline = diffusion.load(str(request.getfixturevalue(kind)), "here")
    cache = _open(pairs, pipeline)
    ids = ["b2", "a0", "b2"]
    moments, conditioning = cache.batch(ids, [False] * 3)
    assert moments.shape == (3, 2, 2, *cache.latent_shape) == (3, 2, 2, 4, 8, 8)
    for i, pair in enumerate(ids):
        alone = backbone.encode_images(pipeline, _pixels(pairs, pair)).numpy()
        # The size of an encoder's batch may change the last bits.
        np.testing.assert_allclose(moments[i], alone, rtol=1e-4, atol=1e-6)
        text, pooled = backbone.encode_prompts(pipeline, [_row(pairs, pair)["prompt"]])
        torch.testing.assert_close(conditioning.text[i], text[0], rtol=1e-4, atol=1e-5)
        if kind == "sdxl":
            assert conditioning.pooled is not None
            assert pooled is not None
            torch.testing.assert_close(conditioning.pooled[i], pooled[0], rtol=1e-4, atol=1e-5)
        else:
            assert conditioning.pooled is pooled is None
    assert conditioning.resolution == SIDE


def test_both_flips_are_there_where_they_are_wanted(pairs: Path, pipeline: Any) -> None:
    plain, cache = _open(pairs, pipeline), _open(pairs, pipeline, flip=True)
    assert plain.folder != cache.folder
    moments, _ = cache.batch(["a1", "a1"], [False, True])
    np.testing.assert_array_equal(moments[0], plain.batch(["a1"], [False])[0][0])
    mirrored = backbone.encode_images(pipeline, _pixels(pairs, "a1").flip(-1)).numpy()
    np.testing.assert_allclose(moments[1], mirrored, rtol=1e-4, atol=1e-6)
    assert np.abs(moments[1] - moments[0]).max() > 0.01
    assert plain.latent_shape == cache.latent_shape


def test_a_second_opening_encodes_nothing(pairs: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _open(pairs, pipeline)
    monkeypatch.setattr(Encoder, "pairs", _never)
    monkeypatch.setattr(Encoder, "prompts", _never)
    # Nor does it write: a lab may share its cache read-only.
    monkeypatch.setattr(cache_entry, "claimed", _never)
    again = _open(pairs, pipeline)
    assert again.row == first.row
    np.testing.assert_array_equal(again.batch(["a0"], [False])[0], first.batch(["a0"], [False])[0])


def _never(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("this work was done already")


def test_an_appended_shard_is_all_that_is_encoded(pairs: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in _open(pairs, pipeline).folder.rglob("*.npy")}
    encoded: list[str] = []
    monkeypatch.setattr(Encoder, "pairs", _noting(encoded.append))
    _write_shard(pairs, 7, ["a new one"])
    cache = _open(pairs, pipeline)
    assert encoded == ["a7"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert set(cache.row) == {"a0", "b0", "a1", "b1", "a2", "b2", "a7"}


def _noting(note: Callable[[str], None]) -> Callable[[Encoder, pa.Table], Iterator[Any]]:
    """Encoder.pairs that calls `note` with a shard's first pair."""
    encode = Encoder.pairs

    def pairs(self: Encoder, table: pa.Table) -> Iterator[Any]:
        note(table.column("pair_id")[0].as_py())
        return encode(self, table)

    return pairs


def test_a_build_that_is_killed_goes_on_at_the_next_shard(
    pairs: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(pair: str) -> None:
        if pair == "a1":
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "pairs", _noting(die))
        assert _in_child(lambda: _open(pairs, pipeline)) == -signal.SIGKILL
    folder = next((pairs.parent / "cache").iterdir())
    assert len(list(folder.glob(".*.tmp"))) == 1, "it died at work"
    encoded: list[str] = []
    monkeypatch.setattr(Encoder, "pairs", _noting(encoded.append))
    cache = _open(pairs, pipeline)
    assert encoded == ["a1", "a2"]
    assert len(cache.row) == 6
    assert sorted(p.name for p in folder.iterdir()) == sorted(e.name for e in cache.entries), "nothing is left about"


def test_two_processes_share_the_work(pairs: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log = pairs.parent / "log"

    def note(pair: str) -> None:
        with log.open("a") as file:
            file.write(f"{pair}\n")

    monkeypatch.setattr(Encoder, "pairs", _noting(note))
    children = [_start(lambda: _open(pairs, pipeline)) for _ in range(2)]
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert sorted(log.read_text().split()) == ["a0", "a1", "a2"]


def _start(work: Callable[[], object]) -> multiprocessing.Process:
    child: multiprocessing.Process = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    return child


def _in_child(work: Callable[[], object]) -> int | None:
    child = _start(work)
    child.join()
    return child.exitcode


def test_other_weights_resolutions_and_limits_never_meet(pairs: Path, sd: Path, pipeline: Any) -> None:
    first = _open(pairs, pipeline).folder
    assert open_or_build(first.parent, pairs, pipeline, 32, 10**6).folder != first
    assert open_or_build(first.parent, pairs, pipeline, SIDE, 10**5).folder != first
    for name in ("vae", "text_encoder"):
        other = diffusion.load(str(sd), "here")
        with torch.no_grad():
            next(getattr(other, name).parameters()).view(-1)[0] += 1e-3
        assert _open(pairs, other).folder != first
    other = diffusion.load(str(sd), "here")
    other.vae.register_to_config(scaling_factor=0.51)
    assert _open(pairs, other).folder != first


def test_the_same_weights_in_another_folder_share_the_cache(pairs: Path, sd: Path, pipeline: Any) -> None:
    shutil.copytree(sd, pairs.parent / "copy")
    again = diffusion.load(str(pairs.parent / "copy"), "here")
    with torch.no_grad():
        next(again.unet.parameters()).add_(1)
    assert _open(pairs, again).folder == _open(pairs, pipeline).folder


@pytest.mark.parametrize("damage", ["short", "garbage", "missing", "stranger"])
def test_a_damaged_entry_is_made_again(damage: str, pairs: Path, pipeline: Any) -> None:
    cache = _open(pairs, pipeline)
    expected = {pair: cache.batch([pair], [False])[0] for pair in cache.row}
    kept, damaged = (cache.folder / cache.entries[i].name for i in (0, 1))
    del cache
    os.utime(kept / "latents.npy", (1, 1))
    file = damaged / {"short": "latents.npy", "missing": "text.npy"}.get(damage, "index.json")
    if damage == "missing":
        file.unlink()
    elif damage == "short":
        os.truncate(file, file.stat().st_size - 1)
    else:
        file.write_text("{" if damage == "garbage" else '{"rows": []}')
    again = _open(pairs, pipeline)
    for pair, moments in expected.items():
        np.testing.assert_array_equal(again.batch([pair], [False])[0], moments)
    assert (kept / "latents.npy").stat().st_mtime == 1


def test_pairs_that_cannot_be_decoded_are_set_aside_with_the_reason(tmp_path: Path, pipeline: Any) -> None:
    whole = _bytes(_image(1))
    broken = {
        "truncated": whole[: len(whole) // 2],
        "not an image": b"GIF?",
        "16-bit": _bytes(Image.fromarray(np.full((16, 16), 40_000, dtype=np.uint16))),
        "too large": _bytes(Image.new("L", (1001, 1000))),
    }
    prompts = [*broken, "cmyk", "animated", "transparent", "fine"]
    frames = [_image(2, (16, 16)), _image(3, (16, 16))]
    odd = [
        _bytes(_image(4).convert("CMYK"), "JPEG"),
        _bytes(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        _bytes(Image.new("RGBA", (16, 16), (0, 0, 0, 0))),
    ]
    ids = dict(zip(prompts, _write_shard(tmp_path / "pairs", 0, prompts, *broken.values(), *odd), strict=True))
    cache = _open(tmp_path / "pairs", pipeline)
    reasons = {name: cache.set_aside[ids[name]] for name in broken}
    assert reasons["truncated"].startswith("image_0: broken image (")
    assert reasons["not an image"] == "image_0: not a PNG, JPEG, WebP, GIF or BMP image"
    assert "more than 8 bits a channel" in reasons["16-bit"]
    assert reasons["too large"] == "image_0: 1001×1000 pixels exceed the limit of 1,000,000"
    assert set(cache.row) == set(cache.caption) == {ids[n] for n in ("cmyk", "animated", "transparent", "fine")}
    for name in ("cmyk", "fine"):
        alone = backbone.encode_images(pipeline, _pixels(tmp_path / "pairs", ids[name])).numpy()
        np.testing.assert_allclose(cache.batch([ids[name]], [False])[0][0], alone, rtol=1e-4, atol=1e-6)
    white = backbone.encode_images(pipeline, torch.ones(1, 3, SIDE, SIDE)).numpy()
    np.testing.assert_allclose(cache.batch([ids["transparent"]], [False])[0][0, 0], white[0], rtol=1e-4, atol=1e-6)


def test_nothing_to_decode_is_an_error(tmp_path: Path, pipeline: Any) -> None:
    _write_shard(tmp_path / "pairs", 0, ["a"], b"none")
    with pytest.raises(UserError, match=r"none of 1 pairs can be decoded \(pair a0: image_0: not a PNG"):
        _open(tmp_path / "pairs", pipeline)


def test_more_pairs_than_a_batch_keep_their_order(
    tmp_path: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dedpo.train.encoding.MOST_IMAGES", 2)
    monkeypatch.setattr("dedpo.train.encoding.MOST_PROMPTS", 2)
    prompts = ["red", "green", "red", "blue", "navy"]
    ids = _write_shard(tmp_path / "pairs", 0, prompts, _bytes(_image(0)), b"broken")
    cache = _open(tmp_path / "pairs", pipeline)
    assert list(cache.set_aside) == [ids[1]]
    for pair, prompt in [(p, q) for p, q in zip(ids, prompts, strict=True) if p != ids[1]]:
        moments, conditioning = cache.batch([pair], [False])
        alone = backbone.encode_images(pipeline, _pixels(tmp_path / "pairs", pair)).numpy()
        np.testing.assert_allclose(moments[0], alone, rtol=1e-4, atol=1e-6)
        text = backbone.encode_prompts(pipeline, [prompt])[0]
        torch.testing.assert_close(conditioning.text, text, rtol=1e-4, atol=1e-5)


def test_prompts_beyond_the_limit_are_counted_once(tmp_path: Path, pipeline: Any) -> None:
    for number in (0, 1):
        _write_shard(tmp_path / "pairs", number, [LONG, "short", LONG])
    cache = _open(tmp_path / "pairs", pipeline)
    assert cache.cut == 1
    assert _open(tmp_path / "pairs", pipeline).cut == 1


def test_too_little_disk_is_said_before_anything_is_encoded(
    pairs: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 6 pairs × 2 images × (mean, deviation) × 4·8·8 numbers; 3 × (the empty and 2 prompts) of 16 tokens × 16 numbers.
    need = 4 * (6 * 2 * 2 * 256 + 3 * 3 * 256)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=need - 1))
    monkeypatch.setattr(Encoder, "pairs", _never)
    with pytest.raises(UserError, match=r"cache: the encodings of 6 pairs take 3.38e-05 GB and 3.38e-05 GB are free"):
        _open(pairs, pipeline)
    monkeypatch.undo()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=need))
    built = _open(pairs, pipeline).folder
    assert need < sum(path.stat().st_size for path in built.rglob("*.npy")) < need + 9 * 200, "but for the headers"


def test_a_resolution_that_the_vae_cannot_halve_is_refused(pairs: Path, pipeline: Any) -> None:
    with pytest.raises(UserError, match="train.resolution: 17 is no multiple of 2"):
        open_or_build(pairs.parent / "cache", pairs, pipeline, 17, 10**6)


def test_a_shard_that_its_manifest_names_is_not_read_again(
    pairs: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = {f"pairs/{p.name}": hashlib.sha256(p.read_bytes()).hexdigest() for p in pairs.iterdir()}
    (pairs.parent / "manifest.json").write_text(json.dumps({"outputs": hashes}))
    first = _open(pairs, pipeline)
    monkeypatch.setattr("dedpo.outputs.hashes.sha256", _never)
    assert _open(pairs, pipeline).row == first.row
