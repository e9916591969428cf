"""SIGKILL and SIGTERM at any moment, with one rank and with two: the run goes on and ends as if nothing had been."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.fixtures import write_tables, write_targets
from tests.train.command import command, kill, newest, policy, start, train, wait_for_checkpoint, weights

TWO = pytest.param(2, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survive")
    write_tables(folder)
    write_targets(folder, "dedpo")
    return folder


@pytest.fixture(autouse=True)
def _clean(work: Path) -> None:
    shutil.rmtree(work / "policies", ignore_errors=True)


def undisturbed(work: Path, ranks: int) -> Path:
    """A policy trained in one go."""
    kept = work / f"undisturbed-{ranks}"
    if not kept.exists():
        done = train(work, train__processes=ranks)
        assert done.returncode == 0, done.stderr
        policy(work).rename(kept)
    return kept


def _check(work: Path, expected: Path) -> None:
    assert weights(policy(work)) == weights(expected)
    assert (policy(work) / "metrics.jsonl").read_text() == (expected / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("ranks", "kills"), [(1, 2), pytest.param(1, 5, marks=pytest.mark.slow), pytest.param(2, 5, marks=pytest.mark.slow)]
)
def test_killed_at_random_moments_and_resumed_it_ends_bit_identical(ranks: int, kills: int, work: Path) -> None:
    expected = undisturbed(work, ranks)
    chance, partial = random.Random(ranks), policy(work).with_name("dedpo.partial")
    for _ in range(kills):
        process = start(work, train__processes=ranks)
        wait_for_checkpoint(partial, process)
        time.sleep(chance.random() * 0.4)
        assert process.poll() is None, "it ended before it was killed"
        kill(process)
        assert not policy(work).exists(), "an interrupted run must not look finished"
    done = train(work, train__processes=ranks)
    assert done.returncode == 0, done.stderr
    _check(work, expected)


@pytest.mark.parametrize("ranks", [1, TWO])
def test_sigterm_saves_and_exits_with_143(ranks: int, work: Path) -> None:
    expected = undisturbed(work, ranks)
    partial = policy(work).with_name("dedpo.partial")
    # Without the signal there would be no other checkpoint than the last.
    process = start(work, train__processes=ranks, train__checkpoint_every=100)
    metrics = partial / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and metrics.read_text().count("\n") >= 2):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 143, told
    assert all(line.startswith(("stopped by", "training")) for line in told.splitlines()), told
    (line,) = (line for line in told.splitlines() if line.startswith("stopped by SIGTERM after step"))
    steps = int(line.split()[5])
    assert newest(partial) == f".checkpoint-{steps:08d}.pt"
    assert metrics.read_text().count("\n") == steps
    done = train(work, train__processes=ranks)
    assert done.returncode == 0, done.stderr
    _check(work, expected)


@pytest.mark.parametrize("ranks", [1, TWO])
def test_a_second_training_into_one_folder_is_told_and_the_first_goes_on(ranks: int, work: Path) -> None:
    expected = undisturbed(work, ranks)
    partial = policy(work).with_name("dedpo.partial")
    first = start(work, train__processes=ranks)
    wait_for_checkpoint(partial, first)
    everyone = [first, *psutil.Process(first.pid).children(recursive=True)]
    for process in everyone:  # so that it cannot end before the second has begun
        process.send_signal(signal.SIGSTOP)
    before = (partial / "metrics.jsonl").read_bytes()
    second = train(work, train__processes=ranks)
    assert second.returncode == 2, second.stderr
    (line,) = second.stderr.strip().splitlines()
    assert re.search(
        r"policies/0/dedpo: process \d+ on \S+ has been writing there since .*; wait for it or stop it", line
    )
    assert (partial / "metrics.jsonl").read_bytes() == before
    for process in everyone:
        process.send_signal(signal.SIGCONT)
    _, told = first.communicate(timeout=240)
    assert first.returncode == 0, told
    _check(work, expected)


@pytest.mark.slow
def test_under_torchrun_it_joins_and_gives_the_same(work: Path) -> None:
    expected = undisturbed(work, 2)
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*line, *command(work)], cwd=work, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    _check(work, expected)
