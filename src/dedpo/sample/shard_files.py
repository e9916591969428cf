"""Pictures that were drawn before: in another run's output, or in what a killed run has left."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import dedpo
from dedpo.contract import tables
from dedpo.contract.sections import SampleConfig
from dedpo.errors import UserError

if TYPE_CHECKING:
    from dedpo.sample.sampler import Request

MADE_FROM: Final = "made_from"
# Which pictures there are, but not what one looks like; `device` is told apart by what it stands for.
_WHICH: Final = {"prompts", "validation_prompts", "snapshots", "seeds", "vae", "device"}


def made_from(config: SampleConfig, model: Any, vae: Any, device: str) -> str | None:
    """A hash of all that decides a model's pictures but prompt and seed; None if a model's content is not known.

    Args:
        model, vae: what is known of their content; `vae` may be there without any.
    """
    contents = [content.get("commit") if isinstance(content, dict) else content for content in (model, vae)]
    if contents[0] is None or (vae is not None and contents[1] is None):
        return None
    versions = [metadata.version(name) for name in ("torch", "diffusers", "transformers")]
    # How many are drawn together decides last bits, where it is for the settings to say.
    which = _WHICH | ({"batch_size"} if device == "cpu" else set())
    decisive = [contents, config.model_dump(mode="json", exclude=which), device, dedpo.__version__, versions]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def kept(shard: Path, mark: str | None, requests: Sequence[Request]) -> list[Request]:
    """Those of `requests` whose pictures are in a shard of this mark; none if it is not there.

    Args:
        mark: from `made_from`.
    """
    if mark is None or _mark(shard) != mark:
        return []
    try:
        rows = tables.read(shard, tables.SAMPLES, ["prompt", "seed"]).to_pylist()
    except UserError:  # damaged: what it held is drawn again
        return []
    drawn = {(row["prompt"], row["seed"]) for row in rows}
    return [request for request in requests if tuple(request) in drawn]


def read(shard: Path, requests: Collection[Request]) -> dict[tuple[str, int], bytes]:
    """The encoded pictures of some requests."""
    wanted = set(requests)
    found: dict[tuple[str, int], bytes] = {}
    for chunk in tables.read(shard, tables.SAMPLES).to_batches(max_chunksize=64):
        for row in chunk.to_pylist():
            if (row["prompt"], row["seed"]) in wanted:
                found[row["prompt"], row["seed"]] = row["image"]["bytes"] or b""
    return found


def side(shard: Path) -> int:
    """The side in pixels of the pictures of a shard, which has one."""
    first = tables.read(shard, tables.SAMPLES, ["image"]).slice(0, 1)
    with Image.open(io.BytesIO(first["image"][0].as_py()["bytes"])) as picture:
        return picture.width


def write(
    model: str, requests: Sequence[Request], pictures: Mapping[tuple[str, int], bytes], mark: str | None, path: Path
) -> None:
    """A shard of the samples table, which says what its pictures were made from."""
    from dedpo.sample.sampler import prompt_id

    table = pa.table(
        {
            "model": [model] * len(requests),
            "prompt_id": [prompt_id(r.prompt) for r in requests],
            "seed": [r.seed for r in requests],
            "prompt": [r.prompt for r in requests],
            "image": pa.array([{"bytes": pictures[r], "path": None} for r in requests], tables.IMAGE),
        },
        schema=tables.SAMPLES.schema,
    )
    tables.write(table, tables.SAMPLES, path, {MADE_FROM: mark} if mark else None)


def _mark(shard: Path) -> str | None:
    try:
        found = pq.read_schema(shard).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    return found.get(MADE_FROM.encode(), b"").decode() or None
