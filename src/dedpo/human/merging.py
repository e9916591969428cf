"""From answers to ratings: whose answers stand, and how far people agree; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedpo.contract.records.human import Alike, Joined
from dedpo.human.export import HumanAnswer
from dedpo.rng import generator
from dedpo.stats.agreement import Agreement, agreement, ceiling, count_votes
from dedpo.stats.intervals import Interval
from dedpo.tabular.rejected import SetAside

# Preferences in exports are 0, ½ and 1; those from elsewhere may have been swapped, 1 − (1 − p).
SAME_PREFERENCE: Final = 1e-9
_BOOTSTRAP: Final = 1000
DIFFERS: Final = "differs from the merged rating"
OVERRULED: Final = "overruled by a later answer"

UNKNOWN_ROUND: Final = "unknown round"
UNKNOWN_PAIR: Final = "unknown pair"
OTHER_ORDER: Final = "other order than was drawn"
NOT_ASKED: Final = (UNKNOWN_ROUND, UNKNOWN_PAIR, OTHER_ORDER)

Key = tuple[str, str]  # (pair_id, rater)
Earlier = Mapping[Key, float]
Times = Mapping[Key, datetime | None]


class Accepted(NamedTuple):
    """What the answers amount to; each is new, known, a duplicate or set aside.

    Attributes:
        replaced: (pair_id, rater) of the merged ratings in whose place a new one comes.
    """

    new: list[HumanAnswer]
    set_aside: list[SetAside]
    known: int
    duplicates: int
    replaced: list[tuple[str, str]]


def accept(
    answers: list[HumanAnswer], rounds: Mapping[str, Mapping[str, str]], earlier: Earlier, since: Times | None = None
) -> Accepted:
    """Keep one answer of each person to each pair, if the pair was asked about and nothing contradicts it.

    Args:
        rounds: round → pair_id → order shown, of the selected pairs.
        earlier: (pair_id, rater) → preference, of the ratings merged so far.
        since: their times, if a person's later answer is to stand in the place of an earlier one; None: what
            contradicts is set aside, and no merged rating is changed.
    """
    set_aside: list[SetAside] = []
    asked: list[HumanAnswer] = []
    for answer in answers:
        reason = _not_asked(answer, rounds)
        if reason:
            set_aside.append(_aside(answer, reason))
        else:
            asked.append(answer)
    new: list[HumanAnswer] = []
    replaced: list[Key] = []
    known = duplicates = 0
    for key, same in groupby(sorted(asked, key=_key), _key):
        given = list(same)
        if since is not None:
            given, overruled = _latest(given)
            set_aside += [_aside(a, OVERRULED) for a in overruled]
        values = [a.preference for a in given]
        before = earlier.get(key)
        if max(values) - min(values) > SAME_PREFERENCE:
            set_aside += [_aside(a, "contradictory ratings") for a in given]
            continue
        duplicates += len(given) - 1
        if before is None:
            new.append(given[0])
        elif abs(before - values[0]) <= SAME_PREFERENCE:
            known += 1
        elif since is not None and not _is_older(given[0].time, since.get(key)):
            new.append(given[0])
            replaced.append(key)
        else:
            set_aside.append(_aside(given[0], DIFFERS))
    return Accepted(new, sorted(set_aside, key=lambda s: s.number), known, duplicates, replaced)


def _key(answer: HumanAnswer) -> Key:
    return answer.pair_id, answer.rater


def _latest(given: list[HumanAnswer]) -> tuple[list[HumanAnswer], list[HumanAnswer]]:
    """One person's answers to one pair: those of the last moment, with what says the same, and those that differ."""
    last = max((a.time for a in given if a.time is not None), default=None)
    values = {a.preference for a in given if a.time == last}
    # Two at one moment, or none with a time, are a contradiction still.
    standing = [a for a in given if a.preference in values]
    return standing, [a for a in given if a.preference not in values]


def _is_older(time: datetime | None, than: datetime | None) -> bool:
    return time is not None and than is not None and time < than


def gone(merged: list[pa.Table], listed: Collection[tuple[str, str]], answers: Iterable[HumanAnswer]) -> list[Key]:
    """(pair_id, rater) of merged ratings whose annotation is not in an export that lists all of its task, sorted.

    Only of people who answered something in that export: those of another project with the same tasks are not in it.

    Args:
        listed: (round, pair_id) of the tasks that the export lists with all their annotations.
    """
    given = {(a.round, a.pair_id, a.rater) for a in answers}
    here = {rater for _, _, rater in given}
    found: set[Key] = set()
    for table in merged:
        rounds = (source.removeprefix("label-studio:") for source in table.column("source").to_pylist())
        for name, pair, rater in zip(
            rounds, table.column("pair_id").to_pylist(), table.column("rater").to_pylist(), strict=True
        ):
            if rater in here and (name, pair) in listed and (name, pair, rater) not in given:
                found.add((pair, rater))
    return sorted(found)


def _not_asked(answer: HumanAnswer, rounds: Mapping[str, Mapping[str, str]]) -> str:
    """Why the answer is to no question of ours; '' if it is to one."""
    if answer.round not in rounds:
        return UNKNOWN_ROUND
    order = rounds[answer.round].get(answer.pair_id)
    if order is None:
        return UNKNOWN_PAIR
    return "" if order == answer.order_shown else OTHER_ORDER


def _aside(answer: HumanAnswer, reason: str) -> SetAside:
    return SetAside(answer.number, reason, f"{answer.rater} on pair {answer.pair_id}", answer.prompt)


def joined(imported: pa.Table, merged: list[pa.Table]) -> tuple[pa.Table, Joined]:
    """All ratings, sorted by pair and rater; one of each person on each pair, and what was left out.

    The import's rating wins over a merged one, and of merged ones that with the earliest time.
    """
    human = pa.concat_tables(merged) if merged else imported.slice(0, 0)
    ordered = human.sort_by([("time", "ascending"), ("pair_id", "ascending"), ("rater", "ascending")])
    together = pa.concat_tables([imported, ordered])
    numbered = together.append_column("row", pa.array(np.arange(together.num_rows)))
    first = numbered.group_by(["pair_id", "rater"], use_threads=False).aggregate([("row", "min")]).column("row_min")
    kept = together.take(first)
    counts: Joined = {
        "ratings": kept.num_rows,
        "imported": imported.num_rows,
        "merged": human.num_rows,
        "left_out": together.num_rows - kept.num_rows,
        "pairs": len(pc.unique(kept.column("pair_id"))),
        "raters": len(pc.unique(kept.column("rater"))),
    }
    return kept.sort_by([("pair_id", "ascending"), ("rater", "ascending")]), counts


def between_people(merged: pa.Table, imported: pa.Table) -> dict[str, Alike | None]:
    """How far the raters agree among themselves, and their mean with the imported ratings' mean.

    Both with 95 % intervals that take pairs as independent; None is what cannot be computed.
    """
    ids = pc.unique(merged.column("pair_id"))
    rows = pc.index_in(merged.column("pair_id"), ids).to_numpy()
    values = np.asarray(merged.column("preference").to_numpy(), dtype=np.float64)
    pairs = np.arange(len(ids))
    people = ceiling(
        count_votes(rows, values, len(ids)),
        np.full(len(ids), np.nan),
        pairs,
        bootstrap=_BOOTSTRAP,
        rng=generator("agreement of raters"),
    )
    against = _against(merged, imported)
    raters, imports = None, None
    if people.n_pairs:
        raters = _alike(people.share, people.n_pairs)
        raters["fleiss_kappa"] = _finite(people.fleiss)
    if against is not None:
        imports = _alike(against.outer, against.n)
        imports["cohen_kappa"] = _finite(against.kappa.value)
    return {"raters": raters, "import": imports}


def _against(merged: pa.Table, imported: pa.Table) -> Agreement | None:
    """Mean merged against mean imported preference on the pairs that have both; a person is not held against itself."""
    same = pa.table({"pair_id": imported.column("pair_id"), "rater": imported.column("rater")})
    others = merged.join(same, ["pair_id", "rater"], join_type="left anti")
    means = [t.group_by("pair_id").aggregate([("preference", "mean")]) for t in (others, imported)]
    both = means[0].join(means[1], "pair_id", join_type="inner", right_suffix="_import").sort_by("pair_id")
    if not both.num_rows:
        return None
    before, now = (np.asarray(both.column(n).to_numpy()) for n in ("preference_mean_import", "preference_mean"))
    rng = generator("agreement with the import")
    return agreement(before, now, np.arange(both.num_rows), bootstrap=_BOOTSTRAP, rng=rng)


def _alike(found: Interval, pairs: int) -> Alike:
    bounds = _finite(found.low), _finite(found.high)
    return {"agreement": _finite(found.value), "low": bounds[0], "high": bounds[1], "pairs": pairs}


def _finite(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def counted(set_aside: list[SetAside]) -> dict[str, int]:
    """Reason → how many, most frequent first."""
    return dict(Counter(s.reason for s in set_aside).most_common())
