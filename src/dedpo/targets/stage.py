"""Turn ratings, splits and labels into the two numbers (a, b) a pair, one table an arm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dedpo.contract import tables
from dedpo.contract.records.targets import Targets
from dedpo.contract.sections import TargetsConfig
from dedpo.errors import UserError
from dedpo.outputs.manifest import output_folder, write_json
from dedpo.targets import arms as arms_
from dedpo.targets import caveats, trust, words
from dedpo.targets.estimates import Estimates, estimate
from dedpo.targets.facts import facts as facts_of
from dedpo.targets.reading import TrainingPairs, read


def run(
    config: TargetsConfig,
    *,
    arms: Sequence[str],
    ratings: Path,
    splits: Path,
    labels: Path | None,
    features: Path | None,
    out: Path,
) -> dict[str, Targets]:
    """Write `out`/<arm>/targets.parquet and targets.json for each arm, and trust.json; no image is read.

    Pairs that lack what an arm needs (an annotator's answer, a human rating for dpo_all_human) are set aside and
    counted, and n is the number of the rest. What the annotators are worth is estimated once for all arms.

    Args:
        labels: the annotators' answers; None where nobody was asked, which the arms of human labels alone allow.
        features: the pairs' features, for the probe; None: λ and n_eff are those at the reference.

    Returns:
        arm → the content of its targets.json.

    Raises:
        UserError: an input is missing or wrong, an arm is left without a labelled pair, or it needs a flip rate that
            is neither set nor can be estimated.
    """
    inputs = {"ratings": ratings, "splits": splits}
    if labels is not None:
        inputs["labels"] = labels
    elif asking := [arm for arm in arms if arm in arms_.NEEDS_ANNOTATOR]:
        raise UserError(f"arm {asking[0]}: needs an annotator's labels, and there are none; run 'dedpo label' first")
    if features is not None:
        inputs["features"] = features
    settings = config.model_dump() | {"arms": list(arms)}
    with output_folder(out, stage="targets", config=settings, inputs=inputs) as partial:
        opinions = read(ratings, splits, labels, features)
        estimates = estimate(opinions, config)
        if labels is not None:
            write_json(partial / trust.FILE, trust.trust(opinions, estimates, labels, config))
        return {arm: _write_arm(arm, opinions, estimates, config, partial / arm) for arm in arms}


def describe(facts: Targets) -> str:
    """One arm's targets.json: a line, or a paragraph on a tuned arm, and a line a warning."""
    return "\n".join([facts["explanation"], *(f"  warning: {w}" for w in facts["warnings"])])


def overview(found: dict[str, Targets]) -> str:
    """What `run` returned, for people: a table of the arms, a paragraph on the tuned one, the warnings."""
    return words.overview(found)


def _write_arm(arm: str, opinions: TrainingPairs, estimates: Estimates, config: TargetsConfig, folder: Path) -> Targets:
    usable = _usable(arm, opinions, estimates)
    kept = opinions.where(usable)
    if not kept.is_labelled.any():
        raise UserError(
            f"arm {arm}: none of the {len(kept.human)} usable training pairs is labelled; label some, or drop it"
        )
    facts = facts_of(arm, kept, estimates, config, set_aside=int((~usable).sum()))
    coefficients = arms_.table(
        arm,
        kept.human,
        np.nan_to_num(estimates.preference[usable], nan=0.5),
        kept.is_labelled,
        facts["power"],
        flip_rate=facts["flip_rate"] or 0.0,
        # At an even rate the count that was drawn is less noisy than the chance, and right after pairs were set aside.
        propensity=None if np.ptp(kept.propensity) == 0 else kept.propensity,
    )
    told = caveats.warnings(facts, kept, estimates, coefficients, config)
    record: Targets = {**facts, "explanation": words.explanation(facts), "warnings": told}
    columns = {
        "pair_id": pa.array(kept.pair_ids.tolist(), pa.string()),
        "a": coefficients.a,
        "b": coefficients.b,
        "is_labelled": kept.is_labelled,
    }
    tables.write(pa.table(columns), tables.TARGETS, folder / "targets.parquet")
    write_json(folder / "targets.json", record)
    return record


def _usable(arm: str, opinions: TrainingPairs, estimates: Estimates) -> NDArray[np.bool_]:
    """The pairs that have what the arm needs."""
    if arm in arms_.NEEDS_ANNOTATOR:
        return ~np.isnan(estimates.preference)
    if arm == "dpo_all_human":
        return ~np.isnan(opinions.human)
    return np.full(len(opinions.human), True)
