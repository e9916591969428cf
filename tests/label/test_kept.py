"""What was answered once is not asked again: counted at the server."""

from __future__ import annotations

import dataclasses
import math
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.responses import JSONResponse, Response

from dedpo.asking.answers import log_folder
from dedpo.contract import tables
from dedpo.errors import UserError
from dedpo.label import stage, templates
from tests.label.test_stage import (  # noqa: F401
    Answer,
    _environment,
    answered,
    drawn,
    labels,
    looks,
    png,
    refuses,
    says,
    scripted,
    settings,
    start,
    wait_for_answers,
)


def write_pairs(folder: Path, *shards: range) -> Path:
    asked, images_0, images_1 = drawn()
    for shard in shards:
        rows = [
            {"pair_id": f"{i:02d}", "prompt": asked[i].text, "image_0": png(images_0[i]), "image_1": png(images_1[i]),
             "group": "", "source": ""}
            for i in shard
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows, schema=tables.PAIRS.schema)
        tables.write(table, tables.PAIRS, folder / f"{shard.start:02d}.parquet")
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pairs in three shards."""
    return write_pairs(tmp_path_factory.mktemp("few") / "pairs", range(10), range(10, 20), range(20, 30))


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same and two more, in other shards."""
    return write_pairs(tmp_path_factory.mktemp("more") / "pairs", range(15), range(15, 31), range(31, 32))


@contextmanager
def counted(word: str = "A") -> Iterator[tuple[str, list[int]]]:
    asked: list[int] = []

    def answer(n: int, _: str) -> str:
        asked.append(n)
        return word

    with scripted(answer) as url:
        yield url, asked


def ask(pairs: Path, out: Path, *, word: str = "A", **changes: Any) -> tuple[int, dict[str, Any]]:
    """How many questions reached a new server, and the summary."""
    with counted(word) as (url, asked):
        summary = stage.run(settings(url, **changes), pairs=pairs, out=out)
    assert summary["asked"] == len(asked)
    assert summary["asked"] + summary["carried_over"] == 2 * summary["pairs"]
    return len(asked), summary


def test_another_address_asks_nothing(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "labels"
    assert ask(pairs, out)[0] == 60
    before = (out / "labels.parquet").read_bytes()
    assert ask(pairs, out, word="B", concurrency=2, max_retries=0, timeout=9.0, max_failures=0.5)[0] == 0
    assert (out / "labels.parquet").read_bytes() == before
    assert (
        f"label: 60 of 60 answers are kept from earlier runs, 0 to ask ({log_folder(out)})" in capsys.readouterr().err
    )


def test_an_interrupted_run_goes_on_at_another_address(pairs: Path, tmp_path: Path) -> None:
    with (
        scripted(lambda n, _: None if n < 10 else refuses(401)) as url,
        pytest.raises(UserError, match="what was answered is kept"),
    ):
        stage.run(settings(url, concurrency=1), pairs=pairs, out=tmp_path / "labels")
    assert ask(pairs, tmp_path / "labels")[0] == 50


def test_two_pairs_more_are_four_questions(pairs: Path, more: Path, tmp_path: Path) -> None:
    ask(pairs, tmp_path / "labels")
    before = {r["pair_id"]: r["p_order_01"] for r in labels(tmp_path / "labels")}
    asked, summary = ask(more, tmp_path / "labels", word="B")
    assert asked == 4
    assert summary["requests"] == 64
    by_id = {r["pair_id"]: r["p_order_01"] for r in labels(tmp_path / "labels")}
    assert {pair_id: p for pair_id, p in by_id.items() if pair_id in before} == before
    assert by_id.keys() - before.keys() == {"30", "31"}
    assert ask(pairs, tmp_path / "labels")[0] == 0, "and the smaller set is still answered"


@pytest.mark.parametrize("is_clone", [False, True])
def test_another_annotator_and_back(pairs: Path, tmp_path: Path, is_clone: bool) -> None:
    out = tmp_path / "labels"
    ask(pairs, out)
    first = [r["p_order_01"] for r in labels(out)]
    if is_clone:  # `dvc pull` brings the output and no log
        shutil.rmtree(log_folder(out))
    assert ask(pairs, out, word="B", model="other/model")[0] == 60
    assert [r["p_order_01"] for r in labels(out)] == [1 - p for p in first]
    asked, summary = ask(pairs, out)
    assert (asked, summary["carried_over"]) == (0, 60)
    assert [r["p_order_01"] for r in labels(out)] == first
    assert {r["annotator"] for r in labels(out)} == {"biased-vlm"}


def test_another_text_of_the_question_asks_all(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "labels"
    ask(pairs, out)
    known: Mapping[str, templates.Template] = templates._TEMPLATES
    for field in ("system", "question"):
        changed = {n: dataclasses.replace(t, **{field: f"{getattr(t, field)} Look!"}) for n, t in known.items()}
        with monkeypatch.context() as patch:
            patch.setattr(templates, "_TEMPLATES", changed)
            assert ask(pairs, out)[0] == 60
    assert ask(pairs, out)[0] == 0


def test_a_clone_asks_only_what_failed_and_what_is_new(pairs: Path, more: Path, tmp_path: Path) -> None:
    out, odd = tmp_path / "labels", drawn()[0][3].text
    failed = sum(p.text == odd for p in drawn()[0][:30])
    with scripted(lambda _, prompt: says("?") if prompt == odd else None) as url:
        stage.run(settings(url, max_failures=0.5), pairs=pairs, out=out)
    shutil.rmtree(log_folder(out))
    config = settings("http://127.0.0.1:9/v1")
    assert stage.plan(config, pairs=more, out=out)["to_ask"] == 2 * failed + 4
    assert not log_folder(out).exists(), "a plan writes nothing"
    assert ask(more, out)[0] == 2 * failed + 4
    assert stage.plan(config, pairs=more, out=out) == {"pairs": 32, "questions": 64, "kept": 64, "to_ask": 0}


def test_killed_in_the_second_run_nothing_is_lost(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    ask(pairs, out)
    shutil.rmtree(log_folder(out))
    grown = write_pairs(tmp_path / "pairs", range(30), range(30, 40))
    with counted() as (url, asked):
        # Two workers, of which the killed process may take one answer each with it.
        with start(url, grown, out) as process:
            wait_for_answers(out, 60 + 3)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert (out / "labels.parquet").is_file(), "the finished labels stay until there are new ones"
        kept = len(answered(out)) - 60
        assert 3 <= kept <= len(asked) <= kept + 2
    assert ask(grown, out)[0] == 20 - kept
    assert len({(a["pair_id"], a["order"]) for a in answered(out)}) == len(answered(out)) == 80


def test_parts_share_a_log_whatever_their_shards(pairs: Path, more: Path, tmp_path: Path) -> None:
    log = tmp_path / "volume" / "answers"
    for run, folder, lists, expected in (
        ("first", pairs, stage.shards(pairs, 2), 60),
        ("second", more, stage.shards(more, 3), 4),
    ):
        parts = []
        with counted() as (url, asked):
            for i, names in enumerate(lists):
                parts.append(tmp_path / f"{run}-{i}")
                stage.run(settings(url), pairs=folder, shards=names, out=parts[-1], log=log)
        assert len(asked) == expected
    merged = stage.merge(settings(None), parts=parts, pairs=more, out=tmp_path / "merged")
    assert (merged["asked"], merged["carried_over"]) == (4, 60)
    shutil.copytree(log, log_folder(tmp_path / "whole"))
    assert ask(more, tmp_path / "whole")[0] == 0
    for name in (
        "labels.parquet",
        *(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole/answers").iterdir()),
    ):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def blind(*_: object) -> Response:
    """Rather the first, by 7 to 3, whichever that is."""
    top = [{"token": "A", "logprob": math.log(0.7)}, {"token": "B", "logprob": math.log(0.3)}]
    choice = {"message": {"content": "A"}, "logprobs": {"content": [top[0] | {"top_logprobs": top}]}}
    return JSONResponse({"choices": [choice]})


@pytest.mark.parametrize(("before", "kept"), [(blind, 0), (looks, 18)])
def test_few_answers_of_one_that_turns_out_not_to_look_are_asked_again(
    before: Answer, kept: int, pairs: Path, tmp_path: Path
) -> None:
    few, out = write_pairs(tmp_path / "few", range(9)), tmp_path / "labels"
    with scripted(before) as url:
        stage.run(settings(url), pairs=few, out=out)
    with scripted(blind) as url, pytest.raises(UserError, match="does not look"):
        stage.run(settings(url), pairs=pairs, out=out)
    with scripted(looks) as url:
        summary = stage.run(settings(url), pairs=pairs, out=out)
    assert (summary["asked"], summary["carried_over"]) == (60 - kept, kept)
    assert ask(pairs, out)[0] == 0


def test_a_log_of_another_format_is_refused_and_kept(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    ask(pairs, out)
    shutil.rmtree(out)
    (log,) = log_folder(out).iterdir()
    log.write_text("pair,answer\n01,A\n")
    with counted() as (url, asked), pytest.raises(UserError, match="not one of its 2 lines can be read"):
        stage.run(settings(url), pairs=pairs, out=out)
    assert not asked
    assert log.read_text() == "pair,answer\n01,A\n"
