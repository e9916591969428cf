"""Turn ratings, splits and labels into the two numbers (a, b) a pair, one table an arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dedpo import tables
from dedpo.config import TargetsConfig
from dedpo.errors import UserError
from dedpo.manifest import output_folder, write_json
from dedpo.stats import intervals, power
from dedpo.targets import arms as arms_

# At λ = 1 with hard labels the gradient is noisier than human labels alone would give, below this accuracy.
USEFUL_ACCURACY = 0.75
FEW_LABELS = 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Opinions:
    """What is known of the training pairs, row by row, sorted by pair_id.

    Attributes:
        human: mean human preference, NaN where nobody rated; shape (n,).
        annotator: synthetic preference, NaN where it gave none; shape (n,).
        is_labelled: whether the run may see `human`; shape (n,).
    """

    pair_ids: NDArray[np.object_]
    human: Floats
    annotator: Floats
    is_labelled: NDArray[np.bool_]
    annotator_name: str

    def where(self, keep: NDArray[np.bool_]) -> Opinions:
        """The rows to keep."""
        return Opinions(
            self.pair_ids[keep], self.human[keep], self.annotator[keep], self.is_labelled[keep], self.annotator_name
        )


def run(
    config: TargetsConfig, *, arms: Sequence[str], ratings: Path, splits: Path, labels: Path, out: Path
) -> dict[str, Any]:
    """Write `out`/<arm>/targets.parquet and targets.json for each arm; no image is read.

    Pairs that lack what an arm needs (an annotator's answer, a human rating for dpo_all_human) are set aside and
    counted, and n is the number of the rest.

    Returns:
        arm → the content of its targets.json.

    Raises:
        UserError: an input is missing or wrong, or an arm is left without a labelled pair.
    """
    inputs = {"ratings": ratings, "splits": splits, "labels": labels}
    settings = config.model_dump() | {"arms": list(arms)}
    with output_folder(out, stage="targets", config=settings, inputs=inputs) as partial:
        opinions = _opinions(ratings, splits, labels)
        return {arm: _write_arm(arm, opinions, config, partial / arm) for arm in arms}


def describe(facts: dict[str, Any]) -> str:
    """One arm's targets.json in a line, and a line a warning."""
    accuracy, line = facts["accuracy"], f"{facts['arm']}: {facts['n_labelled']} human-labelled of {facts['n']} pairs"
    if facts["set_aside"]:
        line += f", {facts['set_aside']} set aside"
    if facts["arm"] in ("dedpo", "dedpo_tuned"):
        line += f"; λ = {facts['power']:.2f}"
        if accuracy["value"] is not None:
            line += f", accuracy {accuracy['value']:.1%} ({accuracy['low']:.1%} to {accuracy['high']:.1%})"
    if facts["n_eff"] is not None:
        line += f"; worth {facts['n_eff']:.0f} human labels"
    return "\n".join([line, *(f"  warning: {w}" for w in facts["warnings"])])


def _opinions(ratings: Path, splits: Path, labels: Path) -> Opinions:
    split = tables.read(splits, tables.SPLITS)
    split = split.filter(pc.equal(split.column("split"), "train")).sort_by("pair_id")
    if split.num_rows == 0:
        raise UserError(f"{splits}: no row has split 'train'; lower data.holdout and split again")
    human = tables.read(ratings, tables.RATINGS).group_by("pair_id").aggregate([("preference", "mean")])
    answered = tables.read(labels, tables.LABELS)
    names = pc.unique(answered.column("annotator")).to_pylist()
    if len(names) > 1:
        raise UserError(f"{labels}: answers of several annotators ({', '.join(names)}); give one annotator's table")
    joined = (
        split.select(["pair_id", "is_labelled"])
        .join(human, "pair_id")
        .join(answered.select(["pair_id", "preference"]), "pair_id")
        .sort_by("pair_id")
    )
    opinions = Opinions(
        pair_ids=np.array(joined.column("pair_id").to_pylist(), dtype=object),
        human=_floats(joined.column("preference_mean")),
        annotator=_floats(joined.column("preference")),
        is_labelled=np.array(joined.column("is_labelled").to_pylist(), dtype=bool),
        annotator_name=names[0],
    )
    unrated = opinions.is_labelled & np.isnan(opinions.human)
    if unrated.any():
        pair = opinions.pair_ids[unrated][0]
        raise UserError(f"{splits}: pair {pair} is marked labelled but {ratings} holds no rating of it; split again")
    return opinions


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.array(pc.fill_null(column, np.nan).to_pylist(), dtype=np.float64)


def _write_arm(arm: str, opinions: Opinions, config: TargetsConfig, folder: Path) -> dict[str, Any]:
    usable = ~np.isnan(opinions.annotator) if arm in arms_.NEEDS_ANNOTATOR else np.full(len(opinions.human), True)
    if arm == "dpo_all_human":
        usable &= ~np.isnan(opinions.human)
    kept = opinions.where(usable)
    if not kept.is_labelled.any():
        raise UserError(
            f"arm {arm}: none of the {len(kept.human)} usable training pairs is labelled; label some, or drop it"
        )
    facts = _facts(arm, kept, config, set_aside=int((~usable).sum()))
    annotator = np.nan_to_num(kept.annotator, nan=0.5)
    coefficients = arms_.table(arm, kept.human, annotator, kept.is_labelled, facts["power"])
    columns = {
        "pair_id": pa.array(kept.pair_ids.tolist(), pa.string()),
        "a": coefficients.a,
        "b": coefficients.b,
        "is_labelled": kept.is_labelled,
    }
    tables.write(pa.table(columns), tables.TARGETS, folder / "targets.parquet")
    write_json(folder / "targets.json", facts)
    return facts


def _facts(arm: str, kept: Opinions, config: TargetsConfig, set_aside: int) -> dict[str, Any]:
    """What must be known before training."""
    n, n_labelled = len(kept.human), int(kept.is_labelled.sum())
    both = kept.is_labelled & ~np.isnan(kept.annotator)
    z, g = kept.human[both], kept.annotator[both]
    untied = (z != 0.5) & (g != 0.5)
    accuracy = intervals.wilson(int(((z > 0.5) == (g > 0.5))[untied].sum()), int(untied.sum()))
    m = power.moments(z, g) if both.any() else None
    estimated = power.best_power(m) if m else 0.0
    lam = {"dedpo": 1.0, "dedpo_tuned": config.power if config.power is not None else estimated}.get(arm, 0.0)
    is_debiased = arm in ("dedpo", "dedpo_tuned")
    n_eff: float | None = float(n_labelled) if arm in ("dpo_human", "sft") else None
    if arm == "dpo_all_human":
        n_eff = float(n)
    elif is_debiased and m:
        n_eff = power.effective_labels(m, n_labelled, n, lam)
    return {
        "arm": arm,
        "objective": "sft" if arm == "sft" else "preference",
        "annotator": kept.annotator_name,
        "n_labelled": n_labelled,
        "n": n,
        "set_aside": set_aside,
        "power": lam,
        "power_estimate": estimated,
        # None for the imputing arms: their error is bias, which no number of labels measures.
        "n_eff": None if n_eff is None or not np.isfinite(n_eff) else round(n_eff, 1),
        "accuracy": {
            "value": _finite(accuracy.value),
            "low": _finite(accuracy.low),
            "high": _finite(accuracy.high),
            "n": int(untied.sum()),
        },
        "warnings": _warnings(arm, accuracy, n_labelled, n_eff) if is_debiased else [],
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _warnings(arm: str, accuracy: intervals.Interval, n_labelled: int, n_eff: float | None) -> list[str]:
    found = []
    if arm == "dedpo" and not accuracy.low >= USEFUL_ACCURACY:
        found.append(
            f"the annotator's accuracy, {accuracy.value:.0%} ({accuracy.low:.0%} to {accuracy.high:.0%}), is not "
            f"clearly above {USEFUL_ACCURACY:.0%}: at λ = 1 it may add more noise than it removes; use dedpo_tuned"
        )
    if n_labelled < FEW_LABELS:
        found.append(
            f"only {n_labelled} human labels: λ and the accuracy are rough guesses; label {FEW_LABELS} or more"
        )
    if n_eff is not None and n_eff < n_labelled:
        found.append(f"{n_eff:.0f} effective human labels are fewer than the {n_labelled} real ones")
    return found
