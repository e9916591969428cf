"""How far two computations of the same training step may lie apart in fp32: from the arithmetic, not from a machine.

Processors add the terms of a sum in other orders, and so do micro-batches and ranks. Measured on AVX-512, on AVX2 and
without either, the differences are a tenth of these bounds; what the tests are to catch is a hundred times greater.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike

EPS: Final = 2.0**-23
# A denoising error, relative: a mean of squares behind some twenty layers of dot products of up to 600 terms. A sum of
# K terms in another order differs by about √K · ε/2, and layers add in quadrature: √(20 · 600)/2 ≈ 55 ε. Measured: 15.
ERROR: Final = 64 * EPS
# A logit, absolute: ½β times the roundings of four such errors, in quadrature; the base model's error is 0.1 and the
# tests' β is 1000. A loss has slopes |aσ(h) − b| of up to 4 in h, and the mean over 8 pairs takes √8 of it away again.
LOGIT: Final = 0.5 * 1000 * 2 * 0.1 * ERROR
# A gradient, relative to its norm: the way back is about as long as the way forth, and it is summed over 8 pairs of two
# images, some of which cancel. Measured: 50 ε.
GRADIENT: Final = 16 * ERROR
# A change of weights, relative to its norm. AdamW divides a gradient by its size: where round-off turns the sign of one
# that is all but 0, a weight moves by its whole step the other way. 25 in a million may: √(4 · 25e-6) = 1e-2.
CHANGE: Final = 1e-2


def distance(found: ArrayLike | torch.Tensor, expected: ArrayLike | torch.Tensor) -> float:
    """‖found − expected‖ / ‖expected‖, in double precision: length and direction in one number."""
    one, other = (np.asarray(v, dtype=np.float64).ravel() for v in (found, expected))
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))
