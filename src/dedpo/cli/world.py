"""`dedpo world`: the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dedpo.cli.layout import Layout
from dedpo.cli.options import Config, Group, command, say

app = typer.Typer(
    cls=Group, help="The embedded world: pairs, base model and servers without hub or GPU.", no_args_is_help=True
)


@command(app, "build")
def world_build(
    out: Annotated[Path, typer.Option(help="The diffusers folder to write.")] = Path("models/shapes-sd"),
    vae_steps: Annotated[int, typer.Option(min=2, help="Steps of the autoencoder's training.")] = 500,
    unet_steps: Annotated[int, typer.Option(min=2, help="Steps of the denoiser's training.")] = 1500,
) -> None:
    """Train the world's tiny Stable Diffusion from nothing (about four minutes on one core)."""
    from dedpo.world import base_model

    base_model.build(out, base_model.Recipe(vae_steps=vae_steps, unet_steps=unet_steps))
    say(f"base model: {out}")


@command(app, "build-clip")
def world_build_clip(
    out: Annotated[Path, typer.Option(help="The CLIPModel folder to write.")] = Path("models/shapes-clip"),
    steps: Annotated[int, typer.Option(min=2, help="Steps of the contrastive training.")] = 1000,
) -> None:
    """Train the world's tiny CLIP from nothing (about a minute on one core)."""
    from dedpo.world import clip_model

    clip_model.build(out, clip_model.Recipe(steps=steps))
    say(f"CLIP model: {out}")


@command(app, "pairs")
def world_pairs(settings: Config, paths: Layout) -> None:
    """Render pairs with the choices of the world's humans: an ordinary folder of images and a CSV."""
    from dedpo.world import pairs

    say(pairs.write_pairs(settings.world, out=paths.world))


@command(app, "serve", context_settings={"ignore_unknown_options": True})
def world_serve(
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this with the endpoints in its environment, then stop.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0: every one.")] = "127.0.0.1",
) -> None:
    """Serve the world's annotators, judge and oracle: OpenAI's and Gemini's protocols, and POST /v1/score.

    With a command ('dedpo world serve -- dvc repro') the server lives as long as the command does.
    """
    from dedpo.world import serve

    raise typer.Exit(serve.serve(port, command or [], host))
