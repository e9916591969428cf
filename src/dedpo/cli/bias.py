"""`dedpo bias` and `dedpo dashboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.layout import Layout, if_there
from dedpo.cli.options import Config, Seed, Values, command, say

app = typer.Typer()


@command(app)
def bias(
    settings: Config,
    paths: Layout,
    table: Annotated[Path | None, typer.Option(help="A CSV or TSV instead of the work folder; no images.")] = None,
    human: Annotated[str, typer.Option(help="With --table: the column of human preferences.")] = "human",
    ai: Annotated[str, typer.Option(help="With --table: the column of the annotator's preferences.")] = "ai",
    prompt: Annotated[str, typer.Option(help="With --table: the column of prompts.")] = "prompt",
    raters: Annotated[
        str, typer.Option(help="With --table: columns of single people, with commas between.", show_default=False)
    ] = "",
    first: Values = None,
    second: Values = None,
    tie: Values = None,
    unrated: Values = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; bias below --work.", show_default=False)
    ] = None,
    seed: Seed = 0,
) -> None:
    """Say where the annotator differs from people: on which words, over which property, how surely.

    Reads the human ratings of labelled and held-out pairs, or any CSV: 'dedpo bias --table my.csv --ai gpt35 --prompt
    instruction --raters human_1,human_2 --out DIR'. A preference is P(the second is better): 0, 0.5
    for a tie, 1, or between. Other codings are said, of all columns or of one: --first A --second B,
    --first human=1 --second human=2 --tie human=0.
    """
    from dedpo.bias import stage

    target = out or paths.bias
    if table is not None:
        names = [name.strip() for name in raters.split(",") if name.strip()]
        values = {"first": first or [], "second": second or [], "tie": tie or [], "unrated": unrated or []}
        facts = stage.run_table(
            settings.bias, table=table, human=human, ai=ai, prompt=prompt, raters=names, values=values, out=target
        )
    else:
        facts = stage.run(
            settings.bias,
            pairs=paths.pairs,
            ratings=paths.ratings,
            splits=paths.splits_table(seed),
            labels=paths.labels_table,
            features=if_there(paths.features),
            out=target,
            max_pixels=settings.data.max_pixels,
        )
    say(stage.describe(facts))
    say(f"{target / 'bias.html'}")


@command(app)
def dashboard(
    settings: Config,
    workspace: Annotated[
        Path | None, typer.Option(help="The Evidently workspace; bias.workspace of the settings.", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8080,
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0: every one. There is no password.")
    ] = "127.0.0.1",
) -> None:
    """Show every run of 'dedpo bias' over time, in Evidently's interface, until Ctrl-C."""
    from dedpo.bias import dashboard as service

    folder = workspace or Path(settings.bias.workspace)
    service.serve(folder, port, ready=lambda url: say(f"{url} (Ctrl-C stops)"), host=host)
