"""Tables and trees for people, also in a log."""

from __future__ import annotations

from typing import Final

from rich.console import Console

UNBROKEN: Final = 4000


def console() -> Console:
    """A console that breaks no line where nobody watches: a log and grep want them whole.

    What it prints is not looked through for [markup]: names and commands, such as pip install 'dedpo[train]', hold it.
    Styled texts are `rich.text.Text`.
    """
    return Console(highlight=False, markup=False, emoji=False, width=None if Console().is_terminal else UNBROKEN)
