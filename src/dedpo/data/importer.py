"""From rows and checked images to distinct pairs, ratings and shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa

from dedpo import images, tables
from dedpo.data.rows import Row, SetAside

# Writing a shard takes about four times its bytes of memory (read, as Arrow, encoded, compressed).
SHARD_BYTES: Final = 192 * 2**20
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
class Refusal:
    """Why an image is not usable: a short category, and what exactly."""

    reason: str
    detail: str


Images = Mapping[str, CheckedImage | Refusal]


@dataclass(frozen=True, slots=True)
class Pair:
    """One distinct pair in the orientation of the row that named it first.

    Attributes:
        image_0, image_1: paths as written in that row.
        size: bytes of both image files.
    """

    pair_id: str
    prompt: str
    image_0: str
    image_1: str
    sha256_0: str
    sha256_1: str
    size: int
    group: str


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
    """What the rows amount to; each row is a rating, an unrated pair's first mention, a duplicate or set aside."""

    pairs: list[Pair]
    ratings: list[Rating]
    set_aside: list[SetAside]
    unrated_rows: int
    duplicates: int


def locate(folder: Path, name: str) -> Path | Refusal:
    """The file called `name` in `folder`, if it really lies there: no absolute path, no '..', no symlink out."""
    try:
        path = (folder / name).resolve()
        if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
            return Refusal("path leaves the folder", name)
        return path if path.is_file() else Refusal("missing file", name)
    except (OSError, ValueError, RuntimeError):  # too long a name, a NUL in it, a loop of symlinks
        return Refusal("missing file", name)


def check_image(folder: Path, name: str, max_pixels: int) -> CheckedImage | Refusal:
    """Read, hash and decode one image file; nothing of it stays in memory."""
    path = locate(folder, name)
    if isinstance(path, Refusal):
        return path
    try:
        size = path.stat().st_size
        if size > MAX_BYTES_PER_PIXEL * max_pixels + 2**16:
            return Refusal("unusable image", f"{name}: {size:,} bytes are too many for {max_pixels:,} pixels")
        data = path.read_bytes()
        images.decode(data, max_pixels)
    except OSError as error:
        return Refusal("unreadable file", f"{name}: {error.strerror}")
    except ValueError as error:
        return Refusal("unusable image", f"{name}: {error}")
    return CheckedImage(hashlib.sha256(data).hexdigest(), len(data))


def pair_id(prompt: str, sha256_0: str, sha256_1: str) -> str:
    """24 hex digits that name a prompt with two images, whichever of them comes first."""
    first, second = sorted((sha256_0, sha256_1))
    return hashlib.sha256(f"{first}{second}{prompt}".encode()).hexdigest()[:24]


def flipped(preference: float) -> float:
    """The preference after the two images change places."""
    return round(1 - preference, 12)


def merge(rows: Iterable[Row], checked: Images) -> Merged:
    """Distinct pairs (sorted by pair_id) and ratings (sorted by pair_id and rater).

    The first row of a pair decides its orientation and group; a later row that shows the images swapped has its
    preference and order flipped. A rater who repeats a value gives one rating; one who contradicts it gives none.
    """
    pairs: dict[str, Pair] = {}
    opinions: list[Rating] = []
    set_aside: list[SetAside] = []
    unrated_rows = duplicates = 0
    for row in rows:
        found = _usable(row, checked)
        if isinstance(found, Refusal):
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
    return Merged(sorted(pairs.values(), key=lambda p: p.pair_id), ratings, set_aside, unrated_rows, duplicates)


def _usable(row: Row, checked: Images) -> Pair | Refusal:
    first, second = checked[row.image_0], checked[row.image_1]
    if isinstance(first, Refusal):
        return first
    if isinstance(second, Refusal):
        return second
    if first.sha256 == second.sha256:
        return Refusal("identical images", f"{row.image_0}, {row.image_1}")
    name = pair_id(row.prompt, first.sha256, second.sha256)
    size = first.size + second.size
    return Pair(name, row.prompt, row.image_0, row.image_1, first.sha256, second.sha256, size, row.group)


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


def plan_shards(pairs: list[Pair], *, source: str, shard_rows: int) -> dict[str, list[Pair]]:
    """File name → its pairs, in order: at most `shard_rows` pairs and (beyond the first) `SHARD_BYTES` of images.

    The name is a hash of what the shard holds, so a file of that name needs no second writing.
    """
    return {f"pairs-{_content_hash(part, source)}.parquet": part for part in _parts(pairs, shard_rows)}


def _parts(pairs: list[Pair], shard_rows: int) -> Iterator[list[Pair]]:
    part: list[Pair] = []
    total = 0
    for pair in pairs:
        if part and (len(part) == shard_rows or total + pair.size > SHARD_BYTES):
            yield part
            part, total = [], 0
        part.append(pair)
        total += pair.size
    if part:
        yield part


def _content_hash(part: list[Pair], source: str) -> str:
    rows = [
        [p.pair_id, p.prompt, p.sha256_0, p.sha256_1, Path(p.image_0).name, Path(p.image_1).name, p.group] for p in part
    ]
    return hashlib.sha256(json.dumps([source, rows]).encode()).hexdigest()[:16]


def pairs_table(part: list[Pair], data: list[tuple[bytes, bytes]], source: str) -> pa.Table:
    """Rows of the pairs table; `data` holds each pair's two image files. Of a path only the name is kept."""
    columns = {
        "pair_id": [p.pair_id for p in part],
        "prompt": [p.prompt for p in part],
        "image_0": [{"bytes": d[0], "path": Path(p.image_0).name} for p, d in zip(part, data, strict=True)],
        "image_1": [{"bytes": d[1], "path": Path(p.image_1).name} for p, d in zip(part, data, strict=True)],
        "group": [p.group for p in part],
        "source": [source] * len(part),
    }
    return pa.table(columns, schema=tables.PAIRS.schema)


def ratings_table(ratings: list[Rating], source: str) -> pa.Table:
    """Rows of the ratings table."""
    names = ("pair_id", "rater", "preference", "order_shown", "time")
    columns = {name: [getattr(r, name) for r in ratings] for name in names}
    return pa.table(columns | {"source": [source] * len(ratings)}, schema=tables.RATINGS.schema)
