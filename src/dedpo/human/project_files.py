"""A round's Label Studio project on disk: heavy, kept out of version control, written again where it is missing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dedpo.contract import tables
from dedpo.contract.answered_pairs import SELECTION
from dedpo.errors import UserError
from dedpo.human import project, round_files
from dedpo.outputs.manifest import output_folder
from dedpo.rng import generator
from dedpo.vision import images

PROJECT: Final = "label-studio"
_IGNORED: Final = f"# Heavy, and written again by 'dedpo data select'.\n/rounds/*/{PROJECT}*/\n/rounds/*.partial/\n"


# Pairs whose images are in memory at a time, beside their shard.
_BATCH: Final = 16


class Shown(NamedTuple):
    """A pair's prompt and the file names of its two images."""

    prompt: str
    images: tuple[str, str]


def ignore(human: Path) -> None:
    """Keep the projects out of Git and DVC; files that are there stay as they are."""
    human.mkdir(parents=True, exist_ok=True)
    for name in (".gitignore", ".dvcignore"):
        if not (human / name).exists():
            (human / name).write_text(_IGNORED, encoding="utf-8")


def write(image_prefix: str, name: str, pairs: Path, folder: Path) -> None:
    """Write the Label Studio project of the round in `folder`.

    Raises:
        UserError: a selected pair is not there, or its image is none.
    """
    settings = {"round": name, "image_prefix": image_prefix}
    inputs = {"pairs": pairs, "selection": folder / SELECTION}
    with output_folder(folder / PROJECT, stage="label-studio", config=settings, inputs=inputs) as partial:
        orders = round_files.selected(folder)
        shown = _write_images(pairs, pa.chunked_array([list(orders)], pa.string()), partial / "images")
        (partial / "config.xml").write_text(project.CONFIG, encoding="utf-8")
        _write_tasks(partial, image_prefix, name, orders, shown)
        if image_prefix == project.EMBED:
            shutil.rmtree(partial / "images")


def _write_tasks(
    folder: Path, image_prefix: str, name: str, orders: Mapping[str, str], shown: Mapping[str, Shown]
) -> None:
    """tasks.json, a task a line, in an order that says nothing; embedded images are never together in memory."""

    def address(file: str) -> str:
        if image_prefix == project.EMBED:
            return images.data_url((folder / "images" / file).read_bytes())
        return image_prefix + file

    ids = list(orders)
    with (folder / "tasks.json").open("w", encoding="utf-8") as file:
        for i, place in enumerate(generator("tasks", name).permutation(len(ids))):
            pair = ids[place]
            first, second = shown[pair].images
            task = project.task(name, pair, orders[pair], shown[pair].prompt, (address(first), address(second)))
            file.write(("[\n" if i == 0 else ",\n") + json.dumps(task, ensure_ascii=False))
        file.write("\n]\n")


def _write_images(pairs: Path, ids: pa.ChunkedArray, folder: Path) -> dict[str, Shown]:
    """Write the images of the pairs `ids` to `folder`, named by their content; return what each pair shows.

    Raises:
        UserError: a pair is not there, or its image is none; names it.
    """
    folder.mkdir()
    shown: dict[str, Shown] = {}
    wanted = ids.combine_chunks()
    for shard in tables.shard_paths(pairs):
        if not pc.any(pc.is_in(tables.read(shard, tables.PAIRS, ["pair_id"]).column("pair_id"), wanted)).as_py():
            continue
        rows = tables.read(shard, tables.PAIRS)
        rows = rows.filter(pc.is_in(rows.column("pair_id"), wanted))
        for batch in rows.to_batches(max_chunksize=_BATCH):
            for row in batch.to_pylist():
                place = f"{shard}: pair {row['pair_id']}"
                names = (_write_image(row["image_0"], folder, place), _write_image(row["image_1"], folder, place))
                shown[row["pair_id"]] = Shown(row["prompt"], names)
    if len(shown) < len(ids):
        missing = min(set(ids.to_pylist()).difference(shown))
        raise UserError(f"{pairs}: pair {missing} was selected but is not there; import the data of that round again")
    return shown


def _write_image(image: dict[str, Any], folder: Path, place: str) -> str:
    data = image["bytes"] or b""
    try:
        name = f"{hashlib.sha256(data).hexdigest()[:32]}.{images.ending(data)}"
    except ValueError as error:
        raise UserError(f"{place}: {error}; import again") from None
    if not (folder / name).exists():
        (folder / name).write_bytes(data)
    return name
