"""`dedpo data select`, `merge` and `ratings`: human labels out and in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.options import ConfigFile, Human, Layout, Overrides, Seed, Verbose, Work, prepare, say

app = typer.Typer()


@app.command()
def select(
    round_: Annotated[str, typer.Option("--round", metavar="NAME", help="The new round's name: a folder.")],
    human: Human = Path("human"),
    work: Work = Path("outputs"),
    seed: Seed = 0,
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Choose the next pairs for people, and write them as a Label Studio project.

    By the expected size of the annotator's error, mixed with a uniform draw; every pair's chance is recorded, so that
    the correction stays unbiased. The answers come back with [bold]dedpo data merge[/bold].
    """
    from dedpo.human import stage

    settings = prepare(config, overrides, verbose)
    paths = Layout(work)
    splits = paths.splits / str(seed) / "splits.parquet"
    inputs = stage.Inputs(
        pairs=paths.data / "pairs",
        labels=paths.labels / "labels.parquet",
        ratings=paths.ratings,
        splits=splits if splits.is_file() else None,
        holdout=settings.data.holdout,
    )
    facts = stage.select(settings.select, name=round_, inputs=inputs, human=human)
    say(facts)
    say(f"How to go on: {human / 'rounds' / round_ / 'README.md'}")


@app.command()
def merge(
    export: Annotated[Path, typer.Argument(help="Label Studio's JSON or JSON-MIN, or a target storage's folder.")],
    latest: Annotated[
        bool, typer.Option("--latest", help="A later answer replaces an earlier one; what is gone from a task goes.")
    ] = False,
    human: Human = Path("human"),
    work: Work = Path("outputs"),
    verbose: Verbose = False,
) -> None:
    """Take people's answers back from Label Studio as new ratings; no earlier rating is changed without --latest.

    Says who answered what, what was set aside and why, and how far people agree. Then: [bold]dedpo data
    ratings[/bold].
    """
    from dedpo.human import stage

    prepare(None, None, verbose)
    imported = Layout(work).data / "ratings.parquet"
    say(
        stage.describe(
            stage.merge(export, human=human, ratings=imported if imported.is_file() else None, latest=latest)
        )
    )


@app.command()
def ratings(
    human: Human = Path("human"),
    work: Work = Path("outputs"),
    verbose: Verbose = False,
) -> None:
    """Join the imported ratings with those that people gave since, for every later stage to read."""
    from dedpo.human import stage

    prepare(None, None, verbose)
    paths = Layout(work)
    say(stage.ratings(imported=paths.data / "ratings.parquet", human=human, out=paths.ratings_joined))
