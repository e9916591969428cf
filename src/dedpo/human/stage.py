"""Human labels out and in: choose pairs for people, take their answers back, join them with the imported ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedpo.contract import tables
from dedpo.contract.answered_pairs import ANSWERED, SELECTION, answered_rounds
from dedpo.contract.records.human import Joined, Selected, Selection
from dedpo.contract.sections import SelectConfig
from dedpo.errors import UserError
from dedpo.human import candidates, design, merged_ratings, merging, project, project_files, round_files
from dedpo.human.merge_stage import describe as describe
from dedpo.human.merge_stage import merge as merge
from dedpo.human.project_files import PROJECT
from dedpo.outputs.manifest import output_folder, write_json, write_text
from dedpo.rng import generator
from dedpo.stats.arrays import Floats, Ints

SUMMARY: Final = "summary.json"


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


def select(config: SelectConfig, *, name: str, inputs: Inputs, human: Path) -> Selected:
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
        _draw(config, name, inputs, folder)
    facts = round_files.facts(folder)
    project_files.ignore(human)
    project_files.write(config.image_prefix, name, inputs.pairs, folder)
    made = {"round": name, "drawn": "now" if is_new else "earlier"}
    return cast(Selected, made | facts | {"project": folder / PROJECT})


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
        share = 1.0 if config.design == "uniform" else config.uniform_share
        facts = Selection(design=config.design, selected=len(positions), candidates=len(ids), uniform_share=share)
        if propensity is not None:
            facts["lowest_propensity"] = float(propensity.min())
            facts["highest_propensity"] = float(propensity.max())
        write_json(partial / SUMMARY, facts)
        write_text(partial / "README.md", project.readme(name, facts, config.image_prefix))


def _candidates(config: SelectConfig, inputs: Inputs) -> pa.ChunkedArray:
    if config.design != "again":
        return candidates.training_pairs(inputs.pairs, inputs.splits, inputs.holdout)
    if inputs.splits is None:
        raise UserError("select.design: 'again' asks about pairs that a run sees; run 'dedpo data split' first")
    return candidates.seen_pairs(inputs.splits, inputs.ratings)


def _selected(
    config: SelectConfig, labels: Path, ids: pa.ChunkedArray, rng: np.random.Generator
) -> tuple[Floats | None, Ints]:
    """Every candidate's propensity, None where it means nothing, and the positions of the selected ones."""
    n = len(ids)
    if config.design == "rectifier":
        size = design.expected_size(candidates.annotator(labels, ids))
        propensity = design.probabilities(size, config.budget, config.uniform_share)
        return propensity, design.draw(propensity, rng)
    positions = design.uniform(n, config.budget, rng)
    return None if config.design == "again" else np.full(n, config.budget / n), positions


def _selection(ids: pa.ChunkedArray, propensity: Floats | None, positions: Ints, rng: np.random.Generator) -> pa.Table:
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


def ratings(*, imported: Path, human: Path, out: Path) -> Joined:
    """Join the imported ratings with the merged ones of `human`/ratings; write ratings.parquet and summary.json.

    Sorted by pair and rater; a person's second rating of a pair is left out and counted, an imported one being first.
    Beside them lies what decides which pairs a run may see, and not how they were rated: rated.parquet (the rated
    pair_ids) and rounds.json (hashes of the answered rounds that splits count). Second opinions change neither.

    Raises:
        UserError: an input is missing or wrong.
    """
    files = dict(merged_ratings.rating_files(human / "ratings"))
    inputs = {"ratings": imported} | {f"human {path.name}": path for path in files}
    for name, path in answered_rounds(human / "rounds").items():
        inputs |= {f"selection of round {name}": path / SELECTION, f"answers of round {name}": path / ANSWERED}
    with output_folder(out, stage="ratings", config={}, inputs=inputs) as partial:
        table, counts = merging.joined(merged_ratings.read_ratings(imported), list(files.values()))
        tables.write(table, tables.RATINGS, partial / "ratings.parquet")
        rated = pa.table({"pair_id": pc.unique(table.column("pair_id"))}, schema=merged_ratings.RATED.schema)
        tables.write(rated, merged_ratings.RATED, partial / "rated.parquet")
        write_json(partial / "rounds.json", round_files.hashes(human / "rounds"))
        write_json(partial / SUMMARY, counts)
    return counts
