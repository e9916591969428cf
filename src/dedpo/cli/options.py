"""The options that commands share, the layout of folders, and how a summary is printed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dedpo import redact

if TYPE_CHECKING:
    from dedpo.contract.config import Config

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


@dataclass(frozen=True)
class Layout:
    """Where each stage's output lies below the work folder."""

    work: Path

    @property
    def ratings_joined(self) -> Path:
        """The folder of `dedpo data ratings`."""
        return self.work / "ratings"

    @property
    def ratings(self) -> Path:
        """The ratings that every stage reads: joined with people's later answers where that was done."""
        folder = self.ratings_joined if self.ratings_joined.exists() else self.data
        return folder / "ratings.parquet"

    @property
    def rated(self) -> Path:
        """Which pairs are rated, by a table with a column pair_id; it does not change with second opinions."""
        return self.ratings_joined / "rated.parquet" if self.ratings_joined.exists() else self.ratings

    def __getattr__(self, name: str) -> Path:
        if name not in {
            "world", "data", "features", "splits", "labels", "bias", "targets", "policies", "samples", "scores",
            "verdicts", "gate", "plan", "cache", "stats",
        }:  # fmt: skip
            raise AttributeError(name)
        return self.work / name


def trained(settings: Config, layout: Layout, seed: int) -> list[str]:
    """Those of the settings' arms that have a policy of one training seed; says which have none.

    Raises:
        UserError: none has, or a training was interrupted.
    """
    from dedpo.errors import UserError

    folder = layout.policies / str(seed)
    found: list[str] = [arm for arm in settings.arms if (folder / arm / "manifest.json").is_file()]
    missing = [arm for arm in settings.arms if arm not in found]
    if unfinished := [arm for arm in missing if (folder / f"{arm}.partial").exists()]:
        raise UserError(
            f"{folder / unfinished[0]}: its training was interrupted; run 'dedpo train --arm {unfinished[0]} --seed "
            f"{seed}' to its end, or delete the .partial folder"
        )
    if not found:
        raise UserError(f"{folder}: no arm has been trained; run 'dedpo train --arm {settings.primary}' first")
    if missing:
        typer.echo(f"seed {seed}: not trained, so left out: {', '.join(missing)}", err=True)
    return found


class _State:
    """What `main` must know after a command has failed."""

    verbose = False


def is_verbose() -> bool:
    """Whether the running command was asked for tracebacks."""
    return _State.verbose


def note_verbosity(verbose: bool) -> None:
    """For a command without settings: remember whether it was asked for tracebacks."""
    _State.verbose = verbose


def prepare(config: Path | None, overrides: list[str] | None, verbose: bool) -> Config:
    """Set up logging and read the settings."""
    import logging

    from dedpo.contract import config as settings

    note_verbosity(verbose)
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s")
    # The HTTP clients log every request, thousands a run, without adding what an error message would not say.
    for name in ("httpx", "httpx2", "httpcore", "openai"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns of what the judge settles: two keys in the environment, answers without text.
    logging.getLogger("google_genai").setLevel(logging.ERROR)
    # transformers advises torchvision at every import; torchvision breaks against the CPU build of torch.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if verbose else "error")
    default = Path("params.yaml")
    return settings.load(config or (default if default.is_file() else None), overrides)


def say(lines: dict[str, Any] | str) -> None:
    """Print a stage's summary: one 'name: value' a line."""
    text = lines if isinstance(lines, str) else "\n".join(f"{k}: {_short(v)}" for k, v in lines.items())
    typer.echo(redact.text(text))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
