"""The `dedpo` command: every stage by name, one layout of folders, three exit codes.

Nothing heavy is imported here: `dedpo --help` must be instant, so each command imports its stage when it runs.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dedpo.errors import UserError

if TYPE_CHECKING:
    from dedpo.config import Config

HELP = """Debiased preference optimisation for image generators.

Few human labels, many machine labels, no bias: label pairs with a vision-language model, correct it with the
human part, train, sample, score, and decide.

The stages, in order: data import, data split, label, targets, train, sample, score, report. Each reads
params.yaml and writes one folder below --work; [bold]dvc repro[/bold] runs them all and skips what is up to date.

Exit codes: 0 done, 1 our fault, 2 something for you to put right.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False, add_completion=False
)
data_app = typer.Typer(help="Import pairs and ratings; choose what a run may see of them.", no_args_is_help=True)
world_app = typer.Typer(
    help="The embedded world: pairs, base model and servers without hub or GPU.", no_args_is_help=True
)
app.add_typer(data_app, name="data")
app.add_typer(world_app, name="world")

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="The params file; params.yaml if it is there.", show_default=False)
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; repeatable.")
]
Work = Annotated[Path, typer.Option(help="Where the stages' folders lie.")]
Seed = Annotated[int, typer.Option(min=0, help="Which labelled subset and which training draws.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, and show tracebacks.")]


@dataclass(frozen=True)
class Layout:
    """Where each stage's output lies below the work folder."""

    work: Path

    def __getattr__(self, name: str) -> Path:
        if name not in {"world", "data", "splits", "labels", "targets", "policies", "samples", "scores", "cache"}:
            raise AttributeError(name)
        return self.work / name


_verbose = False


def _settings(config: Path | None, overrides: list[str] | None, verbose: bool) -> Config:
    global _verbose
    _verbose = verbose
    import logging

    from dedpo import config as settings

    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s")
    # The HTTP clients log every request, thousands a run, without adding what an error message would not say.
    for name in ("httpx", "httpcore", "openai"):
        logging.getLogger(name).setLevel(logging.WARNING)
    default = Path("params.yaml")
    return settings.load(config or (default if default.is_file() else None), overrides)


def _say(lines: dict[str, Any] | str) -> None:
    """Print a stage's summary: one 'name: value' a line."""
    text = lines if isinstance(lines, str) else "\n".join(f"{k}: {_short(v)}" for k, v in lines.items())
    typer.echo(text)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@data_app.command("import")
def data_import(
    source: Annotated[Path, typer.Argument(help="A folder with pairs.csv and the images that it names.")],
    work: Work = Path("outputs"),
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Import a folder of pairs: check every image, de-duplicate, keep ties, set bad rows aside with a reason.

    pairs.csv has the columns prompt, image_0, image_1 and, where a human answered, preference: the probability that
    image_1 is the better one (0, 0.5 for a tie, 1). Optional: rater, group, order_shown, time.
    """
    from dedpo.data import stage

    settings = _settings(config, overrides, verbose)
    _say(stage.import_folder(settings.data, source=source, out=Layout(work).data))


@data_app.command("split")
def data_split(
    work: Work = Path("outputs"),
    seed: Seed = 0,
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Choose the held-out prompts and the pairs whose human labels a run may see."""
    from dedpo.data import stage

    settings = _settings(config, overrides, verbose)
    paths = Layout(work)
    _say(stage.split(settings.data, data=paths.data, out=paths.splits / str(seed), seed=seed))


@app.command()
def label(
    work: Work = Path("outputs"),
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Ask an annotator for its preference on every pair, in both orders.

    Any OpenAI-compatible endpoint will do: set label.base_url (or $OPENAI_BASE_URL), $OPENAI_API_KEY and
    label.model. Killed and started again, it goes on where it was.
    """
    from dedpo.label import stage

    settings = _settings(config, overrides, verbose)
    paths = Layout(work)
    _say(stage.run(settings.label, pairs=paths.data / "pairs", out=paths.labels))


@app.command()
def targets(
    work: Work = Path("outputs"),
    seed: Seed = 0,
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Turn ratings and labels into the two numbers (a, b) a pair, one table an arm; say what they can do."""
    from dedpo.targets import stage

    settings = _settings(config, overrides, verbose)
    paths = Layout(work)
    facts = stage.run(
        settings.targets,
        arms=settings.arms,
        ratings=paths.data / "ratings.parquet",
        splits=paths.splits / str(seed) / "splits.parquet",
        labels=paths.labels / "labels.parquet",
        out=paths.targets / str(seed),
    )
    _say("\n".join(stage.describe(arm) for arm in facts.values()))


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

    settings = _settings(config, overrides, verbose)
    if arm not in settings.arms:
        raise UserError(f"--arm {arm}: not among the arms of the params file: {', '.join(settings.arms)}")
    paths = Layout(work)
    measured = stage.run(
        settings.train,
        pairs=paths.data / "pairs",
        ratings=paths.data / "ratings.parquet",
        splits=paths.splits / str(seed) / "splits.parquet",
        targets=paths.targets / str(seed) / arm,
        out=paths.policies / str(seed) / arm,
        cache=paths.cache,
        seed=seed,
        max_pixels=settings.data.max_pixels,
    )
    _say(measured)


@app.command()
def sample(
    work: Work = Path("outputs"),
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Draw the prompts with the reference and every policy, from the same initial noise."""
    from dedpo.sample import stage

    settings = _settings(config, overrides, verbose)
    paths = Layout(work)
    models = {"reference": settings.train.base} | {
        f"{arm}-{seed}": str(paths.policies / str(seed) / arm) for seed in settings.seeds for arm in settings.arms
    }
    _say(stage.run(settings.sample, models=models, out=paths.samples))


@app.command()
def score(
    work: Work = Path("outputs"),
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Score every sample."""
    from dedpo.score import stage

    settings = _settings(config, overrides, verbose)
    paths = Layout(work)
    _say(stage.run(settings.score, samples=paths.samples, out=paths.scores))


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

    settings = _settings(config, overrides, verbose)
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
        out=out,
    )
    _say(summary)


@world_app.command("build")
def world_build(
    out: Annotated[Path, typer.Option(help="The diffusers folder to write.")] = Path("models/shapes-sd"),
    vae_steps: Annotated[int, typer.Option(min=2, help="Steps of the autoencoder's training.")] = 500,
    unet_steps: Annotated[int, typer.Option(min=2, help="Steps of the denoiser's training.")] = 1500,
    verbose: Verbose = False,
) -> None:
    """Train the world's tiny Stable Diffusion from nothing (about four minutes on one core)."""
    _settings(None, None, verbose)
    from dedpo.world import base_model

    base_model.build(out, base_model.Recipe(vae_steps=vae_steps, unet_steps=unet_steps))
    _say(f"base model: {out}")


@world_app.command("pairs")
def world_pairs(
    work: Work = Path("outputs"),
    config: ConfigFile = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Render pairs with the choices of the world's humans: an ordinary folder of images and a CSV."""
    from dedpo.world import pairs

    settings = _settings(config, overrides, verbose)
    _say(pairs.write_pairs(settings.world, out=Layout(work).world))


@world_app.command("serve", context_settings={"ignore_unknown_options": True})
def world_serve(
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this with the endpoints in its environment, then stop.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Loopback port; 0 takes a free one.")] = 0,
    verbose: Verbose = False,
) -> None:
    """Serve the world's annotators and oracle on loopback: OpenAI chat completions, and POST /v1/score.

    With a command ([bold]dedpo world serve -- dvc repro[/bold]) the server lives as long as the command does.
    """
    _settings(None, None, verbose)
    from dedpo.world import serve

    raise typer.Exit(serve.serve(port, command or []))


@app.command()
def config(
    config: ConfigFile = None,
    overrides: Overrides = None,
    write: Annotated[bool, typer.Option("--write", help="Write the overrides into the params file.")] = False,
    verbose: Verbose = False,
) -> None:
    """Show every setting with its meaning, or write overrides into params.yaml."""
    settings = _settings(config, overrides, verbose)
    from dedpo.ops import settings as ops

    if write:
        path = config or Path("params.yaml")
        ops.write(path, overrides or [])
        _say(f"{path}: {', '.join(overrides or [])}")
    else:
        ops.show(settings)


@app.command()
def doctor(config: ConfigFile = None, overrides: Overrides = None, verbose: Verbose = False) -> None:
    """Say what this machine can do: torch, GPUs, memory, disk, optional packages, endpoints."""
    settings = _settings(config, overrides, verbose)
    from dedpo.ops import doctor as ops

    ops.show(ops.examine(settings))


def main() -> NoReturn:
    """Run the command; exit with 0, 1 (our fault) or 2 (the user's)."""
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        code = 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "dedpo":
            raise
        typer.echo(f"error: the package '{error.name}' is missing; pip install 'dedpo[all]'", err=True)
        code = 2
    except Exception as error:
        if _verbose:
            traceback.print_exc()
        typer.echo(f"internal error: {type(error).__name__}: {error} (-v shows where; please report it)", err=True)
        code = 1
    else:
        code = 0
    sys.exit(code)


if __name__ == "__main__":
    main()
