"""The stages from label to judge and report, each a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dedpo.cli.layout import REPORT, Layout, if_there
from dedpo.cli.options import Config, Seed, command, say
from dedpo.errors import UserError

if TYPE_CHECKING:
    from dedpo.contract.records.intervals import Mean

app = typer.Typer()


@command(app)
def label(
    settings: Config,
    paths: Layout,
    annotator: Annotated[
        str | None, typer.Option(help="Label with this one alone; what others have labelled stays.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many questions are left; ask nothing.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Say how far the labels can be trusted, by the human ones; ask nothing.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Have an annotator, or each of several, say which image of every pair it prefers.

    Any OpenAI-compatible endpoint will do, which is asked in both orders: set label.base_url (or $OPENAI_BASE_URL),
    $OPENAI_API_KEY and label.model. label.kind names other kinds, label.annotators several side by side.

    What was answered once is not asked again: a pair keeps an annotator's answer to a question, over kills, another
    address, more pairs and another annotator and back, in <work>/labels.answers; delete that and <work>/labels to ask
    anew.
    """
    from dedpo.cli.served import addressed, served
    from dedpo.label import stage

    if report:
        say(_trust(settings, paths, seed))
        return
    if dry_run:
        say(stage.plan(addressed(settings.label), pairs=paths.pairs, out=paths.labels, only=annotator))
        return
    with served(settings.label) as config:
        say(
            stage.described(
                stage.run(config, pairs=paths.pairs, ratings=paths.imported_ratings, out=paths.labels, only=annotator)
            )
        )


def _trust(settings: Config, paths: Layout, seed: int) -> str:
    from dedpo.targets import trust

    found = trust.measure(
        settings.targets,
        ratings=paths.ratings,
        splits=paths.splits_table(seed),
        labels=paths.labels_table,
        features=if_there(paths.features_table),
    )
    return trust.describe(found)


@command(app)
def targets(settings: Config, paths: Layout, seed: Seed = 0) -> None:
    """Turn ratings and labels into the two numbers (a, b) a pair, one table an arm; say what they can do.

    Where 'dedpo data features' was run, a probe on the features says what the labels will be worth late in training.
    """
    from dedpo.targets import stage

    facts = stage.run(
        settings.targets,
        arms=settings.arms,
        ratings=paths.ratings,
        splits=paths.splits_table(seed),
        labels=if_there(paths.labels_table),
        features=if_there(paths.features_table),
        out=paths.targets / str(seed),
    )
    say(stage.overview(facts))


@command(app)
def train(
    settings: Config,
    paths: Layout,
    arm: Annotated[str, typer.Option(help="Whose targets to train on; 'dedpo config' lists the arms.")],
    seed: Seed = 0,
) -> None:
    """Train one policy on one arm's targets; killed and started again, it ends with the same weights."""
    from dedpo.train import stage

    if arm not in settings.arms:
        raise UserError(f"--arm {arm}: not among the arms of the params file: {', '.join(settings.arms)}")
    measured = stage.run(
        settings.train,
        pairs=paths.pairs,
        ratings=paths.ratings,
        splits=paths.splits_table(seed),
        targets=paths.targets / str(seed) / arm,
        out=paths.policy(seed, arm),
        cache=paths.cache,
        seed=seed,
        max_pixels=settings.data.max_pixels,
    )
    # Of torchrun's ranks the first one speaks.
    if measured:
        say(measured)


@command(app)
def sample(
    settings: Config,
    paths: Layout,
    retire: Annotated[
        bool,
        typer.Option(
            "--retire",
            help="First move policies and targets that the settings no longer name to WORK/retired; for dvc.yaml.",
        ),
    ] = False,
) -> None:
    """Draw the prompts with the reference and every policy, from the same initial noise."""
    from dedpo.cli import retire as former
    from dedpo.sample import stage

    if retire:
        for left, now in former.retire(paths.work, seeds=settings.seeds, arms=settings.arms).items():
            typer.echo(f"{left}: not in the settings any more; moved to {now}", err=True)
    models, chosen_among = _drawn(settings, paths)
    say(stage.run(settings.sample, models=models, out=paths.samples, chosen_among=chosen_among))


def _drawn(settings: Config, paths: Layout) -> tuple[dict[str, str], list[str]]:
    """The models to draw by their names, and those among which each arm's best step is chosen."""
    from dedpo.vision import step_files

    models, chosen_among = {"reference": settings.train.base}, []
    for seed in settings.seeds:
        for arm in paths.trained(settings.arms, settings.primary, seed):
            policy = paths.policy(seed, arm)
            models[f"{arm}-{seed}"] = str(policy)
            if settings.sample.snapshots is None or arm in settings.sample.snapshots:
                kept = {f"{arm}@{steps}-{seed}": str(path) for steps, path in step_files.found(policy).items()}
                models |= kept
                chosen_among += [f"{arm}-{seed}", *kept] if kept else []
    return models, chosen_among


@command(app)
def score(settings: Config, paths: Layout) -> None:
    """Score every sample."""
    from dedpo.cli.served import served
    from dedpo.score import stage

    with served(settings.score) as config:
        say(stage.run(config, samples=paths.samples, out=paths.scores, max_pixels=settings.data.max_pixels))


@command(app)
def judge(
    settings: Config,
    paths: Layout,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many requests it takes and what they cost; ask nothing.")
    ] = False,
) -> None:
    """Have Gemini, or another model behind its API, compare the primary arm's pictures with its rivals'.

    Three criteria, a win or a tie each, random order: shares with intervals. Compared are the models of the first
    training seed. The key is $GEMINI_API_KEY. With judge.model: null it asks nobody and says so.

    What was answered once is not asked again: the same prompt and pictures keep their verdict, over kills, other
    settings and new trainings, in <work>/verdicts.answers; delete that and <work>/verdicts to have all judged anew.
    """
    from dedpo.cli.served import addressed, served
    from dedpo.judge import comparisons, stage, summary
    from dedpo.judge.reading import read_cells

    if settings.judge.model is None:
        if not dry_run:
            stage.skip(paths.verdicts)
        say("no judge: judge.model is null; the report goes without verdicts")
        return
    seed, drawn = settings.seeds[0], read_cells(paths.samples)
    arms = [arm for arm in settings.arms if f"{arm}-{seed}" in drawn]
    models, left_out = comparisons.against(settings.primary, settings.judge.rivals, arms, seed)
    if left_out:
        say(f"not compared (no such arm, or the primary itself): {', '.join(left_out)}")
    if dry_run:
        say(stage.plan(addressed(settings.judge), models=models, samples=paths.samples, out=paths.verdicts))
        return
    with served(settings.judge) as config:
        say(summary.describe(stage.run(config, models=models, samples=paths.samples, out=paths.verdicts)))


@command(app)
def report(
    settings: Config,
    paths: Layout,
    out: Annotated[Path, typer.Option(help="The report's folder.")] = REPORT,
) -> None:
    """Write the page that answers: does the primary arm win, by how much, and how sure is that?"""
    from dedpo.report import stage

    summary = stage.run(
        settings.report,
        primary=settings.primary,
        samples=paths.samples,
        scores=paths.scores,
        policies=paths.policies,
        targets=paths.targets,
        labels=paths.labels,
        data=paths.data,
        bias=if_there(paths.bias),
        verdicts=if_there(paths.verdicts),
        out=out,
    )
    metric = summary["metric"]
    gaps = {
        f"{summary['primary']} minus {m}": gap[metric] for m, gap in summary["differences"].items() if metric in gap
    }
    say({"verdict": summary["verdict"], **{m: _interval(gap) for m, gap in gaps.items()}, "page": out / "report.html"})


def _interval(found: Mean) -> str:
    """'0.161 (0.115 to 0.207)'; '–' for what could not be computed."""
    mean, low, high = ("–" if v is None else f"{v:.3f}" for v in (found["mean"], found["low"], found["high"]))
    return f"{mean} ({low} to {high})"
