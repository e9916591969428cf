"""`dedpo plan`."""

from __future__ import annotations

from pathlib import Path

import typer

from dedpo.cli.options import ConfigFile, Layout, Overrides, Seed, Verbose, Work, prepare, say

app = typer.Typer()


@app.command()
def plan(
    work: Work = Path("outputs"),
    seed: Seed = 0,
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Say what the next human label is worth, and the cheapest mix of labels and annotated pairs for a target.

    From a pilot: some 200 human-labelled pairs and the annotator's answers. Prices and the target are settings:
    [bold]dedpo plan --set plan.target=5000 --set plan.price_human=0.25[/bold]. A target up to 10 is a multiple of
    today's. Run [bold]dedpo data features[/bold] first, or all is said of the start of training alone.
    """
    from dedpo.targets.plan import files, words

    settings = prepare(config, overrides, verbose)
    paths = Layout(work)
    features = paths.features / "features.parquet"
    facts = files.run(
        settings.plan,
        settings.targets,
        ratings=paths.ratings,
        splits=paths.splits / str(seed) / "splits.parquet",
        labels=paths.labels / "labels.parquet",
        features=features if features.is_file() else None,
        out=paths.plan,
    )
    say(words.describe(facts))
    say(f"The picture: {paths.plan / 'plan.png'}")
