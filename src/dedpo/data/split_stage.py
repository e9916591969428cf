"""What a run may see of an import's ratings, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from dedpo.contract import tables
from dedpo.contract.answered_pairs import answered_rounds
from dedpo.contract.records.data import Split
from dedpo.contract.sections import DataConfig
from dedpo.data import imported, splits
from dedpo.data import rounds as rounds_
from dedpo.errors import UserError
from dedpo.outputs.manifest import output_folder, write_json
from dedpo.stats.arrays import Bools, Floats

SUMMARY: Final = "summary.json"


def split(
    config: DataConfig, *, data: Path, out: Path, seed: int, ratings: Path | None = None, rounds: Path | None = None
) -> Split:
    """Hold out whole groups and draw the labelled training pairs; write splits.parquet and summary.json.

    The holdout depends on the groups' names alone, the labelled pairs on `seed`, too. Propensity is the chance with
    which a pair's rating was to be seen: n_labelled / n_train in training, whether it was drawn or not, and 1 in the
    holdout, whose ratings are all seen but never trained on (so is_labelled is False there). The answered pairs of
    rounds join the drawn ones, and the propensity is that of either (data/rounds.py).

    Args:
        data: a finished import; the uniform draw is one among the pairs rated there.
        ratings: those and what people answered since (`dedpo data ratings`); None: the import's.
        rounds: the folder of rounds; None, or without an answered round: the uniform draw is all.

    Returns:
        the counts in summary.json, and warnings in words.

    Raises:
        UserError: no rating, no training pair, fewer rated training pairs than config.labelled asks for, `ratings` is
            older than a round's answers, or config.labelled is null and the rounds leave a training pair out.
    """
    settings = config.model_dump(include={"holdout", "labelled"}) | {"seed": seed}
    answered = answered_rounds(rounds) if rounds is not None else {}
    joined = ratings or data / "ratings.parquet"
    inputs = {"data": data} | rounds_.inputs(answered, joined)
    with output_folder(out, stage="split", config=settings, inputs=inputs) as partial:
        groups = imported.groups(data / "pairs")
        rated = imported.rated(data / "ratings.parquet") if config.labelled is not None else imported.any_rated(joined)
        held_out = [splits.is_held_out(group, config.holdout) for group in groups.values()]
        ids = list(groups)
        train = [p for p, is_out in zip(ids, held_out, strict=True) if not is_out]
        if not train:
            raise UserError(
                f"data.holdout: {config.holdout:g} leaves none of {len(set(groups.values()))} groups for training; "
                "lower it or add prompts"
            )
        candidates = [p for p in train if p in rated]
        drawn = _uniform(config, train, candidates, seed)
        asked = _rounds(answered, train, joined)
        labelled, propensity = rounds_.together(float(drawn.mean()), drawn, asked)
        if config.labelled is None:
            _check_rounds_alone(labelled, propensity, rounds)
        table = _splits_table(ids, held_out, labelled, propensity)
        tables.write(table, tables.SPLITS, partial / "splits.parquet")
        summary = _split_summary(groups, train, candidates, rated, int(drawn.sum()), seed)
        if asked:
            summary["labelled_uniform"], summary["labelled"] = summary["labelled"], int(labelled.sum())
            summary["rounds"] = {r.name: r.counts() for r in asked}
            summary["warnings"] += rounds_.warnings(asked)
        write_json(partial / SUMMARY, summary)
    return summary


def _uniform(config: DataConfig, train: list[str], candidates: list[str], seed: int) -> Bools:
    """Which training pairs the uniform draw labels, shape (n_train,)."""
    if config.labelled is None:
        return np.zeros(len(train), dtype=bool)
    n_labelled = splits.number_labelled(config.labelled, len(train), len(candidates))
    chosen = {candidates[i] for i in splits.draw_labelled(len(candidates), n_labelled, seed)}
    return np.array([p in chosen for p in train])


def _rounds(answered: dict[str, Path], train: list[str], ratings: Path) -> list[rounds_.Round]:
    if not answered:
        return []
    rated = pa.array(sorted(imported.any_rated(ratings)), pa.string())
    return [rounds_.read(name, folder, pa.array(train), rated, ratings) for name, folder in answered.items()]


def _check_rounds_alone(labelled: Bools, propensity: Floats, rounds: Path | None) -> None:
    n_unknown = int((propensity == 0).sum())
    if labelled.sum() < splits.FEWEST_LABELLED:
        raise UserError(
            f"data.labelled: null asks for the pairs of answered rounds alone, and {rounds} has {labelled.sum()} of "
            "them; name a count, or run 'dedpo data select' and merge what people answer"
        )
    if n_unknown:
        raise UserError(
            f"data.labelled: null, and {n_unknown} of {len(labelled)} training pairs were in no answered round, so "
            "that nothing stands for them; name a count, or ask people in another round"
        )


def _splits_table(ids: list[str], held_out: list[bool], labelled: Bools, propensity: Floats) -> pa.Table:
    """`labelled` and `propensity` are the training pairs'."""
    train = ~np.array(held_out)
    is_labelled, chance = np.zeros(len(ids), dtype=bool), np.ones(len(ids))
    is_labelled[train], chance[train] = labelled, propensity
    columns = {
        "pair_id": ids,
        "split": ["holdout" if is_out else "train" for is_out in held_out],
        "is_labelled": is_labelled,
        "propensity": chance,
    }
    return pa.table(columns, schema=tables.SPLITS.schema)


def _split_summary(
    groups: dict[str, str], train: list[str], candidates: list[str], rated: set[str], n_labelled: int, seed: int
) -> Split:
    n_holdout = len(groups) - len(train)
    n_rated_holdout = len(rated & groups.keys()) - len(candidates)
    warnings = []
    if n_labelled and len(candidates) < len(train):
        warnings.append(
            f"only {len(candidates)} of {len(train)} training pairs have a rating; the propensity holds if these are a "
            "random part of them"
        )
    if not n_rated_holdout:
        warnings.append("no rated pair is held out; implicit accuracy will not be measured")
    return {
        "pairs": len(groups),
        "train": len(train),
        "holdout": n_holdout,
        "groups_train": len({groups[p] for p in train}),
        "groups_holdout": len(set(groups.values())) - len({groups[p] for p in train}),
        "rated_train": len(candidates),
        "rated_holdout": n_rated_holdout,
        "labelled": n_labelled,
        "propensity": n_labelled / len(train),
        "seed": seed,
        "warnings": warnings,
    }
