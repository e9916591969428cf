"""The whole objective: every offline arm is one loss over a table of two numbers (a, b) a pair.

φ(h) is what it costs to prefer image 0, φ(−h) what it costs to prefer image 1, and a pair weighs the two:

    loss = (a − b)·φ(h) + b·φ(−h)

    preference   φ = softplus      a·softplus(h) − b·h     DPO and DeDPO, eq. (11)
    ipo          φ = h² + h        a·h² − (2b − a)·h       IPO, and debiased IPO
    sft          no h: (a − b)·m₀ + b·m₁                   the preferred image's denoising error

A batch's loss is the weighted mean of its pairs', or Dr. DPO's soft minimum of them (`robust`). Which table debiases is
`targets`' business; self-training fills its table in while it trains (self_training.py) and is 'preference' here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Potential = Callable[[Tensor], Tensor]


def logit(policy_error: Tensor, reference_error: Tensor, beta: float) -> Tensor:
    """h = −½ β [(m₁ − ρ₁) − (m₀ − ρ₀)]; σ(h) is the policy's P(x¹ ≻ x⁰), eq. (4) of DeDPO for an unordered pair.

    β follows the Diffusion-DPO convention: errors are means over C, H, W and the ½ is explicit (diffusers' research
    script folds it in and uses 2500 for the same strength as 5000 here).

    Args:
        policy_error: m, shape (2, batch): images 0 and 1, same timestep and noise.
        reference_error: ρ, same shape, from the same numeric path, so that h is exactly 0 before the first step.

    Returns:
        shape (batch,).
    """
    gap = policy_error - reference_error
    return -0.5 * beta * (gap[1] - gap[0])


def square(h: Tensor) -> Tensor:
    """h² + h, IPO's potential (arXiv 2310.12036) with τ = β: the target margin is ½ in units of the logit.

    With w = b/a the loss is a·[w(h − ½)² + (1 − w)(h + ½)²] up to a constant, least at h = w − ½: bounded below for
    every a > 0, also where w leaves [0, 1] as debiased targets do.
    """
    return h * (h + 1)


POTENTIALS: dict[str, Potential] = {"preference": F.softplus, "self_training": F.softplus, "ipo": square}


def preference_loss(
    h: Tensor, a: Tensor, b: Tensor, guard: float | None = None, potential: Potential = F.softplus
) -> Tensor:
    """(a − b)·φ(h) + b·φ(−h); with softplus and a = 1 it is BCE-with-logits at target b, which may leave [0, 1].

    Unlike BCE on probabilities softplus' is unbounded below for b outside [0, a]. `guard` bounds the logit inside the
    loss by guard·tanh(h/guard).

    Args:
        h, a, b: shape (batch,).

    Returns:
        shape (batch,), one value a pair.
    """
    if guard is not None:
        h = guard * torch.tanh(h / guard)
    return (a - b) * potential(h) + b * potential(-h)


def sft_loss(policy_error: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Denoising error of the preferred image, (a − b)·m₀ + b·m₁: a tie weighs both by half. Shape (batch,)."""
    return (a - b) * policy_error[0] + b * policy_error[1]


def pair_loss(
    objective: str, h: Tensor, policy_error: Tensor, a: Tensor, b: Tensor, guard: float | None = None
) -> Tensor:
    """The loss of each pair, shape (batch,).

    Args:
        objective: 'sft' or a key of POTENTIALS; for 'self_training' a and b are already filled in.
        h, a, b: shape (batch,).
        policy_error: shape (2, batch).
        guard: bound on the logit inside the loss.
    """
    if objective == "sft":
        return sft_loss(policy_error, a, b)
    return preference_loss(h, a, b, guard, POTENTIALS[objective])


def robust(loss_per_pair: Tensor, weights: Tensor, beta: float) -> Tensor:
    """−β′ log mean w·exp(−loss/β′) over the batch, Dr. DPO (arXiv 2407.07880): pairs of great loss count for less.

    It tends to the weighted mean as β′ → ∞ and to the least loss as β′ → 0. It needs the whole batch at once; parts of
    one that are summed over ranks and micro-batches use `tilt`.

    Args:
        loss_per_pair: shape (batch,).
        weights: importance weights, positive, of mean 1 over the whole batch; shape (batch,).
        beta: β′ > 0.

    Returns:
        a scalar.
    """
    return -beta * (torch.logsumexp(exponents(loss_per_pair, weights, beta), dim=0) - math.log(len(weights)))


def exponents(loss_per_pair: Tensor, weights: Tensor, beta: float) -> Tensor:
    """log w − loss/β′, shape (batch,): the soft maximum of these is the soft minimum of the losses."""
    return torch.log(weights) - loss_per_pair / beta


def tilt(exponents: Tensor, shift: Tensor) -> Tensor:
    """exp(exponent − shift), shape (batch,): what each pair weighs in the gradient of `robust`.

    ∇robust = Σ tilt·∇loss / Σ tilt, both sums over the whole batch and with one shift, which cancels. So a loop that
    sees the batch in parts takes these as the weights, adds up gradients and weights, and divides at the end of the
    step. With the largest exponent so far as the shift nothing overflows and the sum is at least 1; where a later part
    raises it by δ, what was added up before is multiplied by exp(−δ).
    """
    return torch.exp(exponents - shift)
