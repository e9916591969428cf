"""`dedpo gate`, `promote` and `plan`: may the loop go on, may its policy be used, what is the next label worth?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.layout import REPORT, Layout, if_there
from dedpo.cli.options import Config, Seed, command, say
from dedpo.errors import UserError

app = typer.Typer()


@command(app)
def gate(settings: Config, paths: Layout) -> None:
    """Check that the annotator is good enough to train on; if not, end with 2 and each failed check with its number."""
    from dedpo.decide import gate as stage

    say(stage.describe(stage.run(settings.gate, bias=paths.bias, labels=paths.labels, out=paths.gate)))


@command(app)
def promote(
    settings: Config,
    paths: Layout,
    report: Annotated[Path, typer.Option(help="The report's folder; the decision is written there.")] = REPORT,
    require: Annotated[bool, typer.Option("--require", help="End with 2 if the policy is not promoted.")] = False,
) -> None:
    """Decide from the report's numbers whether the primary arm's policy may take the place of what is in use.

    Writes promotion.json and promotion.md; 'no' is an answer and ends with 0, too. Named is the policy of the first
    training seed, if it is there.
    """
    from dedpo.decide import promotion

    decision = promotion.run(
        settings.promote,
        metrics=report / "metrics.json",
        policy=if_there(paths.policy(settings.seeds[0], settings.primary)),
        out=report,
    )
    if require and not decision["promoted"]:
        raise UserError(promotion.describe(decision))
    say(promotion.describe(decision))


@command(app)
def plan(settings: Config, paths: Layout, seed: Seed = 0) -> None:
    """Say what the next human label is worth, and the cheapest mix of labels and annotated pairs for a target.

    From a pilot: some 200 human-labelled pairs and the annotator's answers. Prices and the target are settings: 'dedpo
    plan --set plan.target=5000 --set plan.price_human=0.25'. A target up to 10 is a multiple of today's. Run 'dedpo
    data features' first, or all is said of the start of training alone.
    """
    from dedpo.targets.plan import files, words

    facts = files.run(
        settings.plan,
        settings.targets,
        ratings=paths.ratings,
        splits=paths.splits_table(seed),
        labels=paths.labels_table,
        features=if_there(paths.features_table),
        out=paths.plan,
    )
    say(words.describe(facts))
    say(f"The picture: {paths.plan / 'plan.png'}")
