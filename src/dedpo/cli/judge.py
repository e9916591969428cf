"""`dedpo judge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.options import ConfigFile, Layout, Overrides, Verbose, Work, prepare, say

app = typer.Typer()


@app.command()
def judge(
    work: Work = Path("outputs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many requests it takes and what they cost; ask nothing.")
    ] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Have Gemini, or another model behind its API, compare the primary arm's pictures with its rivals'.

    Three criteria, a win or a tie each, random order: shares with intervals. Compared are the models of the first
    training seed. The key is $GEMINI_API_KEY. With judge.model: null it asks nobody and says so.

    What was answered once is not asked again: the same prompt and pictures keep their verdict, over kills, other
    settings and new trainings, in <work>/verdicts.answers; delete that and <work>/verdicts to have all judged anew.
    """
    from dedpo.judge import comparisons, stage, summary
    from dedpo.judge.reading import read_cells

    settings = prepare(config, overrides, verbose)
    if settings.judge.model is None:
        if not dry_run:
            stage.skip(Layout(work).verdicts)
        say("no judge: judge.model is null; the report goes without verdicts")
        return
    paths, seed = Layout(work), settings.seeds[0]
    drawn = read_cells(paths.samples)
    arms = [arm for arm in settings.arms if f"{arm}-{seed}" in drawn]
    models, left_out = comparisons.against(settings.primary, settings.judge.rivals, arms, seed)
    samples = paths.samples
    if left_out:
        say(f"not compared (no such arm, or the primary itself): {', '.join(left_out)}")
    if dry_run:
        say(stage.plan(settings.judge, models=models, samples=samples, out=Layout(work).verdicts))
    else:
        found = stage.run(settings.judge, models=models, samples=samples, out=Layout(work).verdicts)
        say(summary.describe(found))
