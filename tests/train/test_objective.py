"""The loss: identities, closed forms, agreement with TRL's, and what it is unbounded in."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from dedpo.targets.arms import table
from dedpo.train.objective import exponents, logit, pair_loss, preference_loss, robust, sft_loss, square, tilt

GOLDEN = Path(__file__).parent.parent / "golden" / "trl_losses.json"
N = 24
FLOAT = st.floats(-20, 20)
LOGITS = arrays(np.float64, N, elements=st.floats(-8, 8))
HUMAN = arrays(np.float64, N, elements=st.sampled_from([0.0, 0.5, 1.0]))
SYNTHETIC = arrays(np.float64, N, elements=st.floats(0, 1))
LABELLED = arrays(np.bool_, N).filter(lambda r: r.any() and not r.all())
GUARD = st.none() | st.floats(0.5, 10)
NO_ERROR = torch.zeros(2, 1)


def _t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _cross_entropy(h: np.ndarray, target: np.ndarray) -> np.ndarray:
    """−w log σ(h) − (1 − w) log(1 − σ(h)), as the paper's eq. (5) means it."""
    probability = torch.sigmoid(torch.from_numpy(h))
    return F.binary_cross_entropy(probability, torch.from_numpy(target), reduction="none").numpy()


@given(LOGITS, HUMAN, SYNTHETIC, LABELLED)
def test_equation_8_is_equation_11(h: np.ndarray, z: np.ndarray, g: np.ndarray, r: np.ndarray) -> None:
    three_means = _cross_entropy(h, g).mean() + (_cross_entropy(h, z) - _cross_entropy(h, g))[r].mean()
    a, b = (torch.from_numpy(v) for v in table("dedpo", z, g, r))
    found = preference_loss(torch.from_numpy(h), a, b).mean().item()
    assert found == pytest.approx(three_means, rel=1e-12, abs=1e-12)


@given(FLOAT, st.floats(0, 5), st.floats(-5, 5))
def test_the_two_costs_are_the_two_potentials_of_the_table(h: float, a: float, b: float) -> None:
    softplus, ipo = a * math.log1p(math.exp(h)) - b * h, a * h**2 - (2 * b - a) * h
    assert preference_loss(_t(h), _t(a), _t(b)).item() == pytest.approx(softplus, abs=1e-7)
    assert preference_loss(_t(h), _t(a), _t(b), potential=square).item() == pytest.approx(ipo, abs=1e-9)


@pytest.mark.parametrize("objective", ["preference", "self_training", "ipo", "sft"])
@given(h=FLOAT, errors=st.tuples(st.floats(0, 2), st.floats(0, 2)), a=st.floats(0, 5), b=st.floats(-5, 5), guard=GUARD)
def test_swapping_the_images_changes_nothing(
    objective: str, h: float, errors: tuple[float, float], a: float, b: float, guard: float | None
) -> None:
    m = _t(*errors).reshape(2, 1)
    straight = pair_loss(objective, _t(h), m, _t(a), _t(b), guard)
    swapped = pair_loss(objective, _t(-h), m.flip(0), _t(a), _t(a - b), guard)
    assert swapped.item() == pytest.approx(straight.item(), abs=1e-9)


@pytest.mark.parametrize(("objective", "start", "slope"), [("preference", math.log(2), 0.5), ("ipo", 0.0, 1.0)])
@given(a=st.floats(0, 5), b=st.floats(-5, 5))
def test_the_value_and_the_gradient_at_the_reference(
    objective: str, start: float, slope: float, a: float, b: float
) -> None:
    h = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    loss = pair_loss(objective, h, NO_ERROR, _t(a), _t(b))
    assert loss.item() == pytest.approx(a * start, abs=1e-12)
    loss.backward()
    assert h.grad is not None
    assert h.grad.item() == pytest.approx(slope * (a - 2 * b), abs=1e-12)


def test_logit_is_minus_half_beta_times_the_gap_of_image_1() -> None:
    policy = torch.tensor([[0.5], [0.3]])
    reference = torch.tensor([[0.4], [0.4]])
    # Image 1 became easier by 0.1, image 0 harder by 0.1: the policy now prefers image 1.
    assert logit(policy, reference, beta=10.0).item() == pytest.approx(1.0)


def test_equal_errors_give_exactly_zero() -> None:
    error = torch.rand(2, 8)
    assert (logit(error, error.clone(), beta=5000.0) == 0).all()


def test_sft_learns_from_the_preferred_image_and_halves_a_tie() -> None:
    error = torch.tensor([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]])
    a, b = torch.tensor([2.0, 2.0, 2.0]), torch.tensor([2.0, 0.0, 1.0])
    assert sft_loss(error, a, b).tolist() == [6.0, 2.0, 4.0]


@pytest.mark.parametrize("preferred", [0, 1])
def test_the_losses_are_those_of_trl(preferred: int) -> None:
    """TRL's chosen image is image `preferred`; its arms are tables (a, b) here."""
    golden = json.loads(GOLDEN.read_text())
    h = torch.tensor(golden["logit"], dtype=torch.float64) * (2 * preferred - 1)
    sigmoid, swapped, hard, ipo = (
        torch.tensor(golden[k], dtype=torch.float64) for k in ("sigmoid", "sigmoid_swapped", "robust", "ipo")
    )
    n, eps = len(h), golden["robust_label_smoothing"]

    def loss(objective: str, target: float) -> Tensor:
        return pair_loss(objective, h, NO_ERROR, torch.ones(n), torch.full((n,), target, dtype=torch.float64))

    y = float(preferred)
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(loss("preference", y), sigmoid, **close)
    smoothed = (1 - eps) * y + eps * (1 - y)
    torch.testing.assert_close(loss("preference", smoothed), (1 - eps) * sigmoid + eps * swapped, **close)
    torch.testing.assert_close(loss("preference", (y - eps) / (1 - 2 * eps)), hard, **close)
    # TRL measures the margin in log-probabilities, h / β, and keeps the constant ¼ of the completed square.
    torch.testing.assert_close(loss("ipo", y) + 0.25, golden["beta"] ** 2 * ipo, **close)


def test_a_target_outside_the_unit_interval_has_no_lower_bound_and_the_guard_gives_one() -> None:
    h = torch.tensor([1.0, 100.0, 10_000.0])
    a, b = torch.ones(3), torch.full((3,), 4.0)
    unguarded, guarded = preference_loss(h, a, b), preference_loss(h, a, b, guard=5.0)
    assert unguarded[2] < -29_000
    bounded = 5 * torch.tanh(h / 5)
    torch.testing.assert_close(guarded, F.softplus(bounded) - 4 * bounded)
    assert guarded[2].item() == pytest.approx(math.log1p(math.exp(5)) - 4 * 5)


@given(FLOAT, st.floats(0.1, 5), st.floats(-5, 5))
def test_ipo_is_bounded_below_for_every_positive_mass(h: float, a: float, b: float) -> None:
    least = -((2 * b - a) ** 2) / (4 * a)
    assert preference_loss(_t(h), _t(a), _t(b), potential=square).item() >= least - 1e-9
    assert preference_loss(_t(b / a - 0.5), _t(a), _t(b), potential=square).item() == pytest.approx(least, abs=1e-9)


def _fit(objective: str, a: Tensor, b: Tensor, guard: float | None = None, steps: int = 800) -> tuple[Tensor, float]:
    """One free logit a pair: the most over-parameterised policy there is. Its logits, and the loss halfway."""
    h = torch.zeros(len(a), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([h], lr=0.1)
    halfway = 0.0
    for step in range(steps):
        optimizer.zero_grad()
        loss = pair_loss(objective, h, NO_ERROR, a, b, guard).mean()
        loss.backward()
        optimizer.step()
        halfway = loss.item() if step == steps // 2 else halfway
    return h.detach(), halfway


def test_debiased_ipo_stays_bounded_where_dedpo_runs_away() -> None:
    rng = np.random.default_rng(0)
    n = 200
    z = rng.integers(0, 2, n).astype(float)
    g = np.where(rng.random(n) < 0.8, z, 1 - z)
    r = np.arange(n) < n // 4
    a, b = (torch.from_numpy(v) for v in table("dedpo", z, g, r))
    assert set(b.tolist()) == {-3.0, 0.0, 1.0, 4.0}

    def value(objective: str, h: Tensor, guard: float | None = None) -> float:
        return pair_loss(objective, h, NO_ERROR, a, b, guard).mean().item()

    h, halfway = _fit("preference", a, b)
    assert value("preference", h) < halfway - 4, "it still falls"
    assert h.abs().max() > 70
    h, halfway = _fit("ipo", a, b)
    assert value("ipo", h) == pytest.approx(halfway, abs=1e-6)
    torch.testing.assert_close(h, b - 0.5, rtol=0, atol=1e-3)
    h, halfway = _fit("preference", a, b, guard=5.0)
    assert value("preference", h, 5.0) > halfway - 0.05
    a, b = (torch.from_numpy(v) for v in table("dpo_synthetic", z, g, r))
    h, _ = _fit("preference", a, b)
    assert value("preference", h) >= 0, "targets within [0, 1] stop at 0"


LOSSES = arrays(np.float64, 6, elements=st.floats(-5, 5))
WEIGHTS = arrays(np.float64, 6, elements=st.floats(0.2, 3)).map(lambda w: w / w.mean())


@given(LOSSES, WEIGHTS)
def test_dr_dpo_lies_between_the_least_loss_and_the_mean_and_tends_to_it(loss: np.ndarray, weights: np.ndarray) -> None:
    values, w = torch.from_numpy(loss), torch.from_numpy(weights)
    mean = (w * values).mean().item()
    found = [robust(values, w, beta).item() for beta in (1e-3, 1.0, 10.0, 1e7)]
    assert found[0] == pytest.approx(loss.min(), abs=1e-2)
    assert found == sorted(found) or np.ptp(found) < 1e-6
    assert found[3] == pytest.approx(mean, abs=1e-4)


def test_dr_dpo_written_out() -> None:
    found = robust(_t(1.0, 3.0), _t(0.5, 1.5), beta=2.0).item()
    assert found == pytest.approx(-2 * math.log((0.5 * math.exp(-0.5) + 1.5 * math.exp(-1.5)) / 2), rel=1e-12)


@given(LOSSES, WEIGHTS, st.floats(1e-3, 20), st.sampled_from([1.0, 1e3, -1e3]))
def test_tilted_parts_add_up_to_the_gradient_of_the_whole_batch(
    loss: np.ndarray, weights: np.ndarray, beta: float, scale: float
) -> None:
    """As a loop does it that sees the batch in parts, in fp32: whatever the losses, it is float64's of the whole."""
    whole = torch.from_numpy(loss).float().double().requires_grad_()
    value = robust(scale * whole, torch.from_numpy(weights).float().double(), beta)
    value.backward()
    w = torch.from_numpy(weights).float()
    parts = torch.from_numpy(loss).float().requires_grad_()
    shift, total = torch.tensor(-torch.inf), torch.zeros(())
    for part in (slice(0, 2), slice(2, 6)):
        per_pair = scale * parts[part]
        mine = exponents(per_pair.detach(), w[part], beta)
        before, shift = shift, torch.maximum(shift, mine.max())
        if parts.grad is not None:
            parts.grad *= torch.exp(before - shift)
        tilted = tilt(mine, shift)
        (tilted * per_pair).sum().backward()
        total = total * torch.exp(before - shift) + tilted.sum()
    assert parts.grad is not None
    assert 1 <= total <= 6
    assert whole.grad is not None
    # An exponent e is known to |e|·2⁻²⁴ in fp32, and a weight in proportion to it.
    known = 2**-22 * (1 + (scale * whole / beta).abs().max().item())
    torch.testing.assert_close((parts.grad / total).double(), whole.grad, rtol=0, atol=2 * known * abs(scale))
    found = -beta * (shift.double() + torch.log(total.double() / 6))
    assert found.item() == pytest.approx(value.item(), abs=beta * known)


@pytest.mark.parametrize("loss", [-1e4, -100.0, 100.0, 1e4])
def test_dr_dpo_of_great_losses_in_fp32(loss: float) -> None:
    """exp(−loss/β′) overflows from −88 β′ and vanishes from 104 β′; the soft minimum does neither."""
    values = torch.tensor([loss, loss + 1], dtype=torch.float32)
    found = robust(values, torch.ones(2), beta=1.0).item()
    assert found == pytest.approx(loss - math.log((1 + math.exp(-1)) / 2), rel=1e-6)
