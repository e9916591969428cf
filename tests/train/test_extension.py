"""A finished run goes on to more steps and ends with the bits of a run that took them in one go; nothing else does."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dedpo.contract.sections import LoraConfig, TrainConfig
from dedpo.errors import UserError
from dedpo.outputs import ownership
from dedpo.outputs.ownership import last_of
from dedpo.train import checkpoint, extension, stage
from tests.fixtures import content, write_tables, write_targets
from tests.train.command import kill, newest, start, train, wait_for_checkpoint
from tests.train.command import policy as policy_of

SHORT, LONG = 5, 8
# Neither end is a measurement's turn, so that the short run measures where the long one does not.
EVERY = 3


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extension")
    write_tables(folder, n=24, n_labelled=8, n_holdout=6)
    write_targets(folder, "dedpo", "dpo_human", "self_training", "self_training_split")
    return folder


def run(work: Path, base: Path, out: Path, steps: int, arm: str = "dedpo", **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"base": str(base), "beta": 1000, "learning_rate": 1e-3, "warmup_steps": 2}
    settings |= {"batch_size": 8, "evaluate_every": EVERY, "device": "cpu", "steps": steps}
    return stage.run(
        TrainConfig(**settings | changes),
        pairs=work / "data" / "pairs",
        ratings=work / "data" / "ratings.parquet",
        splits=work / "splits" / "0" / "splits.parquet",
        targets=work / "targets" / "0" / arm,
        out=out,
        cache=work / "cache",
        seed=0,
    )


def same(one: Path, other: Path) -> bool:
    return content(one) == content(other)


@pytest.mark.parametrize(
    ("arm", "settings"),
    [
        ("dedpo", {"ema_decay": 0.9, "validation_prompts": ["a red circle"], "optimizer": "adafactor"}),
        ("dedpo", {"early_stop": 1, "learning_rate": 3e-2, "evaluate_every": 2}),
        ("dedpo", {"schedule": "piecewise_constant", "schedule_steps": {2: 0.5, 6: 0.1}, "early_stop": 3}),
        ("dedpo", {"lora": LoraConfig(rank=2)}),
        ("dedpo", {"snapshots": [2, 4]}),
        ("self_training", {"self_training_visits": 0}),
    ],
)
def test_a_finished_run_goes_on_and_ends_as_in_one_go(
    work: Path, sd: Path, tmp_path: Path, arm: str, settings: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    run(work, sd, out, SHORT, arm, **settings)
    capfd.readouterr()
    run(work, sd, out, LONG, arm, **settings)
    assert "the run of 5 steps that lies there goes on to 8" in capfd.readouterr().err
    # As DVC does before it runs a stage.
    shutil.rmtree(out)
    run(work, sd, out, LONG + 1, arm, **settings)
    run(work, sd, whole, LONG + 1, arm, **settings)
    assert same(out, whole)


def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the steps that are taken from here on."""
    from dedpo.train.loop import Trainer

    found: list[int] = []
    step = Trainer.step

    def noted(trainer: Trainer, number: int) -> dict[str, float]:
        found.append(number)
        return step(trainer, number)

    monkeypatch.setattr(Trainer, "step", noted)
    return found


def test_it_takes_the_steps_that_are_left_and_no_others(
    work: Path, sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = taken(monkeypatch)
    run(work, sd, tmp_path / "out", SHORT)
    run(work, sd, tmp_path / "out", LONG, micro_batch=4, checkpoint_every=2)
    assert steps == list(range(LONG))


def test_anything_else_begins_anew(
    work: Path, sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    steps = taken(monkeypatch)
    for arm, settings, count in [
        ("dedpo", {}, 3),
        ("dedpo", {"beta": 999}, 4),
        ("dpo_human", {"beta": 999}, 5),
        ("dpo_human", {"beta": 999}, 5),
        ("dpo_human", {"beta": 999}, 4),
        ("dpo_human", {"beta": 999, "keep_last": False}, 3),
        ("dpo_human", {"beta": 999}, 4),
    ]:
        del steps[:]
        run(work, sd, out, count, arm, **settings)
        assert steps == list(range(count)), (arm, settings, count)
    capfd.readouterr()
    for arm, settings, reason in [
        ("dedpo", {"schedule": "cosine"}, "train.schedule cosine: the learning rate depends on the last step"),
        ("self_training_split", {}, "its annotator trains as many steps"),
    ]:
        run(work, sd, out, 3, arm, **settings)
        del steps[:]
        capfd.readouterr()
        run(work, sd, out, 4, arm, **settings)
        told = capfd.readouterr().err
        assert steps[-4:] == [0, 1, 2, 3]
        assert reason in told
        assert "so a run of 4 steps is another one than that of 3: it begins anew" in told
        assert not list(last_of(out).glob("*.pt")), "nothing heavy is kept for nobody"


def test_switched_off_nothing_is_kept_and_the_policy_never_holds_it(work: Path, sd: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(work, sd, out, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.dedpo.last", "out"]
    assert sorted(path.name for path in last_of(out).iterdir()) == [
        ".checkpoint-00000002.pt", ".hub.json", ".request.json", "metrics.jsonl",
    ]  # fmt: skip
    assert not list(out.rglob("*.pt"))
    run(work, sd, out, 2, keep_last=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_what_cannot_be_read_or_kept_costs_a_warning_and_no_policy(
    work: Path, sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(work, sd, out, 2)
    kept = checkpoint.newest(last_of(out))
    assert kept is not None
    kept.write_bytes(b"half")
    steps = taken(monkeypatch)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(extension, "_link", full)
    run(work, sd, out, 3)
    assert steps == [0, 1, 2]
    told = capfd.readouterr().err
    assert ".out.dedpo.last/.checkpoint-00000002.pt: damaged checkpoint" in told
    assert ".out.dedpo.last: cannot be kept (No space left on device); a run of more steps will begin anew" in told
    assert (out / "manifest.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_strangers_files_in_its_place_stay(work: Path, sd: Path, tmp_path: Path) -> None:
    last = last_of(tmp_path / "out")
    last.mkdir()
    (last / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"\.out\.dedpo\.last: files lie there that no run of dedpo left"):
        run(work, sd, tmp_path / "out", 2)
    assert (last / "thesis.txt").read_text() == "mine"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("moment", ["copied", "linked"])
def test_killed_while_it_is_taken_up_it_is_taken_up_again(
    work: Path, sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    out = tmp_path / "out"
    run(work, sd, out, SHORT, validation_prompts=["a red circle"])
    link = extension._link

    def killed(source: Path, target: Path) -> None:
        if moment == "linked" or source.suffix != ".pt":
            link(source, target)
        if source.suffix == ".pt":
            raise KeyboardInterrupt

    monkeypatch.setattr(extension, "_link", killed)
    with pytest.raises(KeyboardInterrupt):
        run(work, sd, out, LONG, validation_prompts=["a red circle"])
    monkeypatch.setattr(extension, "_link", link)
    steps = taken(monkeypatch)
    run(work, sd, out, LONG, validation_prompts=["a red circle"])
    assert steps == [5, 6, 7]
    run(work, sd, tmp_path / "whole", LONG, validation_prompts=["a red circle"])
    assert same(out, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_on_the_longer_way_it_still_ends_as_in_one_go(ranks: int, tmp_path: Path) -> None:
    write_tables(tmp_path)
    write_targets(tmp_path, "dedpo")
    out, settings = policy_of(tmp_path), {"train__processes": ranks, "train__evaluate_every": 4}
    assert train(tmp_path, train__steps=6, **settings).returncode == 0
    process = start(tmp_path, train__steps=20, **settings)
    partial = ownership.partial_of(out)
    while newest(partial) <= ".checkpoint-00000006.pt" and process.poll() is None:
        wait_for_checkpoint(partial, process)
    assert process.poll() is None, "it ended before it was killed"
    kill(process)
    assert json.loads((out / "metrics.json").read_text())["steps"] == 6
    done = train(tmp_path, train__steps=20, **settings)
    assert done.returncode == 0, done.stderr
    out = out.rename(tmp_path / "extended")
    shutil.rmtree(last_of(policy_of(tmp_path)))
    assert train(tmp_path, train__steps=20, **settings).returncode == 0
    assert same(out, policy_of(tmp_path))
