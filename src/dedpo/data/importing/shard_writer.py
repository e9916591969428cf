"""The disk side of an import: every image is looked at once, then the shards are written one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from dedpo.contract import tables
from dedpo.data.importing import distinct_pairs, shard_plan
from dedpo.data.importing.checked_images import CheckedImages, Stamp
from dedpo.data.importing.distinct_pairs import CheckedImage, CheckedRow, Found, Pair, UnusableImage
from dedpo.data.importing.rows import Picture, Row
from dedpo.data.layouts.source import Source
from dedpo.errors import UserError
from dedpo.tabular.rejected import SetAside
from dedpo.terminal import progress
from dedpo.vision import images

# Rows whose images may be in memory at a time.
BATCH: Final = 8 * images.DECODERS
_BYTES: Final[Stamp] = (0, 0)


def look(source: Source, checks: CheckedImages, max_pixels: int) -> Iterator[CheckedRow | SetAside]:
    """The source's rows with what is found of their images; a file is looked at once, however many rows name it."""
    of_path: dict[str, Found] = {}
    examine = partial(_examine, checks, source.folder, max_pixels)
    rows = source.rows()
    shown = progress("checking images", source.total) if source.total else nullcontext(_silent)
    with ThreadPoolExecutor(images.DECODERS) as pool, shown as advance:
        done = 0
        # In batches, so that an interrupt need not wait for a queue of thousands.
        while batch := list(islice(rows, BATCH)):
            new = [p for p in dict.fromkeys(_pictures(batch)) if not isinstance(p, str) or p not in of_path]
            found = dict(zip(new, pool.map(examine, new), strict=True))
            checks.flush()
            of_path |= {picture: result for picture, result in found.items() if isinstance(picture, str)}
            for row in batch:
                if isinstance(row, SetAside):
                    yield row
                else:
                    first, second = (of_path[p] if isinstance(p, str) else found[p] for p in (row.image_0, row.image_1))
                    yield row, first, second
            before, done = done, source.done() if source.done else done + len(batch)
            for _ in range(done - before):
                advance("")


def _silent(_: str) -> None:
    """Where nobody knows how many rows there will be."""


def _pictures(batch: Sequence[Row | SetAside]) -> Iterator[Picture]:
    for row in batch:
        if isinstance(row, Row):
            yield row.image_0
            yield row.image_1


def _examine(checks: CheckedImages, folder: Path | None, max_pixels: int, picture: Picture) -> Found:
    """What an earlier run or another row found of an image, else what is seen now."""
    if isinstance(picture, bytes):
        key, stamp = hashlib.sha256(picture).hexdigest(), _BYTES
        return checks.get(key, stamp) or _kept(checks, key, stamp, distinct_pairs.check_image(picture, "", max_pixels))
    assert folder is not None
    path = distinct_pairs.locate(folder, picture)
    if isinstance(path, UnusableImage):
        return path
    try:
        there = path.stat()
    except OSError as error:
        return UnusableImage("unreadable file", f"{picture}: {error.strerror}")
    stamp = there.st_size, there.st_mtime_ns
    known = checks.get(picture, stamp)
    if known is not None:
        return known
    data = distinct_pairs.read_image(path, picture, max_pixels)
    if isinstance(data, UnusableImage):
        return data
    return _kept(checks, picture, stamp, distinct_pairs.check_image(data, picture, max_pixels))


def _kept(checks: CheckedImages, key: str, stamp: Stamp, found: Found) -> Found:
    if isinstance(found, CheckedImage):
        checks.add(key, stamp, found)
    return found


def write_shards(planned: Mapping[str, list[Pair]], source: Source, folder: Path, checks: CheckedImages) -> None:
    """Second pass: one shard's bytes in memory at a time; a shard that is there is not written again.

    Raises:
        UserError: an image is no longer what the first pass saw.
    """
    folder.mkdir(exist_ok=True)
    for stray in folder.iterdir():
        if stray.name not in planned:
            stray.unlink()
    missing = {name: part for name, part in planned.items() if not (folder / name).exists()}
    data = source.pictures(pair for part in missing.values() for pair in part)
    with progress("writing shards", len(planned), len(planned) - len(missing)) as advance:
        for name, part in missing.items():
            table = shard_plan.pairs_table(part, list(_verified(part, data, source, checks)), source.name)
            tables.write(table, tables.PAIRS, folder / name)
            advance("")


def _verified(
    part: Iterable[Pair], data: Iterator[tuple[bytes, bytes]], source: Source, checks: CheckedImages
) -> Iterator[tuple[bytes, bytes]]:
    for pair in part:
        both = next(data, (b"", b""))
        for side, expected in enumerate((pair.sha256_0, pair.sha256_1)):
            if hashlib.sha256(both[side]).hexdigest() != expected:
                # What is remembered of the images cannot be trusted, either.
                checks.forget()
                name = (pair.image_0, pair.image_1)[side] or f"row {pair.number}, image_{side}"
                raise UserError(
                    f"{source.folder / name if source.folder else name}: the file changed during the import; run it "
                    "again when nothing writes there"
                )
        yield both
