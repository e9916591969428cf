"""Which rounds are answered, and which of a round's pairs, as far as the answer is still among the merged ratings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from dedpo.contract import records, tables
from dedpo.contract.records import human
from dedpo.errors import UserError

ANSWERED: Final = "answered.json"
SELECTION: Final = "selection.parquet"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
Keys = Collection[tuple[str, str]]  # (pair_id, rater)


def is_round(name: object) -> bool:
    """Whether this is the name of a round, and no path."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def answered_rounds(folder: Path) -> dict[str, Path]:
    """The rounds in a folder that splits count, by name: somebody answered, and the chances of the draw are known.

    Second opinions are none of them.

    Raises:
        UserError: a round's answered.json cannot be read, or its selection is lost: left out unsaid, a split would see
            other pairs than its inputs say.
    """
    found = sorted(path.parent for path in folder.glob(f"*/{ANSWERED}") if is_round(path.parent.name))
    counted = {path.name: path for path in found if note(path / ANSWERED).design != "again"}
    for path in counted.values():
        if not (path / SELECTION).is_file():
            raise UserError(
                f"{path / SELECTION}: not there, and its round is answered; bring it back from version control"
            )
    return counted


class Note(NamedTuple):
    """A round's answered.json.

    Attributes:
        design: how its pairs were drawn; 'again': second opinions, which splits do not count.
        pairs: pair_id → raters who answered it in this round.
    """

    design: str
    pairs: dict[str, list[str]]

    def still(self, rated: Keys) -> list[str]:
        """The pairs, sorted, of whose answers one is still among the ratings: what was deleted is answered no more."""
        return still(self.pairs, rated)


def still(pairs: Mapping[str, Collection[str]], rated: Keys) -> list[str]:
    """Those of pair_id → raters, sorted, of which a rater's rating is still there."""
    return sorted(pair for pair, raters in pairs.items() if any((pair, rater) in rated for rater in raters))


def note(path: Path) -> Note:
    """Read an answered.json.

    Raises:
        UserError: it cannot be read.
    """
    found = records.read(path, human.Note, "merge the round's export again")
    return Note(found["design"], found["pairs"])


def rated(ratings: Path) -> set[tuple[str, str]]:
    """(pair_id, rater) of every merged rating in a folder of them; none if it is not there.

    Raises:
        UserError: a file in it is no ratings table.
    """
    found: set[tuple[str, str]] = set()
    for path in sorted(ratings.glob("*.parquet")):
        table = tables.read(path, tables.RATINGS, ["pair_id", "rater"])
        found |= set(zip(*(column.to_pylist() for column in table.itercolumns()), strict=True))
    return found
