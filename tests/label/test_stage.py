"""The whole stage against real loopback servers: the world's annotators, and ones that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dedpo.asking.answers import log_folder
from dedpo.contract import tables
from dedpo.contract.sections import LabelConfig
from dedpo.errors import UserError
from dedpo.label import stage
from dedpo.outputs.manifest import read_manifest
from dedpo.vision import images
from dedpo.world import prompts
from dedpo.world.annotators import biased_vlm
from dedpo.world.render import Images, render
from dedpo.world.serve import listening
from dedpo.world.server import app
from tests.fixtures import content

KEY = "sk-very-secret-0123456789"
N = 40
# A letter stands for a model that looks: the answer if the pictures are shown in their bytes' order, and the other one
# if not. None is the same as 'A'.
Answer = Callable[[int, str], Response | str | None]


def drawn() -> tuple[list[prompts.Prompt], Images, Images]:
    rng = np.random.default_rng(5)
    asked = [prompts.every_prompt()[i] for i in rng.integers(0, 576, N)]
    return asked, render(asked, rng), render(asked, rng)


def png(picture: Images) -> dict[str, Any]:
    return {"bytes": images.encode_png(Image.fromarray(picture)), "path": None}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of 20 pairs, whose ids are not in the shards' order."""
    folder = tmp_path_factory.mktemp("world") / "pairs"
    rows = [
        {"pair_id": f"{99 - i:02d}", "prompt": p.text, "image_0": png(x), "image_1": png(y), "group": "", "source": "w"}
        for i, (p, x, y) in enumerate(zip(*drawn(), strict=True))
    ]
    for start in (0, N // 2):
        table = pa.Table.from_pylist(rows[start : start + N // 2], schema=tables.PAIRS.schema)
        tables.write(table, tables.PAIRS, folder / f"{start}.parquet")
    return folder


@pytest.fixture(scope="module")
def world() -> Iterator[str]:
    with listening(app()) as url:
        yield f"{url}/v1"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@contextmanager
def scripted(answer: Answer) -> Iterator[str]:
    """An endpoint whose n-th reply is answer(n, prompt)."""
    count = iter(range(10**9))

    async def chat(request: Request) -> Response:
        parts = json.loads(await request.body())["messages"][1]["content"]
        first, second = (p["image_url"]["url"] for p in parts if p["type"] == "image_url")
        said = answer(next(count), parts[0]["text"].splitlines()[1])
        if isinstance(said, Response):
            return said
        return says("A" if (first < second) == (said != "B") else "B")

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": []})

    routes = [Route("/v1/chat/completions", chat, methods=["POST"]), Route("/v1/models", models)]
    with listening(Starlette(routes=routes)) as url:
        yield f"{url}/v1"


def looks(*_: object) -> None:
    """Answers by the pictures, whichever is shown first."""


def says(text: str) -> Response:
    return JSONResponse({"choices": [{"message": {"content": text}}]})


def refuses(status: int, message: str = "no") -> Response:
    return JSONResponse({"error": {"message": message}}, status_code=status, headers={"retry-after-ms": "1"})


def settings(url: str | None, **changes: Any) -> LabelConfig:
    return LabelConfig(**{"base_url": url, "model": "biased-vlm", "concurrency": 4, "max_retries": 1} | changes)


def labels(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tables.read(out / "labels.parquet", tables.LABELS).to_pylist()
    return rows


def answered(out: Path) -> list[dict[str, Any]]:
    files = sorted(log_folder(out).glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_both_orders_are_asked_and_always_mean_image_1(world: str, pairs: Path, tmp_path: Path) -> None:
    summary = stage.run(settings(world), pairs=pairs, out=tmp_path / "labels")
    rows = labels(tmp_path / "labels")
    assert [r["pair_id"] for r in rows] == sorted(f"{99 - i:02d}" for i in range(N))
    by_id = {r["pair_id"]: r for r in rows}
    for i, (prompt, x, y) in enumerate(zip(*drawn(), strict=True)):
        row = by_id[f"{99 - i:02d}"]
        assert row["p_order_01"] == pytest.approx(sigmoid(biased_vlm(prompt, x, y)), abs=1e-9)
        assert row["p_order_10"] == pytest.approx(1 - sigmoid(biased_vlm(prompt, y, x)), abs=1e-9)
        assert row["preference"] == pytest.approx((row["p_order_01"] + row["p_order_10"]) / 2)
        assert (row["annotator"], row["template"], row["error"]) == ("biased-vlm", "pairwise-v1", None)
        assert row["on_answer_mass"] is None, "a constraint makes it 1 whatever the annotator thinks"
        assert row["attempts"] == 2
    bias = np.mean([r["p_order_01"] - r["p_order_10"] for r in rows])
    told = stage.described(summary)
    assert told["position_bias"] == pytest.approx(bias)
    assert told | {"annotator": "biased-vlm", "answered": N, "requests": 2 * N, "failures": {}} == told
    kept = json.loads((tmp_path / "labels" / "summary.json").read_text())
    assert summary == kept | {"asked": 2 * N, "carried_over": 0}
    before = content(tmp_path / "labels")
    assert stage.run(settings(world), pairs=pairs, out=tmp_path / "labels")["asked"] == 0
    assert content(tmp_path / "labels") == before, "a stage that depends on it need not run again"
    manifest = read_manifest(tmp_path / "labels")
    (kept,) = (tmp_path / "labels" / "answers").iterdir()
    assert set(manifest["outputs"]) == {"labels.parquet", "summary.json", f"answers/{kept.name}"}
    assert manifest["config"]["concurrency"] == 4
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == [
        "answers",
        "labels.parquet",
        "manifest.json",
        "manifest.run.json",
        "summary.json",
    ]


def test_a_lean_to_the_first_picture_shows_as_negative_bias_and_cancels(pairs: Path, tmp_path: Path) -> None:
    with scripted(lambda n, _: None if n % 2 else says("A")) as url:
        summary = stage.described(stage.run(settings(url, concurrency=1), pairs=pairs, out=tmp_path / "labels"))
    assert -1 < summary["position_bias"] < 0
    assert {r["preference"] for r in labels(tmp_path / "labels")} <= {0.0, 0.5, 1.0}
    assert summary["mean_on_answer_mass"] is None


# A shell starts what it puts in the background with SIGINT ignored, and so would the tests' children be.
RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from dedpo.contract.sections import LabelConfig
from dedpo.label import stage
config = LabelConfig(model="biased-vlm", concurrency=2)
stage.run(config, pairs=Path(sys.argv[1]), out=Path(sys.argv[2]))
"""


def start(url: str, pairs: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", RUN, str(pairs), str(out)]
    return subprocess.Popen(command, env=os.environ | {"OPENAI_BASE_URL": url}, stderr=subprocess.PIPE)


def wait_for_answers(out: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if sum(file.read_bytes().count(b"\n") for file in log_folder(out).glob("*.jsonl")) >= count:
            return
        time.sleep(0.002)
    raise AssertionError("no answers came")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_midway_it_goes_on_and_ends_the_same(number: int, world: str, pairs: Path, tmp_path: Path) -> None:
    stage.run(settings(world), pairs=pairs, out=tmp_path / "whole")
    whole = (tmp_path / "whole" / "labels.parquet").read_bytes()
    out, partial = tmp_path / "labels", tmp_path / "labels.partial"
    with start(world, pairs, out) as process:
        wait_for_answers(out, 10)
        process.send_signal(number)
        process.communicate()
    assert process.returncode != 0
    assert not out.exists()
    before = len(answered(out))
    assert 10 <= before < 2 * N
    (log,) = log_folder(out).glob("*.jsonl")
    with log.open("ab") as file:
        file.write(b'{"pair_id": "99", "order": "0')
    with start(world, pairs, out) as process:
        process.communicate()
    assert process.returncode == 0
    assert (out / "labels.parquet").read_bytes() == whole
    assert not partial.exists()


def test_a_resumed_run_asks_only_what_lacks_an_answer(pairs: Path, tmp_path: Path, monkeypatch: Any) -> None:
    # The address comes from the environment, as from 'dedpo world serve', whose port changes from run to run.
    out = tmp_path / "labels"
    with scripted(lambda n, _: None if n < 30 else refuses(500)) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        with pytest.raises(UserError, match="pairs got no answer"):
            stage.run(settings(None, concurrency=1, max_retries=0), pairs=pairs, out=out)
    numbers = []

    def answer(n: int, _: str) -> None:
        numbers.append(n)

    with scripted(answer) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        summary = stage.run(settings(None, concurrency=3, max_failures=0.5), pairs=pairs, out=out)
    assert len(numbers) == 2 * N - 30
    assert summary["answered"] == N
    assert read_manifest(out)["config"]["concurrency"] == 3


def test_killed_after_the_last_answer_it_needs_no_endpoint(pairs: Path, tmp_path: Path, monkeypatch: Any) -> None:
    out = tmp_path / "labels"
    with scripted(looks) as url, monkeypatch.context() as patch:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        patch.setattr(stage, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stage.run(settings(None), pairs=pairs, out=out)
    assert stage.run(settings(None), pairs=pairs, out=out)["answered"] == N


def test_failures_are_rows_with_a_reason(pairs: Path, tmp_path: Path) -> None:
    odd = drawn()[0][3].text

    def answer(_: int, prompt: str) -> Response | None:
        return says("Sorry, no.") if prompt == odd else None

    with scripted(answer) as url:
        summary = stage.described(stage.run(settings(url, max_failures=0.5), pairs=pairs, out=tmp_path / "labels"))
    failed = [r for r in labels(tmp_path / "labels") if r["error"] is not None]
    assert len(failed) == sum(p.text == odd for p in drawn()[0])
    message = "no answer among A, B: 'Sorry, no.'"
    assert failed[0]["error"] == f"order 01: {message}; order 10: {message}"
    assert failed[0]["preference"] is failed[0]["p_order_01"] is None
    assert summary["failures"] == {"no answer among A, B": 2 * len(failed)}
    assert summary["answered"] == N - len(failed)


def test_too_many_failures_are_summed_up_and_nothing_is_lost(pairs: Path, tmp_path: Path) -> None:
    words = iter([None, None, says("?")] * N)
    with (
        scripted(lambda *_: next(words)) as url,
        pytest.raises(UserError, match=r"no answer among A, B: '\?'; .* run again to go on") as caught,
    ):
        stage.run(settings(url, concurrency=1), pairs=pairs, out=tmp_path / "labels")
    assert "label.max_failures allows 5.0%" in str(caught.value)
    assert not (tmp_path / "labels").exists()
    kept = answered(tmp_path / "labels")
    assert len(kept) == 2 * N
    assert sum(a["error"] is None for a in kept) == 54


def test_a_hopeless_run_is_given_up(pairs: Path, tmp_path: Path) -> None:
    numbers = []

    def answer(n: int, _: str) -> Response:
        numbers.append(n)
        return refuses(400, "unknown field")

    with (
        scripted(answer) as url,
        pytest.raises(UserError, match=r"given up after .* failures in a row .* HTTP 400: unknown field"),
    ):
        stage.run(settings(url), pairs=pairs, out=tmp_path / "labels")
    assert len(numbers) < N


def test_retries_are_counted_in_the_row(pairs: Path, tmp_path: Path) -> None:
    few = tables.read(pairs / "0.parquet", tables.PAIRS).slice(0, 4)
    tables.write(few, tables.PAIRS, tmp_path / "pairs" / "0.parquet")
    with scripted(lambda n, _: refuses([429, 500][n // 2 % 2]) if n % 2 == 0 else None) as url:
        summary = stage.run(
            settings(url, concurrency=1, max_retries=2), pairs=tmp_path / "pairs", out=tmp_path / "labels"
        )
    assert {r["attempts"] for r in labels(tmp_path / "labels")} == {4}
    assert summary["requests"] == 4 * 4


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "refused the key for model 'biased-vlm'"), (404, "no model 'biased-vlm' there")],
)
def test_what_no_retry_can_mend_stops_the_run(status: int, message: str, pairs: Path, tmp_path: Path) -> None:
    numbers = []

    def answer(n: int, _: str) -> Response | None:
        numbers.append(n)
        return None if n < 10 else refuses(status, f"model not found, {KEY}")

    with scripted(answer) as url, pytest.raises(UserError, match=message):
        stage.run(settings(url), pairs=pairs, out=tmp_path / "labels")
    assert max(numbers) < 18
    # Answers that were on their way when the run stopped may be missing: at most one a worker.
    assert 6 < sum(a["error"] is None for a in answered(tmp_path / "labels")) <= 10


def test_an_endpoint_that_goes_away_stops_the_run(pairs: Path, tmp_path: Path) -> None:
    with listening(Starlette()) as gone:
        pass
    with pytest.raises(UserError, match=rf"{gone}/v1: the annotator 'biased-vlm' cannot be reached"):
        stage.run(settings(f"{gone}/v1", max_retries=4), pairs=pairs, out=tmp_path / "labels")


def test_a_picture_of_another_kind_is_a_failure_and_costs_no_request(tmp_path: Path) -> None:
    good = png(drawn()[1][0])
    broken = {"bytes": b"<svg/>", "path": None}
    row = {"prompt": "x", "group": "", "source": "", "image_0": good}
    rows = [row | {"pair_id": "a", "image_1": broken}, row | {"pair_id": "b", "image_1": good}]
    tables.write(pa.Table.from_pylist(rows, schema=tables.PAIRS.schema), tables.PAIRS, tmp_path / "pairs" / "0.parquet")
    with scripted(looks) as url:
        stage.run(settings(url, max_failures=0.5), pairs=tmp_path / "pairs", out=tmp_path / "labels")
    bad, fine = labels(tmp_path / "labels")
    assert "image_1 is not a PNG" in bad["error"]
    assert bad["attempts"] == 0
    assert fine["error"] is None


def test_the_key_is_written_nowhere(pairs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def leak(n: int, _: str) -> Response | None:
        return [None, refuses(400, f"your key is {KEY}"), says(KEY), Response(f"{KEY} <html>")][n % 4]

    with scripted(leak) as url, pytest.raises(UserError) as caught:
        stage.run(settings(url), pairs=pairs, out=tmp_path / "labels")
    with scripted(leak) as url:
        stage.run(settings(url, max_failures=1), pairs=pairs, out=tmp_path / "all")
    assert KEY not in str(caught.value)
    assert KEY not in "".join(capfd.readouterr())
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {".parquet", ".jsonl"} <= {p.suffix for p in written}
    for path in written:
        assert KEY.encode() not in path.read_bytes()
    assert KEY not in str(pq.read_table(tmp_path / "all" / "labels.parquet").to_pylist())


def test_a_model_that_does_not_look_is_named_within_the_first_pairs(pairs: Path, tmp_path: Path) -> None:
    numbers = []

    def stuck(n: int, _: str) -> Response:
        numbers.append(n)
        return says("A")

    out = tmp_path / "labels"
    with scripted(stuck) as url, pytest.raises(UserError, match="does not look at the pictures: in 30 of 30") as caught:
        stage.run(settings(url), pairs=pairs, out=out)
    assert "the first letter for 30 pairs" in str(caught.value)
    assert len(numbers) <= 2 * 30 + 4
    # What it said is worth nothing: a run with a model that looks begins anew.
    with scripted(looks) as url:
        assert stage.run(settings(url), pairs=pairs, out=out)["answered"] == N
    assert {r["preference"] for r in labels(out)} <= {0.0, 1.0}


@pytest.mark.parametrize("seed", range(3))
def test_a_text_model_behind_a_gateway_is_named(seed: int, pairs: Path, tmp_path: Path) -> None:
    """Its answer follows the prompt, and is the same up to round-off when the pictures change places."""

    def deaf(n: int, prompt: str) -> Response:
        rng = np.random.default_rng([seed, *prompt.encode()])
        p = sigmoid(rng.normal(0, 2) + np.random.default_rng([seed, n]).normal(0, 0.03))
        top = [{"token": "A", "logprob": np.log(1 - p)}, {"token": "B", "logprob": np.log(p)}]
        best = max(top, key=lambda t: t["logprob"])
        choice = {"message": {"content": best["token"]}, "logprobs": {"content": [best | {"top_logprobs": top}]}}
        return JSONResponse({"choices": [choice]})

    with scripted(deaf) as url, pytest.raises(UserError, match="does not look at the pictures"):
        stage.run(settings(url), pairs=pairs, out=tmp_path / "labels")


def test_parts_that_are_too_small_to_tell_are_told_together(pairs: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for i, ids in enumerate((range(6), range(6, 12))):
        rows = tables.read(pairs / "0.parquet", tables.PAIRS).take(list(ids))
        tables.write(rows, tables.PAIRS, few / f"{i}.parquet")
    with scripted(lambda *_: says("B")) as url:
        config = settings(url)
        for i in (0, 1):
            stage.run(config, pairs=few, out=tmp_path / f"part-{i}", shards=[f"{i}.parquet"])
    with pytest.raises(UserError, match="does not look at the pictures: in 12 of 12 pairs"):
        stage.merge(config, parts=[tmp_path / "part-0", tmp_path / "part-1"], pairs=few, out=tmp_path / "all")
