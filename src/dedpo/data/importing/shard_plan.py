"""Shards of the pairs table whose boundaries depend only on what comes before them.

Shard k covers the rows [p_k, p_k + s_k) with s_k = clamp(p_k // GROWTH, FEWEST, shard_rows), and less if its images
would exceed SHARD_BYTES. Every boundary is thus a function of the rows before it, and a shard that ends because it is
full stays what it is whatever is appended: only the last one can grow. That one has at most 1/GROWTH of the rows
before it once there are FEWEST · GROWTH of them. So appending 1 % to n pairs of like size writes anew at most
max(n/GROWTH, FEWEST) + n/100 pairs: 1/64 + 1/100 = 2.6 % of n from n = 2048 on, and 2.6 % at n = 2000, too.
The sizes grow geometrically, so there are few shards: about FEWEST-sized ones up to FEWEST · GROWTH = 2048 rows,
then 64 for each factor of e until `shard_rows` is reached.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa

from dedpo.contract import tables
from dedpo.contract.pair_names import image_name
from dedpo.data.importing.distinct_pairs import Pair
from dedpo.vision import images

# Writing a shard takes about four times its bytes of memory (read, as Arrow, encoded, compressed).
SHARD_BYTES: Final = 192 * 2**20
GROWTH: Final = 64
FEWEST: Final = 32


def plan_shards(pairs: Sequence[Pair], *, source: str, shard_rows: int) -> dict[str, list[Pair]]:
    """File name → its pairs, in order: at most `shard_rows` pairs and (beyond the first) `SHARD_BYTES` of images.

    The name is a hash of what the shard holds, so a file of that name needs no second writing. Appended pairs leave
    every name but the last one's as it was.
    """
    return {f"pairs-{_content_hash(part, source)}.parquet": part for part in _parts(pairs, shard_rows)}


def capacity(before: int, shard_rows: int) -> int:
    """How many rows the shard may have that has `before` rows before it."""
    return min(max(before // GROWTH, FEWEST), shard_rows)


def _parts(pairs: Sequence[Pair], shard_rows: int) -> Iterator[list[Pair]]:
    part: list[Pair] = []
    before = total = 0
    for pair in pairs:
        if part and (len(part) == capacity(before, shard_rows) or total + pair.size > SHARD_BYTES):
            yield part
            before += len(part)
            part, total = [], 0
        part.append(pair)
        total += pair.size
    if part:
        yield part


def _content_hash(part: list[Pair], source: str) -> str:
    rows = [[p.pair_id, p.prompt, p.sha256_0, p.sha256_1, p.group] for p in part]
    return hashlib.sha256(json.dumps([source, rows]).encode()).hexdigest()[:16]


def pairs_table(part: list[Pair], data: list[tuple[bytes, bytes]], source: str) -> pa.Table:
    """Rows of the pairs table; `data` holds each pair's two image files.

    An image is called by its content: what its file was called elsewhere would change shards that hold the same.
    """
    columns = {
        "pair_id": [p.pair_id for p in part],
        "prompt": [p.prompt for p in part],
        "image_0": [_image(d[0], p.sha256_0) for p, d in zip(part, data, strict=True)],
        "image_1": [_image(d[1], p.sha256_1) for p, d in zip(part, data, strict=True)],
        "group": [p.group for p in part],
        "source": [source] * len(part),
    }
    return pa.table(columns, schema=tables.PAIRS.schema)


def _image(data: bytes, sha256: str) -> dict[str, bytes | str]:
    return {"bytes": data, "path": image_name(sha256, images.ending(data))}
