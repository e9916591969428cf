"""The whole stage against real loopback servers: the world's judge, and ones that fail or are fixed in their ways."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from starlette.responses import Response

from dedpo.asking import patience
from dedpo.asking.answers import log_folder
from dedpo.contract import tables
from dedpo.contract.sections import JudgeConfig
from dedpo.errors import UserError
from dedpo.judge import connection, stage, summary
from dedpo.outputs.manifest import output_folder, read_manifest
from dedpo.report.reading import read_verdicts
from dedpo.vision import images
from dedpo.world import judges, prompts
from dedpo.world.render import Images, render
from dedpo.world.serve import listening
from dedpo.world.server import app
from tests.judge.server import KEY, Body, blocks, opinion, prompt_of, refuses, says, scripted, writes

MODELS = [("dpo_human-0", "dedpo_tuned-0"), ("reference", "dedpo_tuned-0")]
N = 20
ASKED = prompts.prompts_of("test")[:N]


def drawn() -> dict[str, Images]:
    rng = np.random.default_rng(5)
    return {m: render(ASKED, rng) for m in ("reference", "dpo_human-0", "dedpo_tuned-0", "sft-0")}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "samples"
    for model, pictures in drawn().items():
        rows = [
            {"model": model, "prompt_id": f"{i:02}", "seed": 3, "prompt": p.text,
             "image": {"bytes": images.encode_png(Image.fromarray(x)), "path": None}}
            for i, (p, x) in enumerate(zip(ASKED, pictures, strict=True))
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows, schema=tables.SAMPLES.schema)
        tables.write(table, tables.SAMPLES, folder / f"samples-{model}.parquet")
    return folder


@pytest.fixture(scope="module")
def world() -> Iterator[str]:
    with listening(app(KEY)) as url:
        yield url


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    for name in ("GOOGLE_API_KEY", "GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.01)


def settings(url: str | None, **changes: Any) -> JudgeConfig:
    return JudgeConfig(**{"base_url": url, "model": "shapes-judge", "concurrency": 4, "max_retries": 2} | changes)


def verdicts(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tables.read(out / "verdicts.parquet", tables.VERDICTS).to_pylist()
    return rows


def answered(out: Path) -> list[dict[str, Any]]:
    files = sorted(log_folder(out).glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_verdicts_are_the_judges_on_the_pictures_whatever_was_shown_first(
    world: str, samples: Path, tmp_path: Path
) -> None:
    found = stage.run(settings(world), models=MODELS, samples=samples, out=tmp_path / "verdicts")
    rows, pictures = verdicts(tmp_path / "verdicts"), drawn()
    assert len(rows) == 2 * N * 3
    for row in rows:
        i = int(row["prompt_id"])
        gain = judges.compare(ASKED[i], pictures[row["model_0"]][i], pictures[row["model_1"]][i])[row["criterion"]]
        assert row["winner"] == ("tie" if gain == 0 else "1" if gain > 0 else "0")
        assert (row["judge"], row["seed"], row["error"]) == ("shapes-judge", 3, None)
    assert rows == sorted(rows, key=lambda r: [r[name] for name in tables.VERDICTS.key])
    assert {r["winner"] for r in rows} == {"0", "1", "tie"}
    orders = Counter((r["model_0"], r["order"]) for r in rows)
    assert set(orders.values()) == {N // 2 * 3}
    assert found | {"comparisons": 2 * N, "answered": 2 * N, "prompts": N, "requests": 2 * N, "failures": {}} == found
    assert found["dollars"] == pytest.approx((found["input_tokens"] * 0.3 + found["output_tokens"] * 2.5) / 1e6)
    assert json.loads((tmp_path / "verdicts" / "summary.json").read_text()).items() < found.items()
    (kept,) = (tmp_path / "verdicts" / "answers").iterdir()
    written = {"verdicts.parquet", "summary.json", f"answers/{kept.name}"}
    assert set(read_manifest(tmp_path / "verdicts")["outputs"]) == written
    shown = summary.describe(found)
    assert shown.startswith("dedpo_tuned-0 against dpo_human-0:\n  General Preference wins ")
    assert f"{2 * N} of {2 * N} comparisons answered" in shown


def test_a_judge_that_always_says_first_gives_every_model_half(samples: Path, tmp_path: Path) -> None:
    with scripted(lambda *_: says("first")) as (url, _):
        found = stage.run(settings(url), models=MODELS, samples=samples, out=tmp_path / "verdicts")
    for pair in found["pairs"]:
        for shares in pair["criteria"].values():
            assert shares["win"]["value"] == shares["loss"]["value"] == shares["win_rate"]["value"] == 0.5
            assert shares["shown_first"]["value"] == 1


def test_samples_of_a_policy_that_was_trained_again_are_not_judged(samples: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    for weights in ("old", "new"):
        with output_folder(policy, stage="train", config={}, inputs={}) as partial:
            (partial / "weights").write_text(weights)
        if weights == "old":
            with output_folder(tmp_path / "samples", stage="sample", config={}, inputs={"model x": policy}) as partial:
                shutil.copytree(samples, partial, dirs_exist_ok=True)
    with scripted(lambda *_: says("tie")) as (url, bodies):
        with pytest.raises(UserError, match=r"samples: made from another 'model x' than .*; run 'dedpo sample' again"):
            stage.run(settings(url), models=MODELS, samples=tmp_path / "samples", out=tmp_path / "verdicts")
        assert not bodies


def test_fewer_prompts_are_a_seeded_draw(samples: Path, tmp_path: Path) -> None:
    drawn = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        with scripted(lambda *_: says("tie")) as (url, _):
            stage.run(settings(url, prompts=5, seed=seed), models=MODELS, samples=samples, out=tmp_path / name)
        drawn.append({r["prompt_id"] for r in verdicts(tmp_path / name)})
    assert drawn[0] == drawn[1] != drawn[2]
    assert {len(d) for d in drawn} == {5}


RUN = """
import sys
from pathlib import Path
from dedpo.asking import patience
from dedpo.contract.sections import JudgeConfig
from dedpo.judge import connection, stage
connection.FIRST_PAUSE = patience.FIRST_PAUSE = 0.01
models = [("dpo_human-0", "dedpo_tuned-0"), ("reference", "dedpo_tuned-0")]
config = JudgeConfig(model="shapes-judge", concurrency=2, max_failures=0.2)
stage.run(config, models=models, samples=Path(sys.argv[1]), out=Path(sys.argv[2]))
"""


def start(url: str, samples: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", RUN, str(samples), str(out)]
    return subprocess.Popen(command, env=os.environ | {"GEMINI_BASE_URL": url}, stderr=subprocess.PIPE)


def wait_for_answers(out: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if sum(file.read_bytes().count(b"\n") for file in log_folder(out).glob("*.jsonl")) >= count:
            return
        time.sleep(0.002)
    raise AssertionError("no answers came")


BLOCKED = ASKED[7].text


def quiet(_: int, body: Body) -> Response:
    return blocks() if prompt_of(body) == BLOCKED else opinion(body)


def test_killed_five_times_amid_every_trouble_it_ends_as_a_quiet_run(samples: Path, tmp_path: Path) -> None:
    """429, 500, malformed JSON, blocked and empty answers for every question, in turn; one is blocked for good."""
    with scripted(quiet) as (url, _):
        stage.run(settings(url, max_failures=0.2), models=MODELS, samples=samples, out=tmp_path / "quiet")
    asked: dict[bytes, int] = defaultdict(int)

    def troubled(n: int, body: Body) -> Response:
        question = json.dumps(body["contents"]).encode()
        asked[question] += 1
        if asked[question] > 1 or prompt_of(body) == BLOCKED:
            # Slow enough that a kill finds questions on their way.
            time.sleep(0.01)
            return quiet(n, body)
        return [refuses(429), refuses(500), writes('{"general'), blocks("OTHER"), writes("")][n % 5]

    out, partial = tmp_path / "verdicts", tmp_path / "verdicts.partial"
    with scripted(troubled) as (url, seen):
        for kills in range(5):
            with start(url, samples, out) as process:
                wait_for_answers(out, 6 * (kills + 1))
                process.send_signal(signal.SIGKILL)
                process.communicate()
            assert process.returncode == -signal.SIGKILL
            assert not out.exists()
            (log,) = log_folder(out).glob("*.jsonl")
            with log.open("ab") as file:
                file.write(b'{"model_0": "torn')
        with start(url, samples, out) as process:
            _, said = process.communicate()
    assert process.returncode == 0, said
    assert (out / "verdicts.parquet").read_bytes() == (tmp_path / "quiet" / "verdicts.parquet").read_bytes()
    assert not partial.exists()
    errors = {r["prompt_id"]: r["error"] for r in verdicts(out) if r["error"]}
    assert errors == {"07": "blocked: the answer, SAFETY"}
    found = json.loads((out / "summary.json").read_text())
    assert found["failures"] == {"blocked": 2}
    assert 2 * N < found["requests"] <= len(seen), "what a kill took with it is not counted"


def test_a_resumed_run_asks_only_what_lacks_an_answer_and_adds_up_what_it_took(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The address comes from the environment, as from 'dedpo world serve', whose port changes from run to run.
    out = tmp_path / "verdicts"
    with scripted(lambda n, b: opinion(b) if n < 15 else writes("?")) as (url, seen):
        monkeypatch.setenv("GEMINI_BASE_URL", url)
        with pytest.raises(UserError, match="comparisons got no answer"):
            stage.run(settings(None, concurrency=1), models=MODELS, samples=samples, out=out)
        first = len(seen)
    with scripted(lambda _, b: opinion(b)) as (url, seen):
        monkeypatch.setenv("GEMINI_BASE_URL", url)
        found = stage.run(settings(None, concurrency=3, price_input=1.0), models=MODELS, samples=samples, out=out)
    assert len(seen) == 2 * N - 15
    assert found["requests"] == len(seen) + first
    assert found["input_tokens"] == 600 * found["requests"]
    assert found["answered"] == 2 * N


def test_killed_after_the_last_answer_it_needs_no_endpoint(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "verdicts"
    with scripted(lambda *_: says("tie")) as (url, _), monkeypatch.context() as patch:
        monkeypatch.setenv("GEMINI_BASE_URL", url)
        patch.setattr(stage, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stage.run(settings(None), models=MODELS, samples=samples, out=out)
    monkeypatch.delenv("GEMINI_API_KEY")
    assert stage.run(settings(None), models=MODELS, samples=samples, out=out)["answered"] == 2 * N


def test_a_hopeless_run_is_given_up_and_keeps_what_it_has(samples: Path, tmp_path: Path) -> None:
    with (
        scripted(lambda n, b: opinion(b) if n < 10 else refuses(400, "unknown field")) as (url, _),
        pytest.raises(
            UserError, match=r"judge: .* of 40 comparisons got no answer.*HTTP 400: unknown field.*judge.max"
        ),
    ):
        stage.run(settings(url), models=MODELS, samples=samples, out=tmp_path / "verdicts")
    assert not (tmp_path / "verdicts").exists()
    assert sum(a["error"] is None for a in answered(tmp_path / "verdicts")) == 10


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (refuses(401), "refused the key"),
        (refuses(400, "API key not valid.", "API_KEY_INVALID"), "refused the key"),
        (refuses(404), "no model 'shapes-judge' there"),
    ],
)
def test_what_no_retry_can_mend_stops_the_run_at_once(
    refusal: Response, message: str, samples: Path, tmp_path: Path
) -> None:
    with scripted(lambda *_: refusal) as (url, seen), pytest.raises(UserError, match=message) as caught:
        stage.run(settings(url), models=MODELS, samples=samples, out=tmp_path / "verdicts")
    assert "\n" not in str(caught.value)
    assert len(seen) <= 4, "one request a worker"


def test_the_worlds_judge_refuses_another_key(
    world: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "AIzaSy-some-other-key")
    with pytest.raises(UserError, match=r"refused the key .*API key not valid"):
        stage.run(settings(world), models=MODELS, samples=samples, out=tmp_path / "verdicts")


def test_a_plan_needs_no_key_and_writes_nothing(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    before = sorted(samples.parent.rglob("*"))
    plan = stage.plan(settings(None, prompts=10), models=MODELS, samples=samples, out=tmp_path / "verdicts")
    assert plan["requests"] == 20
    assert 20 * 2 * 258 < plan["input_tokens"] < 20 * 1000
    assert plan["output_tokens"] == 20 * 100
    assert plan["dollars"] == pytest.approx((plan["input_tokens"] * 0.3 + plan["output_tokens"] * 2.5) / 1e6)
    assert sorted(samples.parent.rglob("*")) == before


def test_the_key_is_written_nowhere(samples: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def leak(n: int, _: Body) -> Response:
        return [says("tie", rationale=f"key {KEY}"), refuses(400, f"your key is {KEY}"), writes(KEY), says(KEY)][n % 4]

    with scripted(leak) as (url, _):
        found = stage.run(settings(url, max_failures=1), models=MODELS, samples=samples, out=tmp_path / "all")
        with pytest.raises(UserError) as caught:
            stage.run(settings(url, max_failures=0), models=MODELS, samples=samples, out=tmp_path / "some")
    assert KEY not in str(caught.value) + str(found) + "".join(capfd.readouterr())
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {".parquet", ".jsonl"} <= {p.suffix for p in written}
    for path in written:
        assert KEY.encode() not in path.read_bytes()
    assert KEY not in str(verdicts(tmp_path / "all"))


def command(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GEMINI", "GOOGLE"))}
    return subprocess.run(
        [sys.executable, "-m", "dedpo", "judge", *arguments],
        cwd=cwd, env=kept | environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_command_plans_judges_and_says_one_line_without_a_key(world: str, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("judge: {model: shapes-judge}\narms: [dpo_human, dedpo_tuned, sft]\n")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "samples").symlink_to(samples)
    planned = command("--dry-run", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert f"requests: {2 * N}" in planned.stdout
    assert "not compared (no such arm, or the primary itself): dpo_synthetic" in planned.stdout
    keyless = command(cwd=tmp_path, GEMINI_BASE_URL=world)
    assert keyless.returncode == 2
    assert re.fullmatch(r"error: \$GEMINI_API_KEY: not set.*\n", keyless.stderr)
    done = command(cwd=tmp_path, GEMINI_BASE_URL=world, GEMINI_API_KEY=KEY, GOOGLE_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    assert "dedpo_tuned-0 against reference:" in done.stdout
    assert "GOOGLE_API_KEY" not in done.stderr
    assert KEY not in done.stdout + done.stderr


def test_without_a_judge_a_note_stands_where_verdicts_would(tmp_path: Path) -> None:
    assert JudgeConfig(model=None).model is None
    stage.skip(tmp_path / "out")
    assert read_manifest(tmp_path / "out")["config"] == {"model": None}
    assert read_verdicts(tmp_path / "out") == []
