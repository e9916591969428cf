"""Scoring a folder of samples against the world's real oracle server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dedpo import images, tables
from dedpo.config import ScoreConfig
from dedpo.errors import UserError
from dedpo.score import stage
from dedpo.world import oracle, prompts
from dedpo.world.render import Images, render
from dedpo.world.serve import listening
from dedpo.world.server import app

MODELS = ("reference", "dedpo-0")
ASKED = prompts.prompts_of("validation")[:35]


def pictures(model: str) -> Images:
    return render(ASKED, np.random.default_rng(MODELS.index(model)))


def sample(model: str, i: int, image: bytes | None = None) -> dict[str, Any]:
    data = images.encode_png(Image.fromarray(pictures(model)[i])) if image is None else image
    return {
        "model": model,
        "prompt_id": f"{99 - i}",
        "seed": 0,
        "prompt": ASKED[i].text,
        "image": {"bytes": data, "path": None},
    }


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    tables.write(pa.Table.from_pylist(rows, schema=tables.SAMPLES.schema), tables.SAMPLES, folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with listening(app()) as url:
        yield url


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    for model in MODELS:
        write(tmp_path / "samples", model, [sample(model, i) for i in range(len(ASKED))])
    return tmp_path / "samples"


def test_every_sample_has_both_metrics_in_the_keys_order(url: str, samples: Path, tmp_path: Path) -> None:
    summary = stage.run(ScoreConfig(oracle_url=url, concurrency=3), samples=samples, out=tmp_path / "scores")
    rows = tables.read(tmp_path / "scores" / "scores.parquet", tables.SCORES).to_pylist()
    keys = [(r["model"], r["prompt_id"], r["seed"], r["metric"]) for r in rows]
    assert keys == sorted(keys)
    assert len(rows) == 2 * 2 * len(ASKED)
    values = dict(zip(keys, (r["value"] for r in rows), strict=True))
    for model in MODELS:
        shown = pictures(model)
        liked, adherence = oracle.human_reward(ASKED, shown), oracle.measure(ASKED, shown)["adherence"]
        for i in range(len(ASKED)):
            assert values[model, f"{99 - i}", 0, "human_oracle"] == pytest.approx(liked[i])
            assert values[model, f"{99 - i}", 0, "adherence"] == pytest.approx(adherence[i])
        expected = {"human_oracle": pytest.approx(liked.mean()), "adherence": pytest.approx(adherence.mean())}
        assert summary["means"][model] == expected
    assert summary["samples"] == 2 * len(ASKED)
    assert json.loads((tmp_path / "scores" / "summary.json").read_text()) == summary


def test_concurrency_and_shards_do_not_change_a_bit(url: str, samples: Path, tmp_path: Path) -> None:
    write(tmp_path / "one", "all", [sample(m, i) for i in range(len(ASKED)) for m in reversed(MODELS)])
    first = stage.run(ScoreConfig(oracle_url=url, concurrency=1), samples=samples, out=tmp_path / "a")
    second = stage.run(ScoreConfig(oracle_url=url, concurrency=8), samples=tmp_path / "one", out=tmp_path / "b")
    assert first == second
    assert (tmp_path / "a/scores.parquet").read_bytes() == (tmp_path / "b/scores.parquet").read_bytes()


def test_the_oracle_may_come_from_the_environment(
    url: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEDPO_ORACLE_URL", url)
    assert stage.run(ScoreConfig(), samples=samples, out=tmp_path / "scores")["samples"] == 2 * len(ASKED)


def test_an_unreachable_oracle_leaves_nothing_that_looks_finished(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dedpo.score.oracle.FIRST_PAUSE", 0.01)
    with listening(app()) as gone:
        pass
    with pytest.raises(UserError, match=rf"{gone}: the oracle cannot be reached"):
        stage.run(ScoreConfig(oracle_url=gone), samples=samples, out=tmp_path / "scores")
    assert not (tmp_path / "scores").exists()


def test_a_sample_without_a_picture_is_named(url: str, tmp_path: Path) -> None:
    write(tmp_path / "samples", "0", [sample("reference", 0), sample("reference", 1, image=b"")])
    with pytest.raises(UserError, match="the image of model 'reference', prompt 98, seed 0 is not a PNG"):
        stage.run(ScoreConfig(oracle_url=url), samples=tmp_path / "samples", out=tmp_path / "scores")


def test_missing_samples_say_what_to_run(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the stage that writes it first"):
        stage.run(ScoreConfig(oracle_url=url), samples=tmp_path / "none", out=tmp_path / "scores")
