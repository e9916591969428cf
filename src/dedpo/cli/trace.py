"""`dedpo trace`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.options import Verbose, Work, say

app = typer.Typer()


@app.command()
def trace(
    path: Annotated[Path, typer.Argument(help="A finished output, or a part of one: a policy's folder, a report.")],
    work: Work = Path("outputs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of the tree.")] = False,
    verbose: Verbose = False,
) -> None:
    """Print what PATH was made from, down to raw files and raters, and whether all of it is still the same.

    Each file of the chain is hashed; what was hashed before and has not changed since is not read again. Inputs are
    looked for where they lay, then by their hash below --work.

    Exit codes: 0 all of the chain is as it was; 1 something has changed or is gone; 2 PATH is no finished output.
    """
    import json
    from dataclasses import asdict

    from dedpo.cli import options
    from dedpo.lineage import page
    from dedpo.lineage import trace as ops

    options.note_verbosity(verbose)
    found = ops.trace(path, work)
    is_whole = ops.all_match(found)
    if as_json:
        say(json.dumps({"matches": is_whole, "chain": asdict(found)}, indent=2, ensure_ascii=False))
    else:
        page.show(found)
        if not is_whole:
            say("Not all of it is as it was. 'dvc checkout' or 'dvc pull' brings back what DVC has kept.")
    if not is_whole:
        raise typer.Exit(1)
