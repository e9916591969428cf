"""What was judged once is not judged again: counted at the server."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dedpo.asking.answers import log_folder
from dedpo.contract import tables
from dedpo.judge import stage, templates
from dedpo.vision import images
from dedpo.world.render import Images, render
from tests.fixtures import content
from tests.judge.server import opinion, scripted, writes
from tests.judge.test_stage import ASKED, MODELS, N, _environment, drawn, settings, verdicts  # noqa: F401


def write(folder: Path, model: str, pictures: Images, prompt_ids: list[str] | None = None) -> None:
    rows = [
        {"model": model, "prompt_id": p, "seed": 3, "prompt": ASKED[i].text,
         "image": {"bytes": images.encode_png(Image.fromarray(pictures[i])), "path": None}}
        for i, p in enumerate(prompt_ids or [f"{i:02}" for i in range(len(pictures))])
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=tables.SAMPLES.schema)
    tables.write(table, tables.SAMPLES, folder / f"samples-{model}.parquet")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    for model, pictures in drawn().items():
        write(tmp_path / "samples", model, pictures)
    return tmp_path / "samples"


def judge(samples: Path, out: Path, **changes: Any) -> tuple[int, dict[str, Any]]:
    """How many questions reached a new server, and the summary."""
    with scripted(lambda _, body: opinion(body)) as (url, seen):
        found = stage.run(settings(url, **changes), models=MODELS, samples=samples, out=out)
    assert found["asked"] == len(seen)
    return len(seen), found


def retrained(seed: int) -> Images:
    return render(ASKED, np.random.default_rng(seed))


def test_another_address_or_price_asks_nothing(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "verdicts"
    asked, first = judge(samples, out)
    before = (out / "verdicts.parquet").read_bytes()
    whole = content(out)
    judge(samples, out)
    changed = {name for name, data in content(out).items() if whole[name] != data}
    assert not changed - {"manifest.json"}, "the address of the server alone is another"
    assert (asked, first["carried_over"], first["dollars_this_run"]) == (2 * N, 0, first["dollars"])
    asked, second = judge(samples, out, price_input=0.6, price_output=5.0, concurrency=1, max_retries=0, timeout=9.0)
    assert (asked, second["carried_over"], second["dollars_this_run"]) == (0, 2 * N, 0)
    assert second["dollars"] == pytest.approx(2 * first["dollars"])
    assert (out / "verdicts.parquet").read_bytes() == before
    assert f"{2 * N} of {2 * N} verdicts are kept" in capsys.readouterr().err


@pytest.mark.parametrize("is_clone", [False, True])
def test_of_a_policy_that_was_trained_anew_only_its_comparisons_are_judged(
    samples: Path, tmp_path: Path, is_clone: bool
) -> None:
    out = tmp_path / "verdicts"
    first = judge(samples, out)[1]
    if is_clone:
        shutil.rmtree(log_folder(out))
    write(samples, "dpo_human-0", retrained(77))
    with scripted(lambda _, body: opinion(body)) as (url, _):
        plan = stage.plan(settings(url), models=MODELS, samples=samples, out=out)
        assert (plan["requests"], plan["kept"]) == (N, N)
    asked, second = judge(samples, out)
    assert (asked, second["carried_over"]) == (N, N)
    assert second["dollars_this_run"] == pytest.approx(first["dollars"] / 2)
    judge(samples, tmp_path / "anew")
    assert verdicts(out) == verdicts(tmp_path / "anew")
    write(samples, "dpo_human-0", drawn()["dpo_human-0"])
    assert judge(samples, out)[0] == 0, "the old pictures have their verdicts still"


def test_a_prompt_more_is_a_question_or_two_more(samples: Path, tmp_path: Path) -> None:
    for model, pictures in drawn().items():
        write(samples, model, pictures[: N - 1])
    judge(samples, tmp_path / "verdicts")
    for model, pictures in drawn().items():
        write(samples, model, pictures)
    asked, _ = judge(samples, tmp_path / "verdicts")
    assert 2 <= asked <= 4
    judge(samples, tmp_path / "anew")
    assert verdicts(tmp_path / "verdicts") == verdicts(tmp_path / "anew")


def test_fewer_comparisons_and_back(samples: Path, tmp_path: Path) -> None:
    judge(samples, tmp_path / "verdicts")
    assert judge(samples, tmp_path / "verdicts", prompts=2)[0] <= 4
    assert judge(samples, tmp_path / "verdicts")[0] == 0


def test_models_with_the_same_pictures_share_a_verdict(samples: Path, tmp_path: Path) -> None:
    pictures = drawn()["reference"]
    write(samples, "dpo_human-0", pictures)
    asked, found = judge(samples, tmp_path / "verdicts")
    rows = verdicts(tmp_path / "verdicts")
    orders = {(r["model_0"], r["prompt_id"]): r["order"] for r in rows}
    shared = sum(orders["reference", f"{i:02}"] == orders["dpo_human-0", f"{i:02}"] for i in range(N))
    assert 0 < shared < N
    assert asked == found["requests"] == 2 * N - shared


@pytest.mark.parametrize("change", [{"model": "another"}, {"thinking_budget": 100}, {"thinking_budget": None}])
def test_what_changes_the_answer_asks_all(samples: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    judge(samples, tmp_path / "verdicts")
    assert judge(samples, tmp_path / "verdicts", **change)[0] == 2 * N
    assert judge(samples, tmp_path / "verdicts")[0] == 0


def test_another_text_asks_all(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge(samples, tmp_path / "verdicts")
    monkeypatch.setattr(stage, "SYSTEM", templates.SYSTEM + " Look!")
    assert judge(samples, tmp_path / "verdicts")[0] == 2 * N


def test_failures_are_asked_again_and_their_cost_is_not_forgotten(samples: Path, tmp_path: Path) -> None:
    with scripted(lambda n, body: writes("?") if n < 3 else opinion(body)) as (url, seen):
        config = settings(url, max_failures=0.5, concurrency=1)
        first = stage.run(config, models=MODELS, samples=samples, out=tmp_path / "verdicts")
    assert first["answered"] < 2 * N
    asked, second = judge(samples, tmp_path / "verdicts")
    assert asked == 2 * N - first["answered"]
    assert second["requests"] == len(seen) + asked
    assert second["dollars"] == pytest.approx(first["dollars"] + second["dollars_this_run"])
