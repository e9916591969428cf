"""A round's Label Studio project on disk: heavy, kept out of version control, written again where it is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa

from dedpo.contract.answered_pairs import SELECTION
from dedpo.human import folders, project
from dedpo.human.folders import Shown
from dedpo.outputs.manifest import output_folder
from dedpo.rng import generator
from dedpo.vision import images

PROJECT: Final = "label-studio"
_IGNORED: Final = f"# Heavy, and written again by 'dedpo data select'.\n/rounds/*/{PROJECT}*/\n/rounds/*.partial/\n"


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
        orders = folders.selected(folder)
        shown = folders.write_images(pairs, pa.chunked_array([list(orders)], pa.string()), partial / "images")
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
