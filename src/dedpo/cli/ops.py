"""`dedpo config` and `dedpo doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.options import ConfigFile, Overrides, Verbose, prepare, say

app = typer.Typer()


@app.command()
def config(
    config: ConfigFile = None,
    overrides: Overrides = None,
    write: Annotated[bool, typer.Option("--write", help="Write the overrides into the params file.")] = False,
    verbose: Verbose = False,
) -> None:
    """Show every setting with its meaning, or write overrides into params.yaml."""
    settings = prepare(config, overrides, verbose)
    from dedpo.cli import settings as ops

    if write:
        path = config or Path("params.yaml")
        ops.write(path, overrides or [])
        say(f"{path}: {', '.join(overrides or [])}")
    else:
        ops.show(settings)


@app.command()
def doctor(config: ConfigFile = None, overrides: Overrides = None, verbose: Verbose = False) -> None:
    """Say what this machine can do: torch, GPUs, memory, disk, optional packages, endpoints."""
    settings = prepare(config, overrides, verbose)
    from dedpo.cli import machine as ops

    ops.show(ops.examine(settings))
