"""From rows and checked images to distinct pairs and ratings."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa

from dedpo.contract import tables
from dedpo.contract.pair_names import pair_id
from dedpo.data.importing.rows import Row
from dedpo.tabular.rejected import SetAside
from dedpo.vision import images

# No picture worth decoding needs more bytes a pixel; a film or a disk image named .png is not even read.
MAX_BYTES_PER_PIXEL: Final = 8
# Swapping 0.9 and swapping back is not exact in floating point.
SAME_PREFERENCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """An image that decodes: its SHA-256 (hex) and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class UnusableImage:
    """Why an image is not usable: a short category, and what exactly."""

    reason: str
    detail: str


Found = CheckedImage | UnusableImage
# A row with what was found of its two images.
CheckedRow = tuple[Row, Found, Found]


@dataclass(frozen=True, slots=True)
class Pair:
    """One distinct pair in the orientation of the row that named it first.

    Attributes:
        image_0, image_1: paths as written in that row; '' where the source holds the bytes.
        size: bytes of both image files.
        number: that row's.
    """

    pair_id: str
    prompt: str
    image_0: str
    image_1: str
    sha256_0: str
    sha256_1: str
    size: int
    group: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Rating:
    """One rater's opinion of one pair, in the pair's orientation; `number` and `prompt` point back to the row."""

    pair_id: str
    rater: str
    preference: float
    order_shown: str | None
    time: datetime | None
    number: int
    prompt: str


class Merged(NamedTuple):
    """What the rows amount to; each row is a rating, an unrated pair's first mention, a duplicate or set aside.

    Attributes:
        pairs: in the order of their first mention.
        ratings: sorted by pair_id and rater.
        rows_of_part: rows of each published split, of those that name one.
        divided_prompts: prompts with rows of more than one published split.
    """

    pairs: list[Pair]
    ratings: list[Rating]
    set_aside: list[SetAside]
    unrated_rows: int
    duplicates: int
    rows_of_part: dict[str, int]
    divided_prompts: int

    @property
    def rows(self) -> int:
        """How many there were."""
        return len(self.ratings) + self.unrated_rows + self.duplicates + len(self.set_aside)


def locate(folder: Path, name: str) -> Path | UnusableImage:
    """The file called `name` in `folder`, if it really lies there: no absolute path, no '..', no symlink out.

    Args:
        folder: resolved, as by `Path.resolve`; doing it here would double the time of an import of small images.
    """
    root = str(folder)
    try:
        # pathlib would take three times as long.
        path = os.path.realpath(os.path.join(root, name))  # noqa: PTH118
        if os.path.isabs(name) or not f"{path}{os.sep}".startswith(f"{root.rstrip(os.sep)}{os.sep}"):  # noqa: PTH117
            return UnusableImage("path leaves the folder", name)
        return Path(path) if os.path.isfile(path) else UnusableImage("missing file", name)  # noqa: PTH113
    except (OSError, ValueError):  # too long a name, a NUL in it
        return UnusableImage("missing file", name)


def read_image(path: Path, name: str, max_pixels: int) -> bytes | UnusableImage:
    """One image file's bytes; a file that is too large for an image of `max_pixels` is not read."""
    try:
        return _too_large(name, path.stat().st_size, max_pixels) or path.read_bytes()
    except OSError as error:
        return UnusableImage("unreadable file", f"{name}: {error.strerror}")


def check_image(data: bytes, place: str, max_pixels: int) -> Found:
    """Hash and decode one image; nothing of it stays in memory.

    Args:
        place: what a refusal calls it; may be ''.
    """
    refusal = _too_large(place, len(data), max_pixels)
    if refusal is not None:
        return refusal
    try:
        images.decode(data, max_pixels)
    except ValueError as error:
        return UnusableImage("unusable image", f"{place}: {error}".removeprefix(": "))
    return CheckedImage(hashlib.sha256(data).hexdigest(), len(data))


def _too_large(place: str, size: int, max_pixels: int) -> UnusableImage | None:
    if size <= MAX_BYTES_PER_PIXEL * max_pixels + 2**16:
        return None
    detail = f"{place}: {size:,} bytes are too many for {max_pixels:,} pixels"
    return UnusableImage("unusable image", detail.removeprefix(": "))


def flipped(preference: float) -> float:
    """The preference after the two images change places."""
    return round(1 - preference, 12)


def merge(rows: Iterable[CheckedRow | SetAside]) -> Merged:
    """Distinct pairs in the order of their first mention, and ratings sorted by pair_id and rater.

    The first row of a pair decides its orientation and group; a later row that shows the images swapped has its
    preference and order flipped. A rater who repeats a value gives one rating; one who contradicts it gives none.
    """
    pairs: dict[str, Pair] = {}
    opinions: list[Rating] = []
    set_aside: list[SetAside] = []
    parts: Counter[str] = Counter()
    part_of: dict[str, str] = {}
    divided: set[str] = set()
    unrated_rows = duplicates = 0
    for looked in rows:
        if isinstance(looked, SetAside):
            set_aside.append(looked)
            continue
        row = looked[0]
        if row.part:
            parts[row.part] += 1
            if part_of.setdefault(row.prompt, row.part) != row.part:
                divided.add(row.prompt)
        found = _usable(looked)
        if isinstance(found, UnusableImage):
            set_aside.append(SetAside(row.number, found.reason, found.detail, row.prompt))
            continue
        pair = pairs.setdefault(found.pair_id, found)
        if row.preference is not None:
            opinions.append(_rating(row, row.preference, pair, is_swapped=pair.sha256_0 != found.sha256_0))
        elif pair is found:
            unrated_rows += 1
        else:
            duplicates += 1
    ratings, contradictory = _one_per_rater(opinions)
    duplicates += len(opinions) - len(ratings) - len(contradictory)
    set_aside += [
        SetAside(r.number, "contradictory rating", f"{r.rater} on pair {r.pair_id}", r.prompt) for r in contradictory
    ]
    return Merged(list(pairs.values()), ratings, set_aside, unrated_rows, duplicates, dict(parts), len(divided))


def _usable(looked: CheckedRow) -> Pair | UnusableImage:
    row, first, second = looked
    if isinstance(first, UnusableImage):
        return first
    if isinstance(second, UnusableImage):
        return second
    names = [picture if isinstance(picture, str) else "" for picture in (row.image_0, row.image_1)]
    if first.sha256 == second.sha256:
        return UnusableImage("identical images", ", ".join(names) if any(names) else first.sha256[:16])
    name = pair_id(row.prompt, first.sha256, second.sha256)
    size = first.size + second.size
    return Pair(name, row.prompt, names[0], names[1], first.sha256, second.sha256, size, row.group, row.number)


def _rating(row: Row, preference: float, pair: Pair, *, is_swapped: bool) -> Rating:
    order = row.order_shown
    if is_swapped:
        preference, order = flipped(preference), order[::-1] if order else None
    return Rating(pair.pair_id, row.rater, preference, order, row.time, row.number, row.prompt)


def _one_per_rater(opinions: list[Rating]) -> tuple[list[Rating], list[Rating]]:
    """Each rater's first rating of each pair, and every rating of those who contradict themselves."""
    kept: list[Rating] = []
    contradictory: list[Rating] = []

    def key(rating: Rating) -> tuple[str, str]:
        return rating.pair_id, rating.rater

    for _, same in groupby(sorted(opinions, key=key), key):
        given = list(same)
        values = [r.preference for r in given]
        if max(values) - min(values) > SAME_PREFERENCE:
            contradictory += given
        else:
            kept.append(given[0])
    return kept, contradictory


def ratings_table(ratings: list[Rating], source: str) -> pa.Table:
    """Rows of the ratings table."""
    names = ("pair_id", "rater", "preference", "order_shown", "time")
    columns = {name: [getattr(r, name) for r in ratings] for name in names}
    return pa.table(columns | {"source": [source] * len(ratings)}, schema=tables.RATINGS.schema)
