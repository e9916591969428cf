"""Labelling in parts against labelling in one go: the same bytes, and every way in which parts may not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response

from dedpo.contract import tables
from dedpo.errors import UserError
from dedpo.label import stage
from dedpo.outputs.manifest import fingerprint, read_manifest
from dedpo.world.serve import listening
from dedpo.world.server import app
from tests.label.test_stage import N, drawn, looks, png, says, scripted, settings


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five shards of eight pairs, whose ids are not in the shards' order."""
    folder = tmp_path_factory.mktemp("world") / "pairs"
    rows = [
        {"pair_id": f"{99 - i:02d}", "prompt": p.text, "image_0": png(x), "image_1": png(y), "group": "", "source": "w"}
        for i, (p, x, y) in enumerate(zip(*drawn(), strict=True))
    ]
    for start in range(0, N, 8):
        table = pa.Table.from_pylist(rows[start : start + 8], schema=tables.PAIRS.schema)
        tables.write(table, tables.PAIRS, folder / f"{start:02d}.parquet")
    return folder


@pytest.fixture(scope="module")
def world() -> Iterator[str]:
    with listening(app()) as url:
        yield f"{url}/v1"


def in_parts(url: str, pairs: Path, folder: Path, most: int = 3, **changes: Any) -> list[Path]:
    parts = []
    for i, names in enumerate(stage.shards(pairs, most)):
        stage.run(settings(url, **changes), pairs=pairs, out=folder / f"part-{i}", shards=names)
        parts.append(folder / f"part-{i}")
    return parts


def test_parts_together_are_the_same_bytes(world: str, pairs: Path, tmp_path: Path) -> None:
    whole = stage.run(settings(world), pairs=pairs, out=tmp_path / "whole")
    parts = in_parts(world, pairs, tmp_path)
    assert sorted(tables.count_rows(p / "labels.parquet") for p in parts) == [8, 16, 16]
    assert read_manifest(parts[2])["config"]["shards"] == stage.shards(pairs, 3)[2]
    merged = stage.merge(settings(world), parts=parts[::-1], pairs=pairs, out=tmp_path / "merged")
    assert merged == whole
    for name in ("labels.parquet", "summary.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    one, other = (read_manifest(tmp_path / name) for name in ("merged", "whole"))
    for key in ("stage", "config", "outputs"):
        assert one[key] == other[key]
    assert one["inputs"] == other["inputs"] | {f"part {i}": fingerprint(p) for i, p in enumerate(parts[::-1])}


def test_a_part_asks_about_its_own_pairs_only(pairs: Path, tmp_path: Path) -> None:
    asked = []

    def answer(n: int, _: str) -> None:
        asked.append(n)

    with scripted(answer) as url:
        stage.run(settings(url), pairs=pairs, out=tmp_path / "part", shards=["08.parquet"])
    assert len(asked) == 16


def test_failures_are_allowed_over_all_pairs_and_not_over_a_part(pairs: Path, tmp_path: Path) -> None:
    odd = {p.text for p in drawn()[0][:2]}
    assert sum(p.text in odd for p in drawn()[0]) == 2, "both in the first shard"

    def answer(_: int, prompt: str) -> Response | None:
        return says("?") if prompt in odd else None

    with scripted(answer) as url:
        parts = in_parts(url, pairs, tmp_path, 5, max_failures=0.05)
        found = stage.merge(settings(url, max_failures=0.05), parts=parts, pairs=pairs, out=tmp_path / "all")
        assert found["annotators"][0]["failures"] == {"no answer among A, B": 4}
        with pytest.raises(
            UserError, match=r"2 of 40 pairs got no answer of .biased-vlm. \(label.max_failures allows 4.0%\).*\(4×\)"
        ):
            stage.merge(settings(url, max_failures=0.04), parts=parts, pairs=pairs, out=tmp_path / "few")
        strict = settings(url, max_failures=0.04)
        with pytest.raises(UserError, match=r"2 of 40 pairs got no answer"):
            stage.run(strict, pairs=pairs, out=tmp_path / "own", shards=["00.parquet"])
    assert not (tmp_path / "few").exists()


def test_parts_that_do_not_fit_are_refused(pairs: Path, tmp_path: Path) -> None:
    with scripted(looks) as url:
        config = settings(url)
        parts = in_parts(url, pairs, tmp_path)
        stage.run(settings(url, model="other"), pairs=pairs, out=tmp_path / "other", shards=["00.parquet"])
    out = tmp_path / "out"
    for wrong, message in [
        (parts[:2], r"\d+ of 40 pairs are in no part, such as \d\d"),
        ([*parts, parts[0]], "is in two parts"),
        ([*parts[1:], tmp_path / "other"], "annotator is 'other' and not 'biased-vlm'"),
        ([*parts, tmp_path / "nowhere"], "nowhere"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            stage.merge(config, parts=wrong, pairs=pairs, out=out)
        assert "\n" not in str(caught.value)
        assert not out.exists()
    few = tmp_path / "few"
    few.mkdir()
    (few / "00.parquet").write_bytes((pairs / "00.parquet").read_bytes())
    with pytest.raises(UserError, match="is not among the pairs"):
        stage.merge(config, parts=parts, pairs=few, out=out)
    (parts[0] / "summary.json").write_text("{")
    with pytest.raises(UserError, match=r"summary.json: cannot be read"):
        stage.merge(config, parts=parts, pairs=pairs, out=out)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.parquet"], "has no '1.parquet'; the nearest name is"),
        (["../pairs/00.parquet"], "has no '../pairs/00.parquet'; the nearest name is 00.parquet"),
        ([], "none is named"),
    ],
)
def test_unknown_shards_are_refused(names: list[str], message: str, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        stage.run(settings("http://127.0.0.1:9/v1"), pairs=pairs, out=tmp_path / "out", shards=names)


def test_a_pair_in_two_shards_is_refused(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    for name in ("a", "b"):
        (tmp_path / "pairs" / f"{name}.parquet").write_bytes((pairs / "00.parquet").read_bytes())
    with pytest.raises(UserError, match="is there twice"):
        stage.run(settings("http://127.0.0.1:9/v1"), pairs=tmp_path / "pairs", out=tmp_path / "out")


@given(sizes=st.lists(st.integers(1, 1000), min_size=1, max_size=30), most=st.integers(1, 12))
def test_lists_are_balanced_and_hold_each_shard_once(
    sizes: list[int], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    by_name = {f"{i:02d}.parquet": size for i, size in enumerate(sizes)}
    for name, size in by_name.items():
        (folder / name).write_bytes(bytes(size))
    lists = stage.shards(folder, most)
    assert sorted(name for names in lists for name in names) == sorted(by_name)
    assert len(lists) == min(most, len(sizes))
    assert all(lists)
    loads = [sum(by_name[name] for name in names) for names in lists]
    # The largest-first rule is never worse than 4/3 of the best (Graham 1969); this bound on the best is easy.
    assert max(loads) <= 4 / 3 * max(sum(sizes) / len(lists) + max(sizes), max(sizes))
    assert lists == stage.shards(folder, most)
    json.dumps(lists)


def test_no_list_at_all_is_refused(pairs: Path) -> None:
    with pytest.raises(UserError, match="0 lists cannot be made"):
        stage.shards(pairs, 0)


def test_answers_of_a_broken_endpoint_are_not_taken(pairs: Path, tmp_path: Path) -> None:
    with scripted(lambda *_: JSONResponse({"choices": []})) as url, pytest.raises(UserError, match="given up after"):
        stage.run(settings(url), pairs=pairs, out=tmp_path / "part", shards=["00.parquet", "08.parquet"])
