"""`dedpo submit`: a compiled pipeline, started on Kubeflow."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.options import command, say

app = typer.Typer()


@command(app)
def submit(
    package: Annotated[Path, typer.Argument(help="The compiled pipeline.")] = Path("pipelines/dedpo.yaml"),
    set_param: Annotated[
        list[str] | None, typer.Option("--set-param", metavar="NAME=VALUE", help="A pipeline parameter; repeatable.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A params file whose settings are sent, too; none if left out."),
    ] = None,
    endpoint: Annotated[
        str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="Kubeflow Pipelines' API.")
    ] = "http://127.0.0.1:8080",
    experiment: Annotated[str, typer.Option(help="The experiment that the run belongs to; made if missing.")] = "dedpo",
    service_account: Annotated[
        str | None, typer.Option(help="The service account of the run's pods; Kubeflow's own if left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the parameters and send nothing.")] = False,
) -> None:
    """Start a compiled pipeline on Kubeflow, with parameters that are checked before anything is sent.

    Settings without a parameter of their own go into 'overrides', one JSON text; lists are JSON, too: --set-param
    arms='["dpo_human", "dedpo_tuned"]' --set-param overrides='{"train.steps": 500}'. With --config params.yaml, what
    differs from the defaults there is sent, and --set-param comes first.
    """
    from dedpo.kubeflow import submit as ops

    name, values = ops.arguments(package, set_param or [], config)
    if dry_run:
        say(f"{package}: {name} would run in experiment '{experiment}' at {endpoint} with {json.dumps(values)}")
        return
    run = ops.submit(
        package,
        values,
        name=f"{name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        endpoint=endpoint,
        experiment=experiment,
        service_account=service_account,
    )
    say({"run": run.name, "id": run.run_id, "page": run.link})
