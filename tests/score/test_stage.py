"""Scoring a folder of samples against the world's real oracle server and with its tiny CLIP."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from dedpo.asking.answers import log_folder
from dedpo.contract import tables
from dedpo.contract.sections import ScoreConfig
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest
from dedpo.score import stage
from dedpo.score.local import LocalScorer
from dedpo.vision import images
from dedpo.world import oracle, prompts
from dedpo.world.render import SIZE, Images, render
from dedpo.world.serve import listening
from dedpo.world.server import app
from tests import tiny_clip as tiny
from tests.fixtures import BASE

MODELS = ("reference", "dedpo-0")
ASKED = prompts.prompts_of("validation")[:35]
ASKED_OF_ORACLE = ["human_oracle", "adherence"]
CLIP = str(BASE.parent / "shapes-clip")


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
    summary = stage.run(
        ScoreConfig(metrics=ASKED_OF_ORACLE, oracle_url=url, concurrency=3), samples=samples, out=tmp_path / "scores"
    )
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
    written = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert summary == written | {"measured": 4 * len(ASKED), "carried_over": 0}


def test_concurrency_and_shards_do_not_change_a_bit(url: str, samples: Path, tmp_path: Path) -> None:
    write(tmp_path / "one", "all", [sample(m, i) for i in range(len(ASKED)) for m in reversed(MODELS)])
    first = stage.run(
        ScoreConfig(metrics=ASKED_OF_ORACLE, oracle_url=url, concurrency=1), samples=samples, out=tmp_path / "a"
    )
    second = stage.run(
        ScoreConfig(metrics=ASKED_OF_ORACLE, oracle_url=url, concurrency=8),
        samples=tmp_path / "one",
        out=tmp_path / "b",
    )
    assert first == second
    assert (tmp_path / "a/scores.parquet").read_bytes() == (tmp_path / "b/scores.parquet").read_bytes()


def test_the_oracle_may_come_from_the_environment(
    url: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEDPO_ORACLE_URL", url)
    assert stage.run(ScoreConfig(metrics=ASKED_OF_ORACLE), samples=samples, out=tmp_path / "scores")[
        "samples"
    ] == 2 * len(ASKED)


def test_an_unreachable_oracle_leaves_nothing_that_looks_finished(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dedpo.score.oracle.FIRST_PAUSE", 0.01)
    with listening(app()) as gone:
        pass
    with pytest.raises(UserError, match=rf"{gone}: the oracle cannot be reached"):
        stage.run(ScoreConfig(metrics=ASKED_OF_ORACLE, oracle_url=gone), samples=samples, out=tmp_path / "scores")
    assert not (tmp_path / "scores").exists()


def test_a_sample_without_a_picture_is_named(url: str, tmp_path: Path) -> None:
    write(tmp_path / "samples", "0", [sample("reference", 0), sample("reference", 1, image=b"")])
    with pytest.raises(UserError, match="the image of model 'reference', prompt 98, seed 0 is not a PNG"):
        stage.run(
            ScoreConfig(metrics=ASKED_OF_ORACLE, oracle_url=url), samples=tmp_path / "samples", out=tmp_path / "scores"
        )


def test_missing_samples_say_what_to_run(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the stage that writes it first"):
        stage.run(
            ScoreConfig(metrics=ASKED_OF_ORACLE, oracle_url=url), samples=tmp_path / "none", out=tmp_path / "scores"
        )


def everything(url: str | None, clip: str = CLIP) -> ScoreConfig:
    """The demo's four metrics."""
    return ScoreConfig(
        metrics=["human_oracle", "adherence", "clipscore", "pickscore"],
        oracle_url=url, clipscore_model=clip, pickscore_model=clip, pickscore_processor=clip,
    )  # fmt: skip


def values(out: Path) -> dict[tuple[Any, ...], float]:
    rows = tables.read(out / "scores.parquet", tables.SCORES).to_pylist()
    return {(r["metric"], r["model"], r["prompt_id"], r["seed"]): r["value"] for r in rows}


def test_local_metrics_stand_beside_the_oracles(url: str, samples: Path, tmp_path: Path) -> None:
    summary = stage.run(everything(url), samples=samples, out=tmp_path / "a")
    found = values(tmp_path / "a")
    assert len(found) == 4 * 2 * len(ASKED)
    assert set(summary["means"]["reference"]) == {"human_oracle", "adherence", "clipscore", "pickscore"}
    # Through one model the two differ by a factor, but for clipscore's floor.
    scale = {k[1:]: found["pickscore", *k[1:]] / v for k, v in found.items() if k[0] == "clipscore" and v > 1}
    assert max(scale.values()) == pytest.approx(min(scale.values()), rel=1e-4)
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert set(manifest["inputs"]) == {"samples", CLIP}
    assert not list((tmp_path / "a").glob(".*"))
    stage.run(everything(url), samples=samples, out=tmp_path / "b")
    assert (tmp_path / "a/scores.parquet").read_bytes() == (tmp_path / "b/scores.parquet").read_bytes()


def test_without_oracle_metrics_no_oracle_is_needed(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEDPO_ORACLE_URL", raising=False)
    config = ScoreConfig(metrics=["clipscore"], clipscore_model=CLIP, batch_size=9)
    stage.run(config, samples=samples, out=tmp_path / "a")
    found = values(tmp_path / "a")
    assert {k[0] for k in found} == {"clipscore"}
    write(tmp_path / "one", "all", [sample(m, i) for i in range(len(ASKED)) for m in reversed(MODELS)])
    stage.run(config, samples=tmp_path / "one", out=tmp_path / "b")
    assert values(tmp_path / "b") == pytest.approx(found, abs=1e-3)


def test_one_oracle_metric_alone(url: str, samples: Path, tmp_path: Path) -> None:
    stage.run(ScoreConfig(metrics=["adherence"], oracle_url=url), samples=samples, out=tmp_path / "scores")
    assert {k[0] for k in values(tmp_path / "scores")} == {"adherence"}


def test_an_interrupted_run_keeps_the_metrics_that_were_through(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "scores"
    with listening(app()) as url:
        with monkeypatch.context() as patch:
            patch.setattr("dedpo.score.local.LocalScorer.score", stop)
            with pytest.raises(KeyboardInterrupt):
                stage.run(everything(url), samples=samples, out=out)
        quiet = stage.run(everything(url), samples=samples, out=tmp_path / "quiet")
    # The oracle is gone, and is not asked again.
    resumed = stage.run(everything(url), samples=samples, out=out)
    assert resumed == quiet | {"measured": 4 * len(ASKED), "carried_over": 4 * len(ASKED)}
    assert (out / "scores.parquet").read_bytes() == (tmp_path / "quiet" / "scores.parquet").read_bytes()


def test_a_value_that_is_no_number_names_its_sample(samples: Path, tmp_path: Path) -> None:
    tiny.write(tmp_path / "clip", log_scale=1000.0)
    config = ScoreConfig(
        metrics=["pickscore"], pickscore_model=str(tmp_path / "clip"), pickscore_processor=str(tmp_path / "clip")
    )
    with pytest.raises(
        UserError, match=r"^score.pickscore_model: .*'pickscore' of model 'dedpo-0', prompt 99 .*, seed 0 is -?inf"
    ):
        stage.run(config, samples=samples, out=tmp_path / "scores")
    assert not (tmp_path / "scores").exists()


def test_a_broken_picture_is_named_by_local_metrics_too(tmp_path: Path) -> None:
    write(tmp_path / "samples", "0", [sample("reference", 0), sample("reference", 1, image=b"nothing")])
    config = ScoreConfig(metrics=["clipscore"], clipscore_model=CLIP)
    with pytest.raises(UserError, match="the image of model 'reference', prompt 98, seed 0 is not a PNG"):
        stage.run(config, samples=tmp_path / "samples", out=tmp_path / "scores")


def test_a_sample_beyond_the_limit_is_named_and_one_within_it_is_scored(samples: Path, tmp_path: Path) -> None:
    config = ScoreConfig(metrics=["clipscore"], clipscore_model=CLIP)
    with pytest.raises(UserError, match="exceed the limit of 10"):
        stage.run(config, samples=samples, out=tmp_path / "scores", max_pixels=10)
    stage.run(config, samples=samples, out=tmp_path / "scores", max_pixels=SIZE**2)


def test_missing_weights_are_found_before_the_oracle_is_asked(samples: Path, tmp_path: Path) -> None:
    config = everything("http://127.0.0.1:9", clip=str(tmp_path / "none"))
    with pytest.raises(UserError, match="^score.clipscore_model: .*none: nothing is there"):
        stage.run(config, samples=samples, out=tmp_path / "scores")


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of a local model got."""
    found: list[int] = []
    score = LocalScorer.score

    def noted(self: LocalScorer, pictures: Any, prompts: Any) -> Any:
        found.append(len(pictures))
        return score(self, pictures, prompts)

    monkeypatch.setattr(LocalScorer, "score", noted)
    return found


@pytest.mark.parametrize("is_clone", [False, True])
def test_one_model_more_is_scored_alone(
    url: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_clone: bool
) -> None:
    out = tmp_path / "scores"
    stage.run(everything(url), samples=samples, out=out)
    if is_clone:
        shutil.rmtree(log_folder(out))
    write(samples, "sft-0", [sample("dedpo-0", i) | {"model": "sft-0"} for i in range(5)])
    new = render(ASKED, np.random.default_rng(9))
    rows = [sample("x", i, images.encode_png(Image.fromarray(new[i]))) for i in range(len(ASKED))]
    write(samples, "x", rows)
    calls = counted(monkeypatch)
    found = stage.run(everything(url), samples=samples, out=out)
    # The pictures of sft-0 are those of dedpo-0.
    assert (found["measured"], found["carried_over"]) == (4 * len(ASKED), 4 * (2 * len(ASKED) + 5))
    assert sum(calls) == len(ASKED)
    stage.run(everything(url), samples=samples, out=tmp_path / "anew")
    # What later stages depend on says nothing of what was measured when.
    assert read_manifest(out)["outputs"] == read_manifest(tmp_path / "anew")["outputs"]


def test_a_metric_more_measures_that_alone(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    both = everything(None).model_copy(update={"metrics": ["clipscore", "pickscore"]})
    stage.run(both.model_copy(update={"metrics": ["clipscore"]}), samples=samples, out=tmp_path / "a")
    assert stage.run(both, samples=samples, out=tmp_path / "a")["measured"] == 2 * len(ASKED)
    before = sum(calls)
    assert stage.run(both, samples=samples, out=tmp_path / "a")["measured"] == 0
    assert sum(calls) == before


def test_other_weights_under_the_same_name_score_all(samples: Path, tmp_path: Path) -> None:
    config = ScoreConfig(metrics=["clipscore"], clipscore_model=str(tmp_path / "clip"))
    for scale in (1.0, 2.0):
        tiny.write(tmp_path / "clip", log_scale=scale)
        found = stage.run(config, samples=samples, out=tmp_path / "scores")
        assert found["measured"] == 2 * len(ASKED)
    slower = config.model_copy(update={"batch_size": 3, "concurrency": 1})
    assert stage.run(slower, samples=samples, out=tmp_path / "scores")["measured"] == 0


def test_the_summary_says_by_which_weights_each_metric_was_measured(samples: Path, tmp_path: Path) -> None:
    one = str(tmp_path / "one")
    for name, scale in (("one", 1.0), ("two", 2.0)):
        tiny.write(tmp_path / name, log_scale=scale)
    config = ScoreConfig(
        metrics=["clipscore", "pickscore"], clipscore_model=one, pickscore_model=one, pickscore_processor=one
    )
    before = stage.run(config, samples=samples, out=tmp_path / "scores")["measured_by"]
    other = config.model_copy(update={"pickscore_model": str(tmp_path / "two")})
    after = stage.run(other, samples=samples, out=tmp_path / "scores")["measured_by"]
    assert set(before) == {"clipscore", "pickscore"}
    assert after["clipscore"] == before["clipscore"]
    assert after["pickscore"] != before["pickscore"]
    assert json.loads((tmp_path / "scores/summary.json").read_text())["measured_by"] == after


def test_running_out_of_memory_says_what_to_lower_and_keeps_what_was_scored(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ScoreConfig(metrics=["clipscore"], clipscore_model=CLIP, batch_size=9)
    calls = counted(monkeypatch)
    score = LocalScorer.score

    def full(self: LocalScorer, pictures: Any, prompts: Any) -> Any:
        if len(calls) == 2:
            torch.empty(1 << 50)
        return score(self, pictures, prompts)

    with monkeypatch.context() as patch:
        patch.setattr(LocalScorer, "score", full)
        with pytest.raises(UserError, match=r"^score: 9 pictures at a time .*out of memory; lower score.batch_size"):
            stage.run(config, samples=samples, out=tmp_path / "scores")
    assert not (tmp_path / "scores").exists()
    found = stage.run(config, samples=samples, out=tmp_path / "scores")
    assert found["carried_over"] == sum(calls[:2])


def test_an_oracle_that_the_settings_name_is_known_by_its_address(url: str, samples: Path, tmp_path: Path) -> None:
    config = ScoreConfig(metrics=["adherence"], oracle_url=url)
    stage.run(config, samples=samples, out=tmp_path / "scores")
    with listening(app()) as other:
        moved = config.model_copy(update={"oracle_url": other})
        assert stage.run(moved, samples=samples, out=tmp_path / "scores")["carried_over"] == 0
    assert stage.run(config, samples=samples, out=tmp_path / "scores")["measured"] == 0


def test_samples_on_validation_prompts_are_scored_beside_the_others(url: str, samples: Path, tmp_path: Path) -> None:
    plain = stage.run(everything(url), samples=samples, out=tmp_path / "plain")
    new = render(ASKED, np.random.default_rng(9))
    rows = [
        sample("dedpo-0", i, images.encode_png(Image.fromarray(new[i]))) | {"prompt_id": f"other {i}"} for i in range(5)
    ]
    write(samples / "validation", "dedpo-0", rows)
    found = stage.run(everything(url), samples=samples, out=tmp_path / "scores")
    assert found["samples"] == plain["samples"] + 5
    assert found["means"] == plain["means"]
    assert values(tmp_path / "scores") == values(tmp_path / "plain")
    beside = values(tmp_path / "scores/validation")
    assert {key[2] for key in beside} == {f"other {i}" for i in range(5)}
    liked = oracle.human_reward(ASKED[:5], new[:5])
    assert [beside["human_oracle", "dedpo-0", f"other {i}", 0] for i in range(5)] == pytest.approx(liked.tolist())
    assert stage.run(everything(url), samples=samples, out=tmp_path / "scores")["measured"] == 0
