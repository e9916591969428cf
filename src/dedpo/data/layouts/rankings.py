"""Images of one prompt in the order of preference, as HPDv2 and ImageReward publish them: every two are a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from dedpo.data.importing.rows import Row, typed
from dedpo.tabular.rejected import SetAside


def rows(
    number: int, prompt: str, places: Sequence[str], ranks: Sequence[float], rater: Any, part: str = ""
) -> Iterator[Row | SetAside]:
    """A row for every two images; the smaller rank is the better one, equal ranks are a tie, gaps mean nothing."""
    for i, j in combinations(range(len(places)), 2):
        preference = 0.5 + 0.5 * ((ranks[j] < ranks[i]) - (ranks[j] > ranks[i]))
        yield typed(
            number, prompt=prompt, image_0=places[i], image_1=places[j], preference=preference, rater=rater, part=part
        )


def are_names(names: Any) -> bool:
    """Whether these are two or more images."""
    return isinstance(names, list) and len(names) >= 2 and all(isinstance(name, str) for name in names)


def numbers(ranks: Any, n: int) -> list[float] | None:
    """The rank of each of n images; None if it is something else."""
    if not isinstance(ranks, list) or len(ranks) != n:
        return None
    fit = all(isinstance(rank, (int, float)) and not isinstance(rank, bool) and rank == rank for rank in ranks)
    return ranks if fit else None


def place(folder: Path, candidates: Sequence[str]) -> str:
    """Under which of these names an image lies in the folder; the first if under none."""
    return next((name for name in candidates if _is_there(folder / name)), candidates[0])


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
