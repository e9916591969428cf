"""RowReader an import back: groups, ratings, and the rated pairs with their images, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dedpo.contract import tables
from dedpo.errors import UserError
from dedpo.vision.images import in_order


class ImagePair(NamedTuple):
    """A pair's images in an order that swapping them does not change, so that what is measured changes its sign only.

    Attributes:
        place: shard and pair, for messages.
        images: their bytes, the lesser text of bytes first.
        sign: 1 if the second of `images` is image 1, −1 if it is image 0, 0 if both are the same file.
    """

    place: str
    images: tuple[bytes, bytes]
    sign: int


def groups(pairs: Path) -> dict[str, str]:
    """pair_id → group, sorted by pair_id."""
    table = tables.read(pairs, tables.PAIRS, ["pair_id", "group"]).sort_by("pair_id")
    return dict(zip(table.column("pair_id").to_pylist(), table.column("group").to_pylist(), strict=True))


def rated(ratings: Path) -> set[str]:
    """The pairs with a human rating.

    Raises:
        UserError: there is none.
    """
    found = any_rated(ratings)
    if not found:
        raise UserError(f"{ratings}: no pair has a human rating; fill the preference column and import again")
    return found


def any_rated(ratings: Path) -> set[str]:
    """The pairs with a human rating; there may be none."""
    if not tables.count_rows(ratings):
        return set()
    return set(tables.read(ratings, tables.RATINGS, ["pair_id"]).column("pair_id").to_pylist())


def rated_pairs(pairs: Path, ratings: Path, later: Path | None = None) -> pa.Table:
    """pair_id, group and prompt of the rated pairs, in the shards' order.

    Args:
        ratings: the import's.
        later: those and what people answered since, also on pairs that are not there any more; None: nothing.

    Raises:
        UserError: none is rated, or one that the import rates is not there.
    """
    wanted = rated(ratings) if later is None else any_rated(ratings)
    either = wanted if later is None else wanted | rated(later)
    rows = tables.read(pairs, tables.PAIRS, ["pair_id", "group", "prompt"])
    rows = rows.filter(pc.is_in(rows.column("pair_id"), pa.array(sorted(either))))
    if missing := wanted.difference(rows.column("pair_id").to_pylist()):
        raise UserError(f"{pairs}: pair {min(missing)} is rated in {ratings} but not there; import again")
    if not rows.num_rows:
        raise UserError(f"{pairs}: holds none of the pairs that are rated in {later}; import again")
    return rows


def image_pairs(pairs: Path, ids: pa.ChunkedArray, size: int) -> Iterator[list[ImagePair]]:
    """The images of the pairs `ids`, up to `size` pairs at a time, in the shards' order; one shard is in memory.

    Raises:
        UserError: a shard is broken; names it.
    """
    wanted = ids.combine_chunks()
    for shard in tables.shard_paths(pairs):
        rows = tables.read(shard, tables.PAIRS)
        rows = rows.filter(pc.is_in(rows.column("pair_id"), wanted)).select(["pair_id", "image_0", "image_1"])
        for chunk in rows.to_batches(max_chunksize=size):
            if chunk.num_rows:
                yield [_image_pair(row, shard) for row in chunk.to_pylist()]


def _image_pair(row: dict[str, Any], shard: Path) -> ImagePair:
    first, second = ((row[name]["bytes"] or b"") for name in ("image_0", "image_1"))
    return ImagePair(f"{shard}: pair {row['pair_id']}", *in_order(first, second))
