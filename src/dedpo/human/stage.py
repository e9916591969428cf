"""Human labels out and in: choose pairs for people, take their answers back, join them with the imported ratings."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedpo import tables
from dedpo.errors import UserError
from dedpo.human import design, export, merging, project, project_store, store
from dedpo.human.project_store import PROJECT
from dedpo.human.store import ANSWERED, SELECTION
from dedpo.manifest import output_folder, write_json, write_text
from dedpo.rng import generator
from dedpo.sections import SelectConfig

SUMMARY: Final = "summary.json"
_FACTS: Final[tuple[str, ...]] = (
    "design",
    "selected",
    "candidates",
    "uniform_share",
    "lowest_propensity",
    "highest_propensity",
)


class Inputs(NamedTuple):
    """Where `select` finds what it may need.

    Attributes:
        splits: a split's table; None: none was made.
        holdout: share of the prompts that a split holds out; what either holds out is not asked about.
    """

    pairs: Path
    labels: Path
    ratings: Path
    splits: Path | None
    holdout: float


def select(config: SelectConfig, *, name: str, inputs: Inputs, human: Path) -> dict[str, Any]:
    """Choose the next pairs for people; write `human`/rounds/`name` and in it a Label Studio project.

    selection.parquet holds every candidate's chance and who was selected; it depends on the annotator's answers, the
    seed and the round's name, never on what people said. A round is drawn once: where it is there already and its
    project is not (a clone, an interrupted run), the project alone is written again.

    Returns:
        counts, and 'project', the folder to import.

    Raises:
        UserError: the round is there with its project, an input is missing or wrong, or there are fewer candidates
            than select.budget.
    """
    folder = human / "rounds" / project.check_round(name)
    if (folder / PROJECT).exists():
        raise UserError(
            f"{folder}: the round is there and is never drawn again; name another with --round, or delete "
            f"{folder / PROJECT} to have that written again"
        )
    is_new = not folder.exists()
    if is_new:
        project_store.ignore(human)
        _draw(config, name, inputs, folder)
    facts = _facts(folder)
    project_store.write(config.image_prefix, name, inputs.pairs, folder)
    shown = {key: facts[key] for key in _FACTS if key in facts}
    return {"round": name, "drawn": "now" if is_new else "earlier", **shown, "project": folder / PROJECT}


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return dict(facts) | {"design": str(facts["design"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder}: no whole round lies there ({SUMMARY} cannot be read); bring it back from version control, or "
            "delete the folder if nobody was asked yet"
        ) from None


def _draw(config: SelectConfig, name: str, inputs: Inputs, folder: Path) -> None:
    settings = config.model_dump(exclude={"image_prefix"}) | {"round": name}
    is_again = config.design == "again"
    read = {"pairs": inputs.pairs}
    if config.design == "rectifier":
        read["labels"] = inputs.labels
    if is_again:
        read["ratings"] = inputs.ratings
    else:
        settings["holdout"] = inputs.holdout
    if inputs.splits is not None:
        read["splits"] = inputs.splits
    with output_folder(folder, stage="select", config=settings, inputs=read) as partial:
        ids = _candidates(config, inputs)
        if config.budget > len(ids):
            raise UserError(
                f"select.budget: {config.budget} pairs are asked for and there are {len(ids)}; lower it or import more"
            )
        rng = generator("select", name, config.seed)
        propensity, positions = _selected(config, inputs.labels, ids, rng)
        table = _selection(ids, propensity, positions, rng)
        tables.write(table, tables.SELECTIONS, partial / SELECTION)
        facts: dict[str, Any] = {"design": config.design, "selected": len(positions), "candidates": len(ids)}
        facts |= {"uniform_share": 1.0 if config.design == "uniform" else config.uniform_share}
        if propensity is not None:
            facts |= {"lowest_propensity": float(propensity.min()), "highest_propensity": float(propensity.max())}
        write_json(partial / SUMMARY, facts)
        write_text(partial / "README.md", project.readme(name, facts, config.image_prefix))


def _candidates(config: SelectConfig, inputs: Inputs) -> pa.ChunkedArray:
    if config.design != "again":
        return store.training_pairs(inputs.pairs, inputs.splits, inputs.holdout)
    if inputs.splits is None:
        raise UserError("select.design: 'again' asks about pairs that a run sees; run 'dedpo data split' first")
    return store.seen_pairs(inputs.splits, inputs.ratings)


def _selected(
    config: SelectConfig, labels: Path, ids: pa.ChunkedArray, rng: np.random.Generator
) -> tuple[store.Floats | None, design.Ints]:
    """Every candidate's propensity, None where it means nothing, and the positions of the selected ones."""
    n = len(ids)
    if config.design == "rectifier":
        size = design.expected_size(store.annotator(labels, ids))
        propensity = design.probabilities(size, config.budget, config.uniform_share)
        return propensity, design.draw(propensity, rng)
    positions = design.uniform(n, config.budget, rng)
    return None if config.design == "again" else np.full(n, config.budget / n), positions


def _selection(
    ids: pa.ChunkedArray, propensity: store.Floats | None, positions: design.Ints, rng: np.random.Generator
) -> pa.Table:
    is_selected = np.zeros(len(ids), dtype=bool)
    is_selected[positions] = True
    orders = np.where(rng.integers(0, 2, len(ids)) == 0, "01", "10")
    columns = {
        "pair_id": ids,
        "propensity": pa.nulls(len(ids), pa.float64()) if propensity is None else propensity,
        "is_selected": is_selected,
        "order_shown": pa.array(orders.tolist(), pa.string(), mask=~is_selected),
    }
    return pa.table(columns, schema=tables.SELECTIONS.schema)


def merge(path: Path, *, human: Path, ratings: Path | None) -> dict[str, Any]:
    """Take a Label Studio export back: new ratings to `human`/ratings, one file a round, and the rounds' answered.json.

    No earlier file is changed: what an export repeats is counted, what contradicts an earlier rating is set aside in a
    CSV beside the ratings. The same export again changes nothing.

    Args:
        path: Label Studio's 'JSON' or 'JSON-MIN' export.
        ratings: the imported ratings, for the agreement with them; None: there are none.

    Returns:
        counts, agreement, and warnings in words.

    Raises:
        UserError: the export cannot be read, or there is no round.
    """
    answers, refused = export.parse(export.read(path))
    folder = human / "ratings"
    names = store.rounds(human / "rounds")
    if not names:
        raise UserError(f"{human / 'rounds'}: there is no round to merge into; choose pairs with 'dedpo data select'")
    # Only rounds that the export names; every other is 'unknown' to it as well, and its table stays unread.
    named = {a.round for a in answers}
    rounds = {name: store.selected(human / "rounds" / name) for name in names if name in named}
    found = merging.accept(answers, rounds, _earlier(folder))
    set_aside = sorted(refused + found.set_aside, key=lambda s: s.number)
    for name in rounds:
        mine = [a for a in found.new if a.round == name]
        if mine:
            store.write_ratings(store.ratings_table(mine), folder, name)
    summary: dict[str, Any] = {
        "annotations": len(answers) + len(refused),
        "new_ratings": len(found.new),
        "known": found.known,
        "duplicates": found.duplicates,
        "set_aside": merging.counted(set_aside),
    }
    if set_aside:
        summary["set_aside_in"] = store.write_set_aside(set_aside, folder)
    merged = [table for _, table in store.rating_files(folder)]
    if merged:
        imported = store.read_ratings(ratings) if ratings is not None else tables.RATINGS.schema.empty_table()
        summary["agreement"] = merging.between_people(merging.joined(imported.slice(0, 0), merged)[0], imported)
    lost = {s.number for s in found.set_aside if s.reason != merging.DIFFERS}
    here = {n: {a.pair_id for a in answers if a.round == n and a.number not in lost} for n in rounds}
    done = {n: _mark(human / "rounds" / n, orders, merged, here[n], path) for n, orders in rounds.items()}
    return summary | {"rounds": done, "warnings": _warnings(done, len(found.new))}


def describe(summary: Mapping[str, Any]) -> str:
    """What `merge` returned, for people."""
    lines = [f"{name}: {summary[name]}" for name in ("annotations", "new_ratings", "known", "duplicates")]
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


def _earlier(folder: Path) -> dict[tuple[str, str], float]:
    """(pair_id, rater) → preference of the merged ratings."""
    found: dict[tuple[str, str], float] = {}
    for _, table in store.rating_files(folder):
        columns = (table.column(n).to_pylist() for n in ("pair_id", "rater", "preference"))
        for pair, rater, value in zip(*columns, strict=True):
            found.setdefault((pair, rater), value)
    return found


def _mark(
    folder: Path, orders: Mapping[str, str], merged: list[pa.Table], here: set[str], path: Path
) -> dict[str, Any]:
    """Write a round's answered.json, if it has an answer; return its counts.

    Only answers that were given in this round: those of another would make its share of answered pairs too large.
    """
    mine = [t.filter(pc.equal(t.column("source"), f"label-studio:{folder.name}")) for t in merged]
    earlier = _before(folder / ANSWERED)
    given = {p for t in mine for p in t.column("pair_id").to_pylist()} | here | set(earlier.get("pairs", ()))
    answered = sorted(given & orders.keys())
    raters = Counter(rater for table in mine for rater in table.column("rater").to_pylist())
    counts = {"design": _facts(folder)["design"], "selected": len(orders), "answered": len(answered)}
    counts |= {"missing": len(orders) - len(answered), "raters": dict(sorted(raters.items()))}
    if answered:
        exports = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name} | earlier.get("exports", {})
        write_json(folder / ANSWERED, counts | {"exports": exports, "pairs": answered})
    return counts


def _before(path: Path) -> dict[str, Any]:
    """What an earlier merge noted; nothing where it cannot be read (git's conflict marks): it is made again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"pairs": [str(pair) for pair in found["pairs"]], "exports": dict(found["exports"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _warnings(rounds: Mapping[str, Mapping[str, Any]], n_new: int) -> list[str]:
    warnings = [
        f"round {name}: {counts['missing']} of {counts['selected']} selected pairs have no answer; the correction is "
        "right only if it is chance which ones"
        for name, counts in rounds.items()
        if counts["missing"] and counts["design"] != "again"
    ]
    return warnings if n_new else [*warnings, "nothing new: no rating was added"]


def ratings(*, imported: Path, human: Path, out: Path) -> dict[str, Any]:
    """Join the imported ratings with the merged ones of `human`/ratings; write ratings.parquet and summary.json.

    Sorted by pair and rater; a person's second rating of a pair is left out and counted, an imported one being first.
    Beside them lies what decides which pairs a run may see, and not how they were rated: rated.parquet (the rated
    pair_ids) and rounds.json (hashes of the answered rounds that splits count). Second opinions change neither.

    Raises:
        UserError: an input is missing or wrong.
    """
    files = dict(store.rating_files(human / "ratings"))
    inputs = {"ratings": imported} | {f"human {path.name}": path for path in files}
    for name, (selection, answers) in store.answered(human / "rounds").items():
        inputs |= {f"selection of round {name}": selection, f"answers of round {name}": answers}
    with output_folder(out, stage="ratings", config={}, inputs=inputs) as partial:
        table, counts = merging.joined(store.read_ratings(imported), list(files.values()))
        tables.write(table, tables.RATINGS, partial / "ratings.parquet")
        rated = pa.table({"pair_id": pc.unique(table.column("pair_id"))}, schema=store.RATED.schema)
        tables.write(rated, store.RATED, partial / "rated.parquet")
        write_json(partial / "rounds.json", store.round_hashes(human / "rounds"))
        write_json(partial / SUMMARY, counts)
    return counts
