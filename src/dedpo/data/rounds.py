"""The rounds in which people were asked: whose answers a run may see, and with which chance it sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedpo.contract import answered_pairs, tables
from dedpo.contract.answered_pairs import ANSWERED, SELECTION
from dedpo.contract.records.data import RoundCounts
from dedpo.errors import UserError
from dedpo.stats.arrays import Bools, Floats


@dataclass(frozen=True)
class Round:
    """An answered round, seen from the training pairs.

    Attributes:
        propensity: the chance with which each was to be selected, 0 where the round did not know it; shape (n,).
        is_selected: shape (n,).
        is_answered: selected, and somebody answered; shape (n,).
        elsewhere: how many selected pairs are not among the training pairs (any more).
    """

    name: str
    propensity: Floats
    is_selected: Bools
    is_answered: Bools
    elsewhere: int

    @property
    def response(self) -> float:
        """Answered ÷ selected: by as much smaller is the chance to be seen than the chance to be selected.

        Right if it is chance which selected pairs nobody answered.
        """
        return float(self.is_answered.sum() / self.is_selected.sum()) if self.is_selected.any() else 0.0

    def counts(self) -> RoundCounts:
        """What summary.json says of the round."""
        selected, answered = int(self.is_selected.sum()), int(self.is_answered.sum())
        return {"selected": selected, "answered": answered, "missing": selected - answered, "elsewhere": self.elsewhere}


def inputs(found: dict[str, Path], ratings: Path) -> dict[str, Path]:
    """What a split that counts these rounds was made from; nothing without a round."""
    if not found:
        return {}
    files = {f"{what} of round {n}": p / f for n, p in found.items() for what, f in _FILES.items()}
    return {"ratings": ratings, **files}


_FILES: Final = {"selection": SELECTION, "answers": ANSWERED}


def read(name: str, folder: Path, train: pa.Array, rated: pa.Array, ratings: Path) -> Round:
    """One answered round over the training pairs `train`, given the pairs that are `rated` in `ratings`.

    Raises:
        UserError: its table is missing or wrong, or `ratings` is older than its answers.
    """
    rows = tables.read(folder / SELECTION, tables.SELECTIONS)
    n_selected = pc.sum(rows.column("is_selected")).as_py()
    # An answer that was deleted from the merged ratings since is none: the chance to be seen is smaller by it.
    given = pa.array(
        answered_pairs.note(folder / ANSWERED).still(answered_pairs.rated(folder.parent.parent / "ratings")),
        pa.string(),
    )
    if unknown := len(given) - (pc.sum(pc.is_in(given, rated)).as_py() or 0):
        raise UserError(
            f"{ratings}: has no rating of {unknown} of the {len(given)} pairs that were answered in round {name}; "
            "run 'dedpo data ratings' first"
        )
    place = pc.index_in(train, rows.column("pair_id").combine_chunks())
    is_selected = _bools(pc.fill_null(rows.column("is_selected").take(place), False))
    return Round(
        name=name,
        propensity=np.asarray(pc.fill_null(rows.column("propensity").take(place), 0.0).to_numpy(), dtype=np.float64),
        is_selected=is_selected,
        is_answered=is_selected & _bools(pc.is_in(train, given)),
        elsewhere=n_selected - int(is_selected.sum()),
    )


def _bools(column: Any) -> Bools:
    return np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())


def together(uniform: float, drawn: Bools, rounds: Sequence[Round]) -> tuple[Bools, Floats]:
    """Who is labelled, by the uniform draw or by a round, and with which chance: 1 − (1 − π₀)·Π(1 − π_r).

    The draws are independent, for none looks at a human answer. Shapes (n,).

    Args:
        uniform: π₀, the chance of the uniform draw, in [0, 1].
        drawn: whom that draw labelled, shape (n,).
    """
    labelled, propensity = drawn.copy(), np.full(len(drawn), uniform)
    for found in rounds:
        labelled |= found.is_answered
        chance = found.propensity * found.response
        propensity = propensity + chance - propensity * chance
    return labelled, np.minimum(propensity, 1.0)


def warnings(rounds: Sequence[Round]) -> list[str]:
    """What the split's reader must know of the rounds."""
    found = []
    for r in rounds:
        counts = r.counts()
        if counts["missing"]:
            found.append(
                f"round {r.name}: {counts['missing']} of {counts['selected']} selected pairs have no rating; the "
                "propensity is right only if it is chance which ones"
            )
        if counts["elsewhere"]:
            found.append(f"round {r.name}: {counts['elsewhere']} selected pairs are no training pairs of this import")
    return found
