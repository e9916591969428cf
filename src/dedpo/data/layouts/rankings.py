"""Images of one prompt in the order of preference, as HPDv2 and ImageReward publish them: every two are a pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from dedpo.data.importing.rows import Row, typed
from dedpo.data.layouts.folder import read_files
from dedpo.data.layouts.json_list import Blocks
from dedpo.data.layouts.source import Rows, Source
from dedpo.tabular.rejected import SetAside


def source(layout: str, files: Sequence[Path], folder: Path, rows: Callable[[Path, Blocks], Rows]) -> Source:
    """Annotation files below a resolved folder, each of which `rows` reads."""
    blocks = Blocks(files)
    return Source(
        name=folder.name,
        layout=layout,
        inputs={path.resolve().relative_to(folder).as_posix(): path for path in files},
        rows=lambda: (row for path in files for row in rows(path, blocks)),
        pictures=partial(read_files, folder),
        total=blocks.total,
        done=lambda: blocks.read,
        folder=folder,
    )


def rows(
    number: int, prompt: str, places: Sequence[str], ranks: Any, what: str, rater: Any = None, part: str = ""
) -> Iterator[Row | SetAside]:
    """A row for every two images; the smaller rank is the better one, equal ranks are a tie, gaps mean nothing.

    Args:
        ranks: a number for each image, or the ranking is set aside.
        what: they are called.
    """
    if not _are_numbers(ranks, len(places)):
        yield SetAside(number, f"{what} is not {len(places)} numbers", str(ranks)[:80], prompt)
        return
    for i, j in combinations(range(len(places)), 2):
        preference = 0.5 + 0.5 * ((ranks[j] < ranks[i]) - (ranks[j] > ranks[i]))
        yield typed(
            number, prompt=prompt, image_0=places[i], image_1=places[j], preference=preference, rater=rater, part=part
        )


def are_names(names: Any) -> bool:
    """Whether these are two or more images."""
    return isinstance(names, list) and len(names) >= 2 and all(isinstance(name, str) for name in names)


def _are_numbers(ranks: Any, n: int) -> bool:
    return (
        isinstance(ranks, list)
        and len(ranks) == n
        and all(isinstance(rank, (int, float)) and not isinstance(rank, bool) and rank == rank for rank in ranks)
    )


def place(folder: Path, candidates: Sequence[str]) -> str:
    """Under which of these names an image lies in the folder; the first if under none."""
    return next((name for name in candidates if _is_there(folder / name)), candidates[0])


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
