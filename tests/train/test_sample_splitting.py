"""The arm with an annotator of its own: who sees which labels, what table comes of it, and resumption."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dedpo.contract.sections import TrainConfig
from dedpo.errors import UserError
from dedpo.targets.arms import table
from dedpo.train import sample_splitting, stage
from dedpo.train.loop import Trainer
from dedpo.train.reading import TrainingSet
from dedpo.train.sample_splitting import filled, halves
from tests.fixtures import BASE, write_tables, write_targets

N = 24
LOGITS = arrays(np.float64, N, elements=st.floats(-8, 8))
HUMAN = arrays(np.float64, N, elements=st.sampled_from([0.0, 0.5, 1.0]))
LABELLED = arrays(np.bool_, N).filter(lambda r: r.any() and not r.all())


def _losses(h: np.ndarray, target: np.ndarray) -> np.ndarray:
    """ℓ(h, w) = softplus(h) − w·h."""
    return np.logaddexp(0, h) - target * h


def _set(z: np.ndarray, r: np.ndarray) -> TrainingSet:
    a, b = table("self_training_split", z, np.full(len(z), np.nan), r)
    return TrainingSet([str(i) for i in range(len(z))], a, b, r, "self_training_split")


def test_the_annotator_and_the_policy_see_the_labels_of_different_pairs() -> None:
    rng = np.random.default_rng(0)
    z, r = rng.integers(0, 2, 40).astype(float), rng.permutation(40) < 11
    first, second = halves(_set(z, r), seed=0)
    assert (len(first.pair_ids), len(second.pair_ids)) == (5, 35)
    assert set(first.pair_ids) | set(second.pair_ids) == {str(i) for i in range(40)}
    assert (first.objective, second.objective) == ("preference", "self_training_split")
    assert first.is_labelled.all()
    np.testing.assert_allclose(first.a, 1.0)
    np.testing.assert_allclose(first.b, z[[int(p) for p in first.pair_ids]])
    expected = table("dpo_human", z[[int(p) for p in second.pair_ids]], np.zeros(35), second.is_labelled)
    np.testing.assert_allclose(second.a, expected.a)
    np.testing.assert_allclose(second.b, expected.b)
    assert halves(_set(z, r), seed=0)[0].pair_ids == first.pair_ids
    assert halves(_set(z, r), seed=1)[0].pair_ids != first.pair_ids


@given(LOGITS, LOGITS, HUMAN, LABELLED, st.sampled_from([0.0, 0.5, 0.8, 0.95]))
def test_the_annotated_half_is_dedpo_with_the_annotators_choice(
    h: np.ndarray, opinion: np.ndarray, z: np.ndarray, r: np.ndarray, threshold: float
) -> None:
    opinion = np.round(opinion, 1)  # clear of ½ or at it
    data = filled(_set(z, r), torch.from_numpy(opinion), threshold)
    assert data.objective == "preference"
    g = 1 / (1 + np.exp(-opinion))
    masked = np.where(np.maximum(g, 1 - g) >= threshold, _losses(h, 0.5 + 0.5 * np.sign(opinion)), 0.0)
    three_means = masked.mean() + (_losses(h, z) - masked)[r].mean()
    kept = h[[int(p) for p in data.pair_ids]]
    assert np.mean(data.a * np.logaddexp(0, kept) - data.b * kept) == pytest.approx(three_means, rel=1e-9, abs=1e-9)
    assert ((data.a != 0) | (data.b != 0)).all()


def test_a_split_needs_two_labelled_pairs_and_equal_chances() -> None:
    z, r = np.ones(4), np.array([True, False, False, False])
    with pytest.raises(UserError, match="labelled pairs: 1; it needs one or more in each half"):
        halves(_set(z, r), seed=0)
    a = np.array([2.0, 4.0, 0.0, 0.0])
    unequal = TrainingSet(list("abcd"), a, a, a > 0, "self_training_split")
    with pytest.raises(UserError, match="unequal chances"):
        halves(unequal, seed=0)


CONFIG = TrainConfig(
    base=str(BASE),
    beta=1000,
    learning_rate=1e-4,
    warmup_steps=0,
    steps=3,
    batch_size=8,
    resolution=16,
    ema_decay=0.9,
    checkpoint_every=1,
    processes=1,
    device="cpu",
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    write_tables(folder)
    write_targets(folder, "self_training_split")
    return folder


def _train(work: Path, name: str) -> dict[str, float]:
    return stage.run(
        CONFIG,
        pairs=work / "data" / "pairs",
        ratings=work / "data" / "ratings.parquet",
        splits=work / "splits" / "0" / "splits.parquet",
        targets=work / "targets" / "0" / "self_training_split",
        out=work / name,
        cache=work / "cache",
        seed=0,
    )


def _weights(folder: Path) -> bytes:
    return (folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()


class Steps:
    """The training set and number of every step; `left` more may be taken before the run is interrupted."""

    def __init__(self, step: Callable[[Trainer, int], dict[str, float]]) -> None:
        self.seen: list[tuple[TrainingSet, int]] = []
        self.left = 1000
        self.step = step

    def __call__(self, trainer: Trainer, number: int) -> dict[str, float]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.seen.append((trainer.data, number))
        return self.step(trainer, number)


@pytest.fixture(scope="module")
def steps() -> Iterator[Steps]:
    with pytest.MonkeyPatch.context() as patch:
        steps = Steps(Trainer.step)
        patch.setattr(Trainer, "step", lambda self, number: steps(self, number))
        yield steps


@pytest.fixture(scope="module")
def quiet(work: Path, steps: Steps) -> Path:
    """A run that was not interrupted."""
    steps.seen.clear()
    _train(work, "quiet")
    return work / "quiet"


def test_the_annotator_is_trained_first_and_the_policy_from_the_base(quiet: Path, steps: Steps) -> None:
    assert json.loads((quiet / "metrics.json").read_text())["pairs"] == 35
    assert [number for _, number in steps.seen] == [0, 1, 2, 0, 1, 2]
    first, second = steps.seen[0][0], steps.seen[-1][0]
    assert not set(first.pair_ids) & set(second.pair_ids)
    assert (len(first.pair_ids), int(second.is_labelled.sum())) == (5, 5)
    np.testing.assert_allclose(second.a, 1.0)
    assert set(np.round(second.b, 6)) <= {-6.0, 0.0, 1.0, 7.0}, "ĝ of a moved policy is 0 or 1, and r is 35 / 5"
    rows = [json.loads(line) for line in (quiet / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["mean_abs_logit"] < 1e-3 < rows[2]["mean_abs_logit"]
    assert not list(quiet.glob(".*"))


@pytest.mark.parametrize("after", [2, 3, 4])
def test_interrupted_in_either_training_it_ends_bit_identical(
    work: Path, quiet: Path, steps: Steps, after: int
) -> None:
    steps.seen.clear()
    steps.left = after
    with pytest.raises(KeyboardInterrupt):
        _train(work, f"interrupted-{after}")
    partial = work / f"interrupted-{after}.partial"
    assert (partial / sample_splitting.FOLDER).is_dir() == (after < 3)
    assert (partial / sample_splitting.LOGITS).is_file() == (after >= 3)
    steps.left = 1000
    _train(work, f"interrupted-{after}")
    assert len(steps.seen) == 6, "no step is taken twice"
    assert _weights(work / f"interrupted-{after}") == _weights(quiet)
