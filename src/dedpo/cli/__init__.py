"""The `dedpo` command: every stage by name, one layout of folders, three exit codes.

Nothing heavy is imported here: `dedpo --help` must be instant, so each command imports its stage when it runs.
"""

from __future__ import annotations

import io
import sys
import traceback
from typing import NoReturn

import typer

from dedpo import redact
from dedpo.cli import bias, data, decisions, human, options, setup, stages, submit, trace, world
from dedpo.errors import UserError, of_disk

HELP = """Debiased preference optimisation for image generators.

Few human labels, many machine labels, no bias: label pairs with a vision-language model, correct it with the
human part, train, sample, score, and decide.

The stages, in order: data import, data split, label, bias, gate, targets, train, sample, score, judge, report,
promote. Each reads params.yaml and writes one folder below --work; 'dvc repro' runs them all and skips
what is up to date.

Exit codes: 0 done, 1 our fault, 2 something for you to put right.
"""

app = typer.Typer(
    cls=options.Group,
    help=HELP,
    no_args_is_help=True,
    # rich is imported for tables only: it takes as long as everything else that --help needs.
    rich_markup_mode=None,
    context_settings={"max_content_width": 120},
    pretty_exceptions_enable=False,
    add_completion=False,
)
# In the order of work, as the help lists them.
data.app.add_typer(human.app)
app.add_typer(data.app, name="data")
app.add_typer(stages.app)
app.add_typer(bias.app)
app.add_typer(decisions.app)
app.add_typer(world.app, name="world")
app.add_typer(trace.app)
app.add_typer(submit.app)
app.add_typer(setup.app)


def main() -> NoReturn:
    """Run the command; exit with 0, 1 (our fault) or 2 (the user's). Whatever it prints shows no secret."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a terminal has no letter for must not end a run that is done.
            stream.reconfigure(errors="backslashreplace")
    with redact.streams():
        sys.exit(_run())


def _run() -> int:
    try:
        # Left to itself it frames what it says of a wrong option, and a password that the frame breaks is not seen.
        code = app(standalone_mode=False)
    except Exception as error:
        code, line = _told(error)
        if (code != 2 or isinstance(error, OSError)) and options.is_verbose():
            traceback.print_exc()
        if line:
            typer.echo(line, err=True)
    return code if isinstance(code, int) else 0


def _told(error: Exception) -> tuple[int, str]:
    """The exit code and the line that an error comes to."""
    if told := error if isinstance(error, UserError) else of_disk(error):
        return 2, f"error: {told}"
    if isinstance(error, typer.Abort):
        return 1, "stopped"
    if isinstance(error, ModuleNotFoundError) and (error.name or "dedpo").split(".")[0] != "dedpo":
        return 2, f"error: the package '{error.name}' is missing; pip install 'dedpo[all]'"
    # Of typer's own exceptions, all of them about how the command was written, the base class is not public.
    if wrong := getattr(error, "format_message", None):
        context = getattr(error, "ctx", None)
        hint = f"; see '{context.command_path} --help'" if context else ""
        said = wrong().rstrip(".")
        # Without a message it has printed the help.
        return 2, f"error: {said}{hint}" if said else ""
    return 1, f"internal error: {type(error).__name__}: {error} (-v shows where; please report it)"
