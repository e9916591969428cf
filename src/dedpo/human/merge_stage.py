"""People's answers taken back: which become ratings, and of which rounds they answer how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from dedpo.contract import answered_pairs, records, tables
from dedpo.contract.answered_pairs import ANSWERED
from dedpo.contract.records.human import Answered, Answers, Merged
from dedpo.errors import UserError
from dedpo.human import export, merged_ratings, merging, round_files
from dedpo.outputs import locks
from dedpo.outputs.manifest import fingerprint, write_json
from dedpo.tabular.rejected import SetAside

_COUNTS: Final = ("annotations", "new_ratings", "known", "duplicates")


def merge(path: Path, *, human: Path, ratings: Path | None, latest: bool = False) -> Merged:
    """Take a Label Studio export back: new ratings to `human`/ratings, one file a round, and the rounds' answered.json.

    No earlier file is changed: what an export repeats is counted, what contradicts an earlier rating is set aside in a
    CSV beside the ratings. The same export again changes nothing.

    Args:
        path: an export of Label Studio, or the folder of a target storage (human/export.py).
        latest: let a person's later answer stand in the place of an earlier one, and take out what is gone from a task
            of the export; the CSV keeps what was there before.
        ratings: the imported ratings, for the agreement with them; None: there are none.

    Returns:
        counts, agreement, and warnings in words.

    Raises:
        UserError: the export cannot be read or holds no answer to a round here, there is no round, or another merge is
            at work.
    """
    with locks.alone(human / "ratings") if human.is_dir() else nullcontext():
        return _merge(path, human, ratings, latest)


def _merge(path: Path, human: Path, ratings: Path | None, latest: bool) -> Merged:
    tasks = export.read(path)
    given, refused = export.parse(tasks)
    export.check(path, tasks, given, refused)
    folder = human / "ratings"
    names = round_files.finished(human / "rounds")
    if not names:
        raise UserError(f"{human / 'rounds'}: there is no round to merge into; choose pairs with 'dedpo data select'")
    # Only rounds that the export names; every other is 'unknown' to it as well, and its table stays unread.
    named = {a.round for a in given}
    rounds = {name: round_files.selected(human / "rounds" / name) for name in names if name in named}
    before = dict(merged_ratings.rating_files(folder))
    earlier, times = _earlier(list(before.values()))
    found = merging.accept(given, rounds, earlier, times if latest else None)
    _check_asked(path, human, given, found)
    written = set()
    for name in rounds:
        mine = [a for a in found.new if a.round == name]
        if mine:
            written.add(merged_ratings.write_ratings(merged_ratings.ratings_table(mine), folder, name))
    gone = merging.gone(list(before.values()), export.listed(tasks), given)
    taken = _withdraw(found.replaced, gone, before.keys() - written) if latest else []
    set_aside = sorted(refused + found.set_aside + taken, key=lambda s: s.number)
    aside = merged_ratings.write_set_aside(set_aside, folder) if set_aside else None
    merged = [table for _, table in merged_ratings.rating_files(folder)]
    imported = merged_ratings.read_ratings(ratings) if merged and ratings else tables.RATINGS.schema.empty_table()
    alike = merging.between_people(merging.joined(imported.slice(0, 0), merged)[0], imported) if merged else None
    lost = {s.number for s in found.set_aside if s.reason != merging.DIFFERS}
    usable = [a for a in given if a.number not in lost]
    done = {n: _mark(human / "rounds" / n, orders, merged, usable, path) for n, orders in rounds.items()}
    warnings = _warnings(done, len(found.new) + len(taken))
    if gone and not latest:
        warnings.append(
            f"{len(gone)} merged ratings are gone from their tasks in this export; they still count; if they were "
            "deleted in Label Studio, merge it with --latest"
        )
    summary: Merged = {
        "annotations": len(given) + len(refused),
        "new_ratings": len(found.new),
        "known": found.known,
        "duplicates": found.duplicates,
        "set_aside": merging.counted(set_aside),
        "rounds": done,
        "warnings": warnings,
    }
    if aside:
        summary["set_aside_in"] = aside
    if alike:
        summary["agreement"] = alike
    return summary


def _check_asked(path: Path, human: Path, given: list[export.HumanAnswer], found: merging.Accepted) -> None:
    strange = Counter(s.reason for s in found.set_aside if s.reason in merging.NOT_ASKED)
    if given and strange.total() == len(given):
        told = ", ".join(f"{count} × {reason}" for reason, count in strange.most_common())
        raise UserError(
            f"{path}: none of its {len(given)} answers is to a question of {human / 'rounds'} ({told}); name the "
            "folder of its round with --human"
        )


def _withdraw(replaced: list[merging.Key], gone: list[merging.Key], files: Collection[Path]) -> list[SetAside]:
    """Take out what a later answer replaces and what is gone; each row as the CSV keeps it."""
    reasons = dict.fromkeys(gone, "gone from the export") | dict.fromkeys(replaced, "replaced by a later answer")
    return [
        SetAside(0, reasons[r["pair_id"], r["rater"]], f"{r['rater']} on pair {r['pair_id']}: {r['preference']:g}", "")
        for r in merged_ratings.withdraw(reasons.keys(), sorted(files))
    ]


def describe(summary: Merged) -> str:
    """What `merge` returned, for people."""
    lines = [f"{name}: {summary[name]}" for name in _COUNTS]
    lines += [f"set aside: {count} × {reason}" for reason, count in summary["set_aside"].items()]
    if "set_aside_in" in summary:
        lines.append(f"each with its reason: {summary['set_aside_in']}")
    for name, counts in summary["rounds"].items():
        lines.append(f"round {name}: {counts['answered']} of {counts['selected']} selected pairs are answered")
        lines += [f"  {rater}: {n}" for rater, n in counts["raters"].items()]
    who = {"raters": "people with each other", "import": "people with the imported ratings"}
    for name, found in summary.get("agreement", {}).items():
        if found is not None:
            kappa = found.get("fleiss_kappa", found.get("cohen_kappa"))
            bounds = f"{found['low']} to {found['high']}"
            shown = "" if kappa is None else f"; kappa: {kappa}"
            lines.append(f"{who[name]}: {found['agreement']} ({bounds}) on {found['pairs']} pairs{shown}")
    return "\n".join([*lines, *(f"warning: {w}" for w in summary["warnings"])])


def _earlier(merged: list[pa.Table]) -> tuple[dict[merging.Key, float], dict[merging.Key, datetime | None]]:
    """(pair_id, rater) → preference and time of the merged ratings that stand."""
    if not merged:
        return {}, {}
    rows = merging.joined(merged[0].slice(0, 0), merged)[0].to_pylist()
    keys = [(row["pair_id"], row["rater"]) for row in rows]
    preferences = {key: row["preference"] for key, row in zip(keys, rows, strict=True)}
    return preferences, {key: row["time"] for key, row in zip(keys, rows, strict=True)}


def _mark(
    folder: Path, orders: Mapping[str, str], merged: list[pa.Table], usable: list[export.HumanAnswer], path: Path
) -> Answers:
    """Write a round's answered.json, if it has or had an answer; return its counts.

    Only answers that were given in this round: those of another would make its share of answered pairs too large.
    """
    # Where it cannot be read (git's conflict marks), it is made again.
    earlier = records.known(folder / ANSWERED, Answered, "it is made again")
    who = {pair: set(raters) for pair, raters in earlier["pairs"].items()} if earlier else {}
    mine = [t.filter(pc.equal(t.column("source"), f"label-studio:{folder.name}")) for t in merged]
    for table in mine:
        for pair, rater in zip(table.column("pair_id").to_pylist(), table.column("rater").to_pylist(), strict=True):
            who.setdefault(pair, set()).add(rater)
    for a in usable:
        if a.round == folder.name:
            who.setdefault(a.pair_id, set()).add(a.rater)
    rated = answered_pairs.rated(folder.parent.parent / "ratings")
    answered = [pair for pair in answered_pairs.still(who, rated) if pair in orders]
    raters = Counter(rater for table in mine for rater in table.column("rater").to_pylist())
    counts: Answers = {
        "design": round_files.facts(folder)["design"],
        "selected": len(orders),
        "answered": len(answered),
        "missing": len(orders) - len(answered),
        "raters": dict(sorted(raters.items())),
    }
    if answered or earlier:
        exports = {fingerprint(path): path.name} | (earlier["exports"] if earlier else {})
        pairs = {pair: sorted(r for r in who[pair] if (pair, r) in rated) for pair in answered}
        record: Answered = {**counts, "exports": exports, "pairs": pairs}
        write_json(folder / ANSWERED, record)
    return counts


def _warnings(rounds: Mapping[str, Answers], n_new: int) -> list[str]:
    warnings = [
        f"round {name}: {counts['missing']} of {counts['selected']} selected pairs have no answer; the correction is "
        "right only if it is chance which ones"
        for name, counts in rounds.items()
        if counts["missing"] and counts["design"] != "again"
    ]
    return warnings if n_new else [*warnings, "nothing new: no rating was added"]
