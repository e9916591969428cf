"""Self-training: the fill is eq. (12), ĝ comes from elsewhere, and nothing depends on which image is shown first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from dedpo.contract.sections import TrainConfig
from dedpo.targets.arms import table
from dedpo.train.cache import open_or_build
from dedpo.train.loop import Trainer
from dedpo.train.objective import pair_loss
from dedpo.train.reading import HeldOut, training_set
from dedpo.train.self_training import FRESH, UNDECIDED, Memory, fill, synthetic
from dedpo.vision import diffusion
from tests.fixtures import BASE, write_tables, write_targets
from tests.train.rounding import LOGIT

N = 24
LOGITS = arrays(np.float64, N, elements=st.floats(-8, 8))
HUMAN = arrays(np.float64, N, elements=st.sampled_from([0.0, 0.5, 1.0]))
SYNTHETIC = arrays(np.float64, N, elements=st.floats(0, 1) | st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))
LABELLED = arrays(np.bool_, N).filter(lambda r: r.any() and not r.all())
THRESHOLD = st.sampled_from([0.0, 0.5, 0.8, 0.95])
NO_ERROR = torch.zeros(2, N)


def _human_table(z: np.ndarray, r: np.ndarray) -> tuple[Tensor, Tensor]:
    a, b = table("self_training", z, np.full(len(z), np.nan), r)
    return torch.from_numpy(a), torch.from_numpy(b)


def _losses(h: np.ndarray, target: np.ndarray) -> np.ndarray:
    """ℓ(h, w) = softplus(h) − w·h."""
    return np.logaddexp(0, h) - target * h


@given(LOGITS, HUMAN, SYNTHETIC, LABELLED, THRESHOLD)
def test_the_fill_is_equation_12_in_both_synthetic_terms(
    h: np.ndarray, z: np.ndarray, g: np.ndarray, r: np.ndarray, threshold: float
) -> None:
    """Written out as the three means of eq. (8), each synthetic one masked and its ĝ rounded."""
    rounded = np.where(np.abs(g - 0.5) < UNDECIDED, 0.5, (g > 0.5).astype(float))
    masked = np.where(np.maximum(g, 1 - g) >= threshold, 1.0, 0.0) * _losses(h, rounded)
    three_means = masked.mean() + _losses(h, z)[r].mean() - masked[r].mean()
    a, b = fill(*_human_table(z, r), torch.from_numpy(g), threshold)
    found = pair_loss("self_training", torch.from_numpy(h), NO_ERROR, a, b).mean().item()
    assert found == pytest.approx(three_means, rel=1e-10, abs=1e-12)


@given(HUMAN, LABELLED, LABELLED)
def test_at_threshold_0_and_sure_of_itself_it_is_dedpo(z: np.ndarray, g: np.ndarray, r: np.ndarray) -> None:
    sure = g.astype(float)
    a, b = fill(*_human_table(z, r), torch.from_numpy(sure), 0.0)
    expected = table("dedpo", z, sure, r)
    np.testing.assert_allclose(a, expected.a, atol=1e-12)
    np.testing.assert_allclose(b, expected.b, atol=1e-12)


@given(HUMAN, SYNTHETIC, LABELLED, THRESHOLD)
def test_swapping_the_images_swaps_the_filled_table(
    z: np.ndarray, g: np.ndarray, r: np.ndarray, threshold: float
) -> None:
    # ĝ is kept clear of the limits: 1 − ĝ rounds, and that alone can move a pair across.
    lean = np.abs(g - 0.5)
    g = np.where((np.abs(0.5 + lean - threshold) < 1e-9) | (np.abs(lean - UNDECIDED) < 1e-9), 0.6, g)
    a, b = fill(*_human_table(z, r), torch.from_numpy(g), threshold)
    a_swapped, b_swapped = fill(*_human_table(1 - z, r), torch.from_numpy(1 - g), threshold)
    torch.testing.assert_close(a_swapped, a)
    torch.testing.assert_close(b_swapped, a - b)


def test_a_pair_below_the_threshold_keeps_its_human_row() -> None:
    z, r, g = np.array([1.0, 0.0, 0.0]), np.array([True, False, False]), torch.tensor([0.9, 0.9, 0.96])
    a, b = fill(*_human_table(z, r), g, 0.95)
    assert a.tolist() == [3.0, 0.0, 1.0]
    assert b.tolist() == [3.0, 0.0, 1.0]


@pytest.mark.parametrize("round_off", [0.0, 1e-5, -1e-5])
def test_what_knows_nothing_holds_the_logit_near_0(round_off: float) -> None:
    """ĝ = ½ is not rounded to either side: the row (1, ½), whose loss is least at h = 0."""
    nothing, undecided = torch.zeros(1), torch.full((1,), 0.5 + round_off)
    assert fill(nothing, nothing, undecided, 0.0) == (1.0, 0.5)
    assert fill(nothing, nothing, undecided, 0.51) == (0.0, 0.0)


def test_over_random_labelled_subsets_the_filled_loss_is_unbiased_and_half_a_mask_is_not() -> None:
    rng = np.random.default_rng(0)
    n, n_labelled, replicates, threshold = 400, 40, 2000, 0.8
    z, g, h = rng.integers(0, 2, n).astype(float), rng.random(n), rng.normal(0, 2, n)
    full, logits, given_g = _losses(h, z).mean(), torch.from_numpy(h), torch.from_numpy(g)
    hard, sure = np.round(g), np.maximum(g, 1 - g) >= threshold
    filled, half = [], []
    for _ in range(replicates):
        r = np.zeros(n, dtype=bool)
        r[rng.permutation(n)[:n_labelled]] = True
        a, b = fill(*_human_table(z, r), given_g, threshold)
        filled.append(pair_loss("self_training", logits, NO_ERROR, a, b).mean().item() - full)
        correction = (_losses(h, z) - _losses(h, hard))[r].mean()
        half.append((sure * _losses(h, hard)).mean() + correction - full)

    def t(values: list[float]) -> float:
        return float(np.mean(values) / (np.std(values, ddof=1) / np.sqrt(len(values))))

    assert abs(t(filled)) < 3
    assert abs(t(half)) > 10


def test_the_synthetic_preference_is_of_another_draw_and_has_no_gradient() -> None:
    asked: list[int] = []
    weight = torch.ones(1, requires_grad=True)

    def errors(pair_ids: Sequence[str], visits: Sequence[int]) -> tuple[Tensor, Tensor]:
        asked.extend(visits)
        return weight * torch.tensor([[0.1, 0.1], [0.2, 0.0]]), torch.full((2, 2), 0.1)

    found = synthetic(errors, ["p", "q"], [0, 7], beta=20.0)
    assert asked == [FRESH, FRESH + 7]
    assert not found.requires_grad
    torch.testing.assert_close(found, torch.sigmoid(torch.tensor([-1.0, 1.0])))


def test_memory_starts_undecided_and_keeps_the_last_finite_logit() -> None:
    memory = Memory(4)
    rows = np.array([1, 3, 1])
    assert memory.recall(rows).tolist() == [0.5, 0.5, 0.5]
    memory.remember(rows, np.array([-1.0, 200.0, 1.0], dtype=np.float32))
    np.testing.assert_allclose(memory.values, [0.5, 1 / (1 + np.exp(-1.0)), 0.5, 1.0], rtol=1e-6)
    memory.remember(np.array([1, 0]), np.array([np.nan, -200.0], dtype=np.float32))
    np.testing.assert_allclose(memory.values, [0.0, 1 / (1 + np.exp(-1.0)), 0.5, 1.0], rtol=1e-6)


CONFIG = TrainConfig(
    base=str(BASE), beta=1000, learning_rate=1e-4, warmup_steps=0, steps=4, batch_size=8, resolution=16, device="cpu"
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("self_training")
    write_tables(folder)
    write_targets(folder, "self_training")
    return folder


def _trainer(work: Path, **settings: object) -> Trainer:
    pipeline = diffusion.load(str(BASE), "base")
    cache = open_or_build(work / "cache", work / "data" / "pairs", pipeline, 16, 10**6, flip=False)
    data = training_set(work / "targets" / "0" / "self_training", cache.row, cache.set_aside)
    config = CONFIG.model_copy(update=settings)
    return Trainer(config, pipeline, cache, data, HeldOut([], np.array([])), 0, Accelerator(cpu=True))


def test_the_table_keeps_the_rows_that_wait_for_a_synthetic_preference(work: Path) -> None:
    data = _trainer(work).data
    assert (len(data.pair_ids), int(data.is_labelled.sum())) == (40, 10)
    np.testing.assert_allclose(data.a, np.where(data.is_labelled, 4.0, 0.0))
    facts = json.loads((work / "targets" / "0" / "self_training" / "targets.json").read_text())
    assert (facts["objective"], facts["n_eff"]) == ("self_training", None)


@pytest.mark.parametrize("visits", [0, 2])
def test_micro_batches_change_nothing_beyond_round_off(work: Path, visits: int) -> None:
    """Round-off makes the first logits ± 1e-6 in place of 0, and its sign must not become a label."""
    whole, parts = (_trainer(work, self_training_visits=visits, micro_batch=m) for m in (None, 3))
    for step in range(3):
        assert parts.step(step)["loss"] == pytest.approx(whole.step(step)["loss"], abs=LOGIT)


def test_memory_is_part_of_the_checkpoint(work: Path) -> None:
    first, second = (_trainer(work, self_training_visits=0) for _ in range(2))
    first.step(0)
    first.step(1)
    assert second.restore(first.state(2)) == 2
    assert first.memory is not None
    assert second.memory is not None
    assert len(np.unique(first.memory.values)) > 2
    np.testing.assert_array_equal(second.memory.values, first.memory.values)
