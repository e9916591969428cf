"""The rounds of questions on disk: their draws, and what a split takes from the answered ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from dedpo.contract import answered_pairs, records, tables
from dedpo.contract.answered_pairs import ANSWERED, SELECTION, is_round
from dedpo.contract.records.human import Selection
from dedpo.human import merged_ratings
from dedpo.outputs.manifest import MANIFEST, fingerprint

FACTS: Final = "summary.json"


def finished(folder: Path) -> list[str]:
    """The names of the finished rounds in a folder, in order; none if it is not there."""
    found = folder.iterdir() if folder.is_dir() else []
    return sorted(p.name for p in found if is_round(p.name) and (p / MANIFEST).is_file())


def facts(folder: Path) -> Selection:
    """What a round's draw has counted.

    Raises:
        UserError: no whole round lies there.
    """
    remedy = "no whole round lies there; bring it back from version control, or delete it if nobody was asked yet"
    return records.read(folder / FACTS, Selection, remedy)


def hashes(folder: Path) -> dict[str, dict[str, str]]:
    """What a split takes from each answered round: hashes of its selection and of which pairs have an answer.

    Raises:
        UserError: a round's answered.json cannot be read.
    """
    rated = answered_pairs.rated(folder.parent / "ratings")
    return {
        name: {
            "selection": fingerprint(path / SELECTION),
            "answered": merged_ratings.short_hash(json.dumps(answered_pairs.note(path / ANSWERED).still(rated))),
        }
        for name, path in answered_pairs.answered_rounds(folder).items()
    }


def selected(round_folder: Path) -> dict[str, str]:
    """pair_id → order shown, of a round's selected pairs.

    Raises:
        UserError: the round's table is missing or wrong.
    """
    rows = tables.read(round_folder / SELECTION, tables.SELECTIONS)
    rows = rows.filter(rows.column("is_selected"))
    return dict(zip(rows.column("pair_id").to_pylist(), rows.column("order_shown").to_pylist(), strict=True))
