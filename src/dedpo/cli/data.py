"""`dedpo data`: import, what a run may see, and features of the rated pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.layout import Layout
from dedpo.cli.options import Config, Group, Human, Seed, Values, command, say

Column = Annotated[str | None, typer.Option(metavar="COLUMN", help="Which column of the table it is.")]
Label = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Which column; several with commas: shares of the first, second, tie."),
]
Better = Annotated[str | None, typer.Option(metavar="COLUMN", help="The better image; a seed draws its side.")]
Worse = Annotated[str | None, typer.Option(metavar="COLUMN", help="The worse image.")]

app = typer.Typer(
    cls=Group,
    help="Import pairs and ratings; choose what a run may see of them; measure the rated pairs.",
    no_args_is_help=True,
)


@command(app, "import")
def data_import(
    settings: Config,
    paths: Layout,
    source: Annotated[str, typer.Argument(help="A folder or file in one of the layouts, or owner/name on the hub.")],
    layout: Annotated[
        str | None,
        typer.Option(help="folder, pickapic, fifa, hpdv2, imagereward, datasets or import; found out if left out."),
    ] = None,
    prompt: Column = None,
    image_0: Column = None,
    image_1: Column = None,
    chosen: Better = None,
    rejected: Worse = None,
    preference: Label = None,
    rater: Column = None,
    first: Values = None,
    second: Values = None,
    tie: Values = None,
    unrated: Values = None,
) -> None:
    """Import pairs: check every image, de-duplicate, keep ties, set bad rows aside with a reason.

    Layouts (docs/data.md): a folder with pairs.csv or an image folder's metadata, Pick-a-Pic's Parquet files, a FiFA
    index beside them, HPDv2, ImageReward, any `datasets` dataset on this disk or on the hub, a finished import. A table
    has the columns prompt, image_0, image_1 (or chosen, rejected) and, where a human answered, preference: the
    probability that image_1 is the better one (0, 0.5 for a tie, 1). Other codings are said: --first 1 --second 2
    --tie 0. Optional: rater, group, order_shown, time. Killed and started again, an import goes on where it was.
    """
    from dedpo.data import stage
    from dedpo.data.importing.columns import ColumnOptions
    from dedpo.tabular import codings

    given = {
        "prompt": prompt, "image_0": image_0, "image_1": image_1, "chosen": chosen, "rejected": rejected,
        "preference": preference, "rater": rater,
    }  # fmt: skip
    columns = {meaning: name for meaning, name in given.items() if name is not None}
    said = {"first": first or [], "second": second or [], "tie": tie or [], "unrated": unrated or []}
    values = codings.value_meanings(said)
    asked = ColumnOptions(columns, values.get("", codings.ValueMeanings()))
    counted = stage.import_pairs(settings.data, source=source, out=paths.data, layout=layout, asked=asked)
    say({name: value for name, value in counted.items() if name != "warnings"})  # they are logged


@command(app, "split")
def data_split(
    settings: Config,
    paths: Layout,
    human: Human = Path("human"),
    seed: Seed = 0,
) -> None:
    """Choose the held-out prompts and the pairs whose human labels a run may see.

    Drawn among the imported ratings (data.labelled), and those that people answered in rounds.
    """
    from dedpo.data import stage

    seen = {"ratings": paths.rated, "rounds": human / "rounds"}
    say(stage.split(settings.data, data=paths.data, out=paths.split(seed), seed=seed, **seen))


@command(app, "features")
def data_features(settings: Config, paths: Layout) -> None:
    """Measure how the two images of each rated pair differ: what a small model can learn of the human labels.

    Image statistics always; prompt fit and embeddings, too, where data.clip_model names a CLIP model.
    """
    from dedpo.data import stage

    joined = paths.rated if paths.joined_ratings.exists() else None
    say(stage.features(settings.data, data=paths.data, out=paths.features, ratings=joined))


@command(app, "stats")
def data_stats(settings: Config, paths: Layout) -> None:
    """Count and draw what was imported: sizes, ties, raters and their agreement, words, some of the pairs.

    The page stats.html needs no network; stats.json holds its numbers.
    """
    from dedpo.data import stage

    say(stage.stats(settings.data, data=paths.data, ratings=paths.ratings, out=paths.stats))


@command(app, "pull")
def data_pull(
    reference: Annotated[
        str, typer.Argument(metavar="REPO@REVISION:PATH", help="A git URL or folder, a tag, branch or commit, a path.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write; it appears when everything is there.")],
) -> None:
    """Bring one version of some data here: what DVC or git tracks at a revision, every hash verified.

    Killed and started again, it fetches only what is missing. `.pulled.json` in the folder says where it came from, and
    so does the manifest of whatever is imported from it. Example: dedpo data pull .@v1:outputs/data --out pulled
    """
    from dedpo.lineage import pull

    if warning := pull.uncommitted(reference):
        typer.echo(f"warning: {warning}", err=True)
    say(pull.pull(reference, out) | {"out": out})
