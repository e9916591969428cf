"""`dedpo trace`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.layout import Layout
from dedpo.cli.options import command, say

app = typer.Typer()


@command(app)
def trace(
    paths: Layout,
    path: Annotated[Path, typer.Argument(help="A finished output, or a part of one: a policy's folder, a report.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of the tree.")] = False,
) -> None:
    """Print what PATH was made from, down to raw files and raters, and whether all of it is still the same.

    Each file of the chain is hashed; what was hashed before and has not changed since is not read again. Inputs are
    looked for where they lay, then by their hash below --work.

    Exit codes: 0 all of the chain is as it was; 1 something has changed or is gone; 2 PATH is no finished output.
    """
    import json
    from dataclasses import asdict

    from dedpo.lineage import page
    from dedpo.lineage import trace as ops

    found = ops.trace(path, paths.work)
    is_whole = ops.all_match(found)
    if as_json:
        say(json.dumps({"matches": is_whole, "chain": asdict(found)}, indent=2, ensure_ascii=False))
    else:
        page.show(found)
        if not is_whole:
            say("Not all of it is as it was. 'dvc checkout' or 'dvc pull' brings back what DVC has kept.")
    if not is_whole:
        raise typer.Exit(1)
