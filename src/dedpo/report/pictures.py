"""The pictures on the page: one prompt a row, one method a column, all from the same noise."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dedpo.contract import tables
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest
from dedpo.vision import images

# A page must stay light: larger pictures become thumbnails, and prompts are dropped when the budget is spent.
THUMBNAIL: Final = 256  # pixels
PICTURE_BUDGET: Final = 4_000_000  # bytes of base64


class Picture(NamedTuple):
    """One cell of the picture grid; `uri` is a data URI, None where there is no picture."""

    method: str
    uri: str | None


class PictureRow(NamedTuple):
    """One prompt with a picture of each method, all from the same noise."""

    prompt: str
    pictures: list[Picture]


def read_pictures(samples: Path, models: dict[str, str], count: int) -> list[PictureRow]:
    """Pictures of the first `count` prompts in order of their hash (nobody chose them), at the lowest sampling seed.

    Args:
        models: method → model in the samples table.

    Returns:
        fewer rows if the page would grow too heavy; none if there are no finished samples.
    """
    try:
        read_manifest(samples)
        keys = tables.read(samples, tables.SAMPLES, ["model", "prompt_id", "seed", "prompt"])
    except UserError:
        return []
    seed = pc.min(keys.column("seed")).as_py()
    texts = dict(zip(keys.column("prompt_id").to_pylist(), keys.column("prompt").to_pylist(), strict=True))
    chosen = sorted(texts)[:count]
    found = _uris(samples, set(models.values()), chosen, seed)
    rows, spent = [], 0
    for prompt in chosen:
        row = [Picture(method, found.get((model, prompt))) for method, model in models.items()]
        spent += sum(len(p.uri) for p in row if p.uri)
        if spent > PICTURE_BUDGET:
            break
        rows.append(PictureRow(texts[prompt], row))
    return rows


def _uris(samples: Path, models: set[str], prompts: list[str], seed: int) -> dict[tuple[str, str], str]:
    wanted = {"model": models, "prompt_id": prompts, "seed": [seed]}
    found = {}
    # Shard by shard: all pictures of all models need not fit in memory.
    for shard in tables.iterate(samples, tables.SAMPLES):
        for column, values in wanted.items():
            shard = shard.filter(pc.is_in(shard.column(column), pa.array(list(values))))
        for row in shard.to_pylist():
            found[row["model"], row["prompt_id"]] = data_uri(row["image"]["bytes"])
    return {key: uri for key, uri in found.items() if uri}


def data_uri(data: bytes | None) -> str | None:
    """A picture as a data URI, re-encoded: nothing but its pixels enters the page. None if it cannot be read."""
    try:
        return images.preview(data or b"", THUMBNAIL)
    except ValueError:
        return None
