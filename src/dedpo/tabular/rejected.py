"""What is not used of what came from outside: it is counted and written down with its reason, and never vanishes."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dedpo import disk, redact


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row or annotation that is not used: where, why (a short category), the offending value, and its prompt."""

    number: int
    reason: str
    detail: str
    prompt: str


class RefusedError(ValueError):
    """A value that sets its row or annotation aside."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def cells(rows: Iterable[SetAside]) -> list[list[int | str]]:
    """The cells of each, inert in a spreadsheet and without secrets."""
    return [[row.number, row.reason, *(_inert(redact.text(text)) for text in (row.detail, row.prompt))] for row in rows]


def write_csv(path: Path, first: str, lines: Iterable[list[int | str]]) -> None:
    """A CSV of `cells`, by way of a temporary name; `first` says what their number counts."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([first, "reason", "detail", "prompt"])
        writer.writerows(lines)
    disk.replace(temporary, path)


def _inert(text: str) -> str:
    # Prompts are hostile: a spreadsheet would run a cell that begins so.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
