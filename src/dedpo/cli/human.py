"""`dedpo data select`, `merge` and `ratings`: human labels out and in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.layout import Layout, if_there
from dedpo.cli.options import Config, Human, Seed, command, say

app = typer.Typer()


@command(app)
def select(
    settings: Config,
    paths: Layout,
    round_: Annotated[str, typer.Option("--round", metavar="NAME", help="The new round's name: a folder.")],
    human: Human = Path("human"),
    seed: Seed = 0,
) -> None:
    """Choose the next pairs for people, and write them as a Label Studio project.

    By the expected size of the annotator's error, mixed with a uniform draw; every pair's chance is recorded, so that
    the correction stays unbiased. The answers come back with 'dedpo data merge'.
    """
    from dedpo.human import stage

    inputs = stage.Inputs(
        pairs=paths.pairs,
        labels=paths.labels_table,
        ratings=paths.ratings,
        splits=if_there(paths.splits_table(seed)),
        holdout=settings.data.holdout,
    )
    say(stage.select(settings.select, name=round_, inputs=inputs, human=human))
    say(f"How to go on: {human / 'rounds' / round_ / 'README.md'}")


@command(app)
def merge(
    paths: Layout,
    export: Annotated[Path, typer.Argument(help="Label Studio's JSON or JSON-MIN, or a target storage's folder.")],
    latest: Annotated[
        bool, typer.Option("--latest", help="A later answer replaces an earlier one; what is gone from a task goes.")
    ] = False,
    human: Human = Path("human"),
) -> None:
    """Take people's answers back from Label Studio as new ratings; no earlier rating is changed without --latest.

    Says who answered what, what was set aside and why, and how far people agree. Then: 'dedpo data ratings'.
    """
    from dedpo.human import stage

    say(stage.describe(stage.merge(export, human=human, ratings=if_there(paths.imported_ratings), latest=latest)))


@command(app)
def ratings(paths: Layout, human: Human = Path("human")) -> None:
    """Join the imported ratings with those that people gave since, for every later stage to read."""
    from dedpo.human import stage

    say(stage.ratings(imported=paths.imported_ratings, human=human, out=paths.joined_ratings))
