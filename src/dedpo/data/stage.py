"""Import pairs and ratings; `split`, `features` and `stats`, which read an import, have files of their own."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final

from dedpo.contract import records, tables
from dedpo.contract.records.data import Imported
from dedpo.contract.sections import DataConfig
from dedpo.data.feature_stage import features as features
from dedpo.data.importing import distinct_pairs, sanity_checks, shard_plan, shard_writer
from dedpo.data.importing.checked_images import CheckedImages
from dedpo.data.importing.columns import ColumnOptions
from dedpo.data.importing.distinct_pairs import Merged
from dedpo.data.layouts import copy_import, detect
from dedpo.data.layouts.source import Source
from dedpo.data.overview.stage import stats as stats
from dedpo.data.split_stage import split as split
from dedpo.errors import UserError
from dedpo.outputs import ownership
from dedpo.outputs.manifest import output_folder, read_manifest, write_json
from dedpo.tabular.rejected import SetAside, cells, write_csv

CHECKS: Final = ".checked.jsonl"
SET_ASIDE: Final = "set_aside.csv"
SUMMARY: Final = "summary.json"


def import_pairs(
    config: DataConfig,
    *,
    source: Path | str,
    out: Path,
    layout: str | None = None,
    asked: ColumnOptions | None = None,
) -> Imported:
    """Read pairs and ratings in one of `layouts.LAYOUTS`; write pairs/, ratings.parquet, set_aside.csv, summary.json.

    A first pass checks every image and keeps only hashes; a second writes the bytes into shards, in the order in which
    the source mentions the pairs first. A killed import decodes no image and writes no shard again. A source that is a
    finished import itself is copied and verified.

    Args:
        source: a file or folder, or owner/name of a dataset on the hub.
        layout: None: found out from what lies there.
        asked: which columns of a table mean what (`columns.MEANINGS`), and what the preferences' values mean.

    Returns:
        the counts in summary.json: rows = ratings + unrated_rows + duplicates + the sum of set_aside.

    Raises:
        UserError: the source has no known layout, is broken, or leaves no usable pair; what its preferences mean is not
            certain; an image changes meanwhile.
    """
    if layout == "import" or (layout is None and detect.detect(source) == "import"):
        return _take_over(Path(source), out)
    ownership.check_name(Path(source))
    opened = detect.open_source(source, layout, asked, config.sides_seed)
    settings = config.model_dump(include={"max_pixels", "shard_rows"})
    settings |= {"source": opened.name, "layout": opened.layout, **opened.settings}
    with (
        output_folder(out, stage="data", config=settings, inputs=opened.inputs, resumable=True) as partial,
        closing(CheckedImages(partial / CHECKS)) as checks,
    ):
        merged = distinct_pairs.merge(shard_writer.look(opened, checks, config.max_pixels))
        set_aside = sorted(merged.set_aside, key=lambda s: s.number)
        write_csv(partial / SET_ASIDE, "row", cells(set_aside))
        sanity_checks.refuse_coding(merged, str(source))
        summary = _summary(opened, merged, set_aside)
        if not merged.pairs:
            raise UserError(_nothing_left(source, summary, partial / SET_ASIDE))
        planned = shard_plan.plan_shards(merged.pairs, source=opened.name, shard_rows=config.shard_rows)
        shard_writer.write_shards(planned, opened, partial / "pairs", checks)
        ratings = distinct_pairs.ratings_table(merged.ratings, opened.name)
        tables.write(ratings, tables.RATINGS, partial / "ratings.parquet")
        write_json(partial / SUMMARY, summary)
    for warning in summary["warnings"]:
        logging.getLogger(__name__).warning(warning)
    return summary


def _take_over(source: Path, out: Path) -> Imported:
    made = read_manifest(source)
    summary = records.read(source / SUMMARY, Imported, "fetch the folder again, or import its source")
    settings = {"source": source.resolve().name, "layout": "import", "taken_over": made.get("config")}
    with output_folder(out, stage="data", config=settings, inputs={"import": source}, resumable=True) as partial:
        copy_import.copy(source, partial)
    return summary


def _summary(source: Source, merged: Merged, set_aside: list[SetAside]) -> Imported:
    rated = {r.pair_id for r in merged.ratings}
    notes = list(source.notes)
    if merged.divided_prompts:
        notes.append(
            f"{merged.divided_prompts} prompts have rows in more than one published split; all pairs of a prompt are "
            "held out together or not at all"
        )
    return {
        "layout": source.layout,
        "rows": merged.rows,
        "pairs": len(merged.pairs),
        "rated_pairs": len(rated),
        "ratings": len(merged.ratings),
        "ties": sum(r.preference == 0.5 for r in merged.ratings),
        "raters": len({r.rater for r in merged.ratings}),
        "unrated_rows": merged.unrated_rows,
        "duplicates": merged.duplicates,
        "set_aside": dict(Counter(s.reason for s in set_aside).most_common()),
        "prompts": len({p.prompt for p in merged.pairs}),
        "groups": len({p.group for p in merged.pairs}),
        "published_splits": merged.rows_of_part,
        "ignored_columns": list(source.ignored_columns),
        "notes": notes,
        "warnings": sanity_checks.warnings(merged, source.ignored_columns),
    }


def _nothing_left(source: Path | str, summary: Imported, set_aside: Path) -> str:
    reasons = ", ".join(f"{count} × {reason}" for reason, count in list(summary["set_aside"].items())[:3])
    return f"{source}: none of its {summary['rows']} rows is usable ({reasons}); each row's reason is in {set_aside}"
