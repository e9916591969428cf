"""Where each stage's output lies below the work folder, and what of it is there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from dedpo.errors import UserError

WORK: Final = Path("outputs")
REPORT: Final = Path("reports")


class Below:
    """A path below a layout's work folder."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __get__(self, layout: Layout, _: type[Layout] | None = None) -> Path:
        return layout.work / self.place


@dataclass(frozen=True)
class Layout:
    """The folders of the stages, and the tables that several of them read."""

    work: Path

    world = Below("world")
    data = Below("data")
    pairs = Below("data/pairs")
    imported_ratings = Below("data/ratings.parquet")
    joined_ratings = Below("ratings")
    stats = Below("stats")
    features = Below("features")
    features_table = Below("features/features.parquet")
    labels = Below("labels")
    labels_table = Below("labels/labels.parquet")
    bias = Below("bias")
    gate = Below("gate")
    plan = Below("plan")
    policies = Below("policies")
    cache = Below("cache")
    samples = Below("samples")
    scores = Below("scores")
    verdicts = Below("verdicts")
    targets = Below("targets")

    @property
    def ratings(self) -> Path:
        """The ratings that every stage reads: joined with people's later answers where that was done."""
        return self.joined_ratings / "ratings.parquet" if self.joined_ratings.exists() else self.imported_ratings

    @property
    def rated(self) -> Path:
        """Which pairs are rated, by a table with a column pair_id; it does not change with second opinions."""
        return self.joined_ratings / "rated.parquet" if self.joined_ratings.exists() else self.ratings

    def split(self, seed: int) -> Path:
        """The folder of one labelled subset."""
        return self.work / "splits" / str(seed)

    def splits_table(self, seed: int) -> Path:
        """Which pairs and labels a run with this seed sees."""
        return self.split(seed) / "splits.parquet"

    def policy(self, seed: int, arm: str) -> Path:
        """The folder of one training."""
        return self.policies / str(seed) / arm

    def trained(self, arms: Collection[str], primary: str, seed: int) -> list[str]:
        """Those of the arms that have a policy of one training seed; says which have none.

        Raises:
            UserError: none has, or a training was interrupted.
        """
        folder = self.policies / str(seed)
        found = [arm for arm in arms if (folder / arm / "manifest.json").is_file()]
        missing = [arm for arm in arms if arm not in found]
        if unfinished := [arm for arm in missing if (folder / f"{arm}.partial").exists()]:
            raise UserError(
                f"{folder / unfinished[0]}: its training was interrupted; run 'dedpo train --arm {unfinished[0]} "
                f"--seed {seed}' to its end, or delete the .partial folder"
            )
        if not found:
            raise UserError(f"{folder}: no arm has been trained; run 'dedpo train --arm {primary}' first")
        if missing:
            typer.echo(f"seed {seed}: not trained, so left out: {', '.join(missing)}", err=True)
        return found


def if_there(path: Path) -> Path | None:
    """`path`; None if nothing lies there."""
    return path if path.exists() else None
