"""The stages from label to report, each a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.options import ConfigFile, Layout, Overrides, Seed, Verbose, Work, prepare, say, trained
from dedpo.errors import UserError

app = typer.Typer()


@app.command()
def label(
    work: Work = Path("outputs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many questions are left; ask nothing.")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Ask an annotator for its preference on every pair, in both orders.

    Any OpenAI-compatible endpoint will do: set label.base_url (or $OPENAI_BASE_URL), $OPENAI_API_KEY and
    label.model.

    What was answered once is not asked again: a pair keeps an annotator's answer to a question, over kills, another
    address, more pairs and another annotator and back, in <work>/labels.answers; delete that and <work>/labels to ask
    anew.
    """
    from dedpo.label import stage

    settings = prepare(config, overrides, verbose)
    paths = Layout(work)
    do = stage.plan if dry_run else stage.run
    say(do(settings.label, pairs=paths.data / "pairs", out=paths.labels))


@app.command()
def targets(
    work: Work = Path("outputs"),
    seed: Seed = 0,
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Turn ratings and labels into the two numbers (a, b) a pair, one table an arm; say what they can do.

    Where `dedpo data features` was run, a probe on the features says what the labels will be worth late in training.
    """
    from dedpo.targets import stage

    settings = prepare(config, overrides, verbose)
    paths = Layout(work)
    features, labels = paths.features / "features.parquet", paths.labels / "labels.parquet"
    facts = stage.run(
        settings.targets,
        arms=settings.arms,
        ratings=paths.ratings,
        splits=paths.splits / str(seed) / "splits.parquet",
        labels=labels if labels.is_file() else None,
        features=features if features.is_file() else None,
        out=paths.targets / str(seed),
    )
    say(stage.overview(facts))


@app.command()
def train(
    arm: Annotated[str, typer.Option(help="Whose targets to train on; 'dedpo config' lists the arms.")],
    work: Work = Path("outputs"),
    seed: Seed = 0,
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Train one policy on one arm's targets; killed and started again, it ends with the same weights."""
    from dedpo.train import stage

    settings = prepare(config, overrides, verbose)
    if arm not in settings.arms:
        raise UserError(f"--arm {arm}: not among the arms of the params file: {', '.join(settings.arms)}")
    paths = Layout(work)
    measured = stage.run(
        settings.train,
        pairs=paths.data / "pairs",
        ratings=paths.ratings,
        splits=paths.splits / str(seed) / "splits.parquet",
        targets=paths.targets / str(seed) / arm,
        out=paths.policies / str(seed) / arm,
        cache=paths.cache,
        seed=seed,
        max_pixels=settings.data.max_pixels,
    )
    # Of torchrun's ranks the first one speaks.
    if measured:
        say(measured)


@app.command()
def sample(
    work: Work = Path("outputs"),
    retire: Annotated[
        bool,
        typer.Option(
            "--retire",
            help="First move policies and targets that the settings no longer name to WORK/retired; for dvc.yaml.",
        ),
    ] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Draw the prompts with the reference and every policy, from the same initial noise."""
    from dedpo.cli import retire as ops
    from dedpo.sample import stage

    settings = prepare(config, overrides, verbose)
    paths = Layout(work)
    if retire:
        for former, now in ops.retire(work, seeds=settings.seeds, arms=settings.arms).items():
            typer.echo(f"{former}: not in the settings any more; moved to {now}", err=True)
    models = {"reference": settings.train.base} | {
        f"{arm}-{seed}": str(paths.policies / str(seed) / arm)
        for seed in settings.seeds
        for arm in trained(settings, paths, seed)
    }
    say(stage.run(settings.sample, models=models, out=paths.samples))


@app.command()
def score(
    work: Work = Path("outputs"),
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Score every sample."""
    from dedpo.score import stage

    settings = prepare(config, overrides, verbose)
    paths = Layout(work)
    say(stage.run(settings.score, samples=paths.samples, out=paths.scores, max_pixels=settings.data.max_pixels))


@app.command()
def report(
    work: Work = Path("outputs"),
    out: Annotated[Path, typer.Option(help="The report's folder.")] = Path("reports"),
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Write the page that answers: does the primary arm win, by how much, and how sure is that?"""
    from dedpo.report import stage

    settings = prepare(config, overrides, verbose)
    paths = Layout(work)
    summary = stage.run(
        settings.report,
        primary=settings.primary,
        samples=paths.samples,
        scores=paths.scores,
        policies=paths.policies,
        targets=paths.targets,
        labels=paths.labels,
        data=paths.data,
        bias=paths.bias if paths.bias.exists() else None,
        verdicts=paths.verdicts if paths.verdicts.exists() else None,
        out=out,
    )
    metric = summary["metric"]
    gaps = {
        f"{summary['primary']} minus {m}": gap[metric] for m, gap in summary["differences"].items() if metric in gap
    }
    say({"verdict": summary["verdict"], **{m: _interval(gap) for m, gap in gaps.items()}, "page": out / "report.html"})


def _interval(found: dict[str, float | None]) -> str:
    """'0.161 (0.115 to 0.207)'; '–' for what could not be computed."""
    mean, low, high = ("–" if found[key] is None else f"{found[key]:.3f}" for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"
