"""HPDv2 as published on the Hugging Face hub: train.json and test.json with the images in train/ and test/.

As described on the dataset card of ymhao/HPDv2 and in the README of github.com/tgxs002/HPSv2:

- train.json: [{'prompt', 'file_path': [image, image], 'human_preference': [1, 0] or [0, 1]  (1: preferred),
  'user_hash': the rater, in the editions until 2023}, …]
- test.json: [{'prompt', 'image_path': [image, …], 'rank': [rank of the image at the same place, averaged over raters],
  'raw_annotations' (at first 'raw_annotation'): [{'rank': as above, of one rater, 'user_hash'}, …]}, …]

A smaller rank is the better one: evaluation.py of that repository compares `rank` with the places of a descending sort.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from dedpo.data.layouts import rankings
from dedpo.data.layouts.json_list import Blocks, entries, first_entry
from dedpo.data.layouts.source import Rows, Source
from dedpo.errors import UserError
from dedpo.tabular.rejected import SetAside

FILES: Final = ("train.json", "test.json")
NO_CHOICE: Final = "human_preference is not a 1 and a 0"
AVERAGED: Final = "average of several raters"
_TITLES: Final = {"file_path": "train.json", "image_path": "test.json"}


def find_files(source: Path) -> list[Path]:
    """The annotation files: `source` itself, or those of that name in it."""
    if source.is_file():
        return [source] if source.suffix == ".json" else []
    return [source / name for name in FILES if (source / name).is_file()]


def fits(source: Path) -> bool:
    """Whether the first entry of an annotation file looks like HPDv2's."""
    found = find_files(source)[:1]
    return bool(found and first_entry(found[0]).keys() & _TITLES)


def open_files(source: Path) -> Source:
    """The pairs of one annotation file, or of both in a folder.

    Raises:
        UserError: there is none, or one is no such list or ends in the middle.
    """
    files = find_files(source)
    if not files:
        raise UserError(f"{source}: neither train.json nor test.json lies there; name the folder with HPDv2's")
    folder = files[0].parent.resolve()
    return rankings.source("hpdv2", files, folder, partial(_rows, folder))


def _rows(folder: Path, path: Path, blocks: Blocks) -> Rows:
    for number, entry in enumerate(entries(path, blocks)):
        if not isinstance(entry, dict) or not entry.keys() & _TITLES:
            raise UserError(f"{path}: entry {number} has neither 'file_path' nor 'image_path'; it is not HPDv2's")
        yield from _train(number, entry, path, folder) if "file_path" in entry else _test(number, entry, path, folder)


def _train(number: int, entry: Mapping[str, Any], path: Path, folder: Path) -> Rows:
    chosen, names = entry.get("human_preference"), entry["file_path"]
    prompt = str(entry.get("prompt") or "")
    if not rankings.are_names(names) or len(names) != 2:
        yield SetAside(number, "file_path is not two images", str(names)[:80], prompt)
    elif chosen not in ([0, 1], [1, 0]):
        yield SetAside(number, NO_CHOICE, str(chosen)[:80], prompt)
    else:
        ranks = [1 - one for one in chosen]
        places = _places(names, path, folder)
        yield from rankings.rows(number, prompt, places, ranks, "rank", entry.get("user_hash"), _part(path))


def _test(number: int, entry: Mapping[str, Any], path: Path, folder: Path) -> Rows:
    names, prompt = entry["image_path"], str(entry.get("prompt") or "")
    if not rankings.are_names(names):
        yield SetAside(number, "image_path is not a list of images", str(names)[:80], prompt)
        return
    places = _places(names, path, folder)
    single = {"rank": entry.get("rank"), "user_hash": AVERAGED}
    opinions = entry.get("raw_annotations") or entry.get("raw_annotation") or [single]
    for opinion in opinions if isinstance(opinions, list) else [opinions]:
        said = opinion if isinstance(opinion, dict) else {"rank": opinion}
        yield from rankings.rows(number, prompt, places, said.get("rank"), "rank", said.get("user_hash"), _part(path))


def _part(path: Path) -> str:
    return path.stem if path.name in FILES else ""


def _places(names: Sequence[str], path: Path, folder: Path) -> list[str]:
    """Images lie in a folder called like their annotation file; some copies have them beside it."""
    return [rankings.place(folder, [f"{path.stem}/{name}", name]) for name in names]
