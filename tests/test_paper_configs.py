"""The paper's cells: whole, and each trains, with tiny random weights in place of the hub's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.state import AcceleratorState

from dedpo.contract import config
from dedpo.contract.sections import TrainConfig
from dedpo.train import stage
from tests.fixtures import write_tables, write_targets
from tests.train.tiny import SIDE, tiny_sd, tiny_sdxl

CONFIGS = sorted((Path(__file__).parents[1] / "configs" / "paper").glob("*.yaml"))
# What makes a cell small; all else stays as the file says.
TINY = {"resolution": SIDE, "steps": 2, "batch_size": 8, "micro_batch": 4, "device": "cpu", "processes": 1}


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    """accelerate has one precision a process; the cells are in bf16, other tests are not."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {"sd15": tiny_sd(folder / "sd15"), "sdxl": tiny_sdxl(folder / "sdxl")}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    # As in the files, no pair is held out.
    write_tables(folder, n=16, n_labelled=4, n_holdout=0)
    write_targets(folder, "dedpo")
    return folder


def test_the_four_cells_are_there() -> None:
    assert [p.stem for p in CONFIGS] == ["sd15-fifa", "sd15-hpdv2", "sdxl-fifa", "sdxl-hpdv2"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_cell_loads_and_leaves_nothing_of_the_training_to_defaults(path: Path) -> None:
    loaded = config.load(path)
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(written["train"]) == set(TrainConfig.model_fields)
    assert loaded.primary in loaded.arms
    assert loaded.data.labelled == 1250
    assert loaded.sample.guidance == 7.5


@pytest.mark.parametrize(
    ("kind", "optimizer", "rate", "warmup", "steps"),
    [("sd15", "adamw", 1e-7, 10, 1000), ("sdxl", "adafactor", 2e-8, 5, 100)],
)
def test_the_cells_of_a_backbone_have_the_papers_numbers(
    kind: str, optimizer: str, rate: float, warmup: int, steps: int
) -> None:
    for path in CONFIGS:
        if path.stem.startswith(kind):
            train = config.load(path).train
            assert (train.optimizer, train.learning_rate, train.warmup_steps) == (optimizer, rate, warmup)
            assert (train.steps, train.batch_size, train.schedule) == (steps, 128, "piecewise_constant")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_cell_trains(path: Path, work: Path, bases: dict[str, Path], tmp_path: Path) -> None:
    train = config.load(path).train
    changes: dict[str, Any] = TINY | {"base": str(bases[path.stem.split("-")[0]])}
    stage.run(
        train.model_copy(update=changes),
        pairs=work / "data" / "pairs",
        ratings=work / "data" / "ratings.parquet",
        splits=work / "splits" / "0" / "splits.parquet",
        targets=work / "targets" / "0" / "dedpo",
        out=tmp_path / "policy",
        cache=work / "cache",
        seed=0,
    )
    rows = [json.loads(line) for line in (tmp_path / "policy" / "metrics.jsonl").read_text().splitlines()]
    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [train.learning_rate * (i + 1) / train.warmup_steps for i in range(2)]
    )
    assert rows[0]["mean_abs_logit"] == 0
    assert rows[1]["drift"] > 0
