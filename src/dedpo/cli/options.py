"""How a command is made: the options that commands share, and how a summary is printed."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer
from typer.core import TyperGroup

from dedpo import redact
from dedpo.cli.layout import WORK, Layout

if TYPE_CHECKING:
    from dedpo.contract.config import Config as Config
else:
    Config = Any  # imported by the command that reads settings: --help needs none

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="The params file; params.yaml if it is there.", show_default=False)
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; repeatable.")
]
Work = Annotated[Path, typer.Option(help="Where the stages' folders lie.")]
Human = Annotated[Path, typer.Option(help="Where rounds of questions to people and their answers are kept.")]
Seed = Annotated[int, typer.Option(min=0, help="Which labelled subset and which training draws.")]
Values = Annotated[
    list[str] | None, typer.Option(metavar="VALUES", help="Values with commas between that mean it; repeatable.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, and show tracebacks.")]

# What a command's function is given → the options that it is made from: name, annotation, default.
_MADE_FROM: Final[dict[str, list[tuple[str, Any, Any]]]] = {
    "paths": [("work", Work, WORK)],
    "settings": [("config", ConfigFile, None), ("overrides", Overrides, None)],
}
Command = TypeVar("Command", bound=Callable[..., None])


def command(app: typer.Typer, name: str | None = None, **more: Any) -> Callable[[Command], Command]:
    """Make a function a command of `app`, with the options that commands share.

    A function that takes `settings` gets --config and --set, one that takes `paths` gets --work, and every one gets
    --verbose; options that it lists itself it is given as they are.
    """

    def add(function: Command) -> Command:
        asked = inspect.signature(function, eval_str=True).parameters
        own = {n: p for n, p in asked.items() if n not in _MADE_FROM}
        shared = [option for made, options in _MADE_FROM.items() if made in asked for option in options]
        options = own | {
            n: inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for n, annotation, default in [*shared, ("verbose", Verbose, False)]
            if n not in own
        }

        def run(**given: Any) -> None:
            _set_up(given["verbose"])
            if "paths" in asked:
                given["paths"] = Layout(given["work"])
            if "settings" in asked:
                given["settings"] = _read(given["config"], given["overrides"])
            function(**{n: given[n] for n in asked})

        run.__name__, run.__doc__ = function.__name__, function.__doc__
        run.__signature__ = inspect.Signature(list(options.values()))  # type: ignore[attr-defined]
        app.command(name, **more)(run)
        return function

    return add


class Group(TyperGroup):
    """Commands whose help shows the first sentence of each one whole."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl([(n, c.get_short_help_str(limit=200)) for n, c in found.items() if c])


class _State:
    """What `main` must know after a command has failed."""

    verbose = False


def is_verbose() -> bool:
    """Whether the running command was asked for tracebacks."""
    return _State.verbose


def _set_up(verbose: bool) -> None:
    import logging

    _State.verbose = verbose
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s")
    # The HTTP clients log every request, thousands a run, without adding what an error message would not say.
    for name in ("httpx", "httpx2", "httpcore", "openai"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns of what the judge settles: two keys in the environment, answers without text.
    logging.getLogger("google_genai").setLevel(logging.ERROR)
    # Where a machine is shared, threads that wait by spinning take the processors of those that work: a training beside
    # other programs then runs at a tenth of its speed.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # transformers advises torchvision at every import; torchvision breaks against the CPU build of torch.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if verbose else "error")


def _read(config: Path | None, overrides: list[str] | None) -> Config:
    from dedpo.contract import config as settings

    default = Path("params.yaml")
    return settings.load(config or (default if default.is_file() else None), overrides)


def say(lines: Mapping[str, object] | str) -> None:
    """Print a stage's summary: one 'name: value' a line."""
    text = lines if isinstance(lines, str) else "\n".join(f"{k}: {_short(v)}" for k, v in lines.items())
    typer.echo(redact.text(text))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
