"""`dedpo gate` and `dedpo promote`: may the loop go on, and may its policy be used?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.options import ConfigFile, Layout, Overrides, Verbose, Work, prepare, say
from dedpo.errors import UserError

app = typer.Typer()


@app.command()
def gate(
    work: Work = Path("outputs"),
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Check that the annotator is good enough to train on; if not, end with 2 and each failed check with its number."""
    settings = prepare(config, overrides, verbose)
    from dedpo.decide import gate as ops

    paths = Layout(work)
    say(ops.describe(ops.run(settings.gate, bias=paths.bias, labels=paths.labels, out=paths.gate)))


@app.command()
def promote(
    work: Work = Path("outputs"),
    report: Annotated[Path, typer.Option(help="The report's folder; the decision is written there.")] = Path("reports"),
    require: Annotated[bool, typer.Option("--require", help="End with 2 if the policy is not promoted.")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Decide from the report's numbers whether the primary arm's policy may take the place of what is in use.

    Writes promotion.json and promotion.md; 'no' is an answer and ends with 0, too. Named is the policy of the first
    training seed, if it is there.
    """
    settings = prepare(config, overrides, verbose)
    from dedpo.decide import promotion as ops

    policy = Layout(work).policies / str(settings.seeds[0]) / settings.primary
    decision = ops.run(
        settings.promote,
        metrics=report / "metrics.json",
        policy=policy if policy.exists() else None,
        out=report,
    )
    if require and not decision["promoted"]:
        raise UserError(ops.describe(decision))
    say(ops.describe(decision))
