"""The real commands against every dialect: `dedpo label`, `dedpo judge` and `dedpo doctor`, called in this process."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from dedpo.cli import main
from dedpo.contract import tables
from tests.judge import test_dialects as judged
from tests.judge.server import scripted
from tests.judge.test_dialects import Server as Judge
from tests.judge.test_dialects import _environment as _judges_environment
from tests.judge.test_dialects import samples as samples
from tests.label import test_dialects as labelled
from tests.label.dialects import Server, speaking
from tests.label.test_dialects import _environment as _annotators_environment
from tests.label.test_dialects import pairs as pairs
from tests.label.test_stage import labels

pytestmark = pytest.mark.slow
__all__ = ["_annotators_environment", "_judges_environment"]


class Done(NamedTuple):
    code: int
    out: str
    err: str

    def told(self, start: str = "") -> list[str]:
        """The lines of stderr, without progress."""
        return [line for line in self.err.splitlines() if line.startswith(start) and not line.startswith("asking ")]


@pytest.fixture
def work(tmp_path: Path, pairs: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # It imports torch in a process of its own, each time.
    monkeypatch.setattr("dedpo.cli.machine._torch", lambda: iter(()))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pairs").symlink_to(pairs)
    (tmp_path / "samples").symlink_to(samples)
    return tmp_path


def dedpo(capsys: pytest.CaptureFixture[str], *arguments: str, **settings: object) -> Done:
    chosen = [part for name, value in settings.items() for part in ("--set", f"{name.replace('__', '.')}={value}")]
    capsys.readouterr()
    with patch.object(sys, "argv", ["dedpo", *arguments, *chosen]), pytest.raises(SystemExit) as caught:
        main()
    told = capsys.readouterr()
    return Done(int(str(caught.value.code)), told.out, told.err)


@pytest.fixture(scope="module")
def plain(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[float, float]]:
    with pytest.MonkeyPatch.context() as patched, speaking(labelled.spoken.vllm) as (url, _):
        patched.setenv("OPENAI_API_KEY", labelled.KEY)
        return labelled.run(url, pairs, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(("server", "kind", "refused", "unusable", "told"), labelled.THE_PLAIN_ONES)
def test_label_and_doctor(
    server: Server,
    kind: str,
    refused: int,
    unusable: int,
    told: str | None,
    work: Path,
    plain: list[tuple[float, float]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with speaking(server) as (url, seen):
        settings = {"label__base_url": url, "label__model": "biased-vlm", "judge__model": "null"}
        done = dedpo(capsys, "label", "--work", str(work), **settings)
        assert (done.code, len(seen)) == (0, 2 * labelled.N + refused + unusable)
        seen.clear()
        looked = dedpo(capsys, "doctor", **settings)
    found = [(row["p_order_01"], row["p_order_10"]) for row in labels(work / "labels")]
    assert found == (
        labelled.rounded(plain) if kind == labelled.HARD else [pytest.approx(both, abs=1e-6) for both in plain]
    )
    assert [told is not None and told in line for line in done.told(url)] == ([True] if told else [])
    assert looked.code == 0
    assert sum(status < 400 for _, status in seen) <= 1
    assert "annotator's answer" in looked.out


@pytest.mark.parametrize(("server", "message"), labelled.STOPPED)
def test_label_and_doctor_say_one_line(
    server: Server, message: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with speaking(server) as (url, seen):
        settings = {"label__base_url": url, "label__model": "biased-vlm", "judge__model": "null"}
        done = dedpo(capsys, "label", "--work", str(work), **settings)
        assert len(seen) == 1
        looked = dedpo(capsys, "doctor", **settings)
        assert len(seen) <= 2
    assert (done.code, len(done.told())) == (2, 1)
    assert re.search(message, done.err)
    assert looked.code == 0
    assert labelled.KEY not in done.err + looked.out


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    found = Judge()
    with scripted(found.answer) as (url, _):
        found.url = url
        yield found


def verdicts(work: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = tables.read(work / "verdicts" / "verdicts.parquet", tables.VERDICTS).to_pylist()
    return found


@pytest.mark.parametrize("name", judged.ADAPTED)
def test_judge_and_doctor(name: str, judge: Judge, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"judge__base_url": judge.url, "judge__model": "judge-1", "judge__rivals": '["dpo_human"]'}
    judge.restart(())
    assert dedpo(capsys, "judge", "--work", str(work), **settings).code == 0
    plain = verdicts(work)
    judge.restart(judged.ADAPTED[name])
    (work / "again").mkdir()
    (work / "again" / "samples").symlink_to(work / "samples")
    assert dedpo(capsys, "judge", "--work", str(work / "again"), **settings).code == 0
    assert verdicts(work / "again") == plain
    assert set(judge.answered.values()) == {1}
    judge.restart(judged.ADAPTED[name])
    looked = dedpo(capsys, "doctor", **settings)
    assert (looked.code, sum(judge.answered.values())) == (0, 1)
    assert "general_preference" in looked.out


@pytest.mark.parametrize("name", judged.STOPPED)
def test_judge_and_doctor_say_one_line(name: str, judge: Judge, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    behaviour, changes, message = judged.STOPPED[name]
    settings = {"judge__base_url": judge.url, "judge__model": "judge-1", "judge__rivals": '["dpo_human"]'}
    settings |= {f"judge__{key}": "null" if value is None else value for key, value in changes.items()}
    judge.restart((behaviour,))
    done = dedpo(capsys, "judge", "--work", str(work), **settings)
    assert (done.code, len(done.told())) == (2, 1)
    assert re.search(message, done.err), done.err
    assert sum(judge.answered.values()) <= 1
    judge.restart((behaviour,))
    assert dedpo(capsys, "doctor", **settings).code == 0
    assert sum(judge.answered.values()) <= 1
