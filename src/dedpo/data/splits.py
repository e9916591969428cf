"""Whose ratings a run may see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dedpo.contract.holdout import is_held_out as is_held_out
from dedpo.errors import UserError
from dedpo.rng import generator

# An estimate with a spread needs two.
FEWEST_LABELLED = 2


def number_labelled(asked: float, n_train: int, n_rated: int) -> int:
    """How many training pairs are labelled, from a share in (0, 1] of `n_train` or a whole count of at least 2.

    Raises:
        UserError: `asked` is neither, comes to fewer than 2 pairs, or exceeds `n_rated`, the training pairs with a
            rating.
    """
    if asked > 1 and not float(asked).is_integer():
        raise UserError(f"data.labelled: {asked:g} is neither a share in (0, 1] nor a whole count of at least 2")
    n = round(asked * n_train) if asked <= 1 else int(asked)
    if n < FEWEST_LABELLED:
        raise UserError(
            f"data.labelled: {asked:g} of {n_train} training pairs is {n}; ask for at least {FEWEST_LABELLED} pairs"
        )
    if n > n_rated:
        raise UserError(
            f"data.labelled: {n} labelled training pairs are asked for and only {n_rated} of {n_train} have a human "
            "rating; lower data.labelled or add ratings"
        )
    return n


def draw_labelled(n_rated: int, n_labelled: int, seed: int) -> NDArray[np.int64]:
    """Positions of the labelled pairs among the rated ones: uniform, without replacement, shape (n_labelled,).

    With the same seed a smaller draw is part of a larger one.
    """
    return generator("labelled", seed).permutation(n_rated)[:n_labelled]
