"""`dedpo config` and `dedpo doctor`: what is set, and what this machine can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.options import Config, ConfigFile, Overrides, command, say

app = typer.Typer()


@command(app, "config")
def show_or_write(
    settings: Config,
    config: ConfigFile = None,
    overrides: Overrides = None,
    write: Annotated[bool, typer.Option("--write", help="Write the overrides into the params file.")] = False,
) -> None:
    """Show every setting with its meaning, or write overrides into params.yaml."""
    from dedpo.cli import settings as shown

    if write:
        path = config or Path("params.yaml")
        shown.write(path, overrides or [])
        say(f"{path}: {', '.join(overrides or [])}")
    else:
        shown.show(settings)


@command(app)
def doctor(settings: Config) -> None:
    """Say what this machine can do: torch, GPUs, memory, disk, optional packages, endpoints."""
    from dedpo.cli import machine

    machine.show(machine.examine(settings))
