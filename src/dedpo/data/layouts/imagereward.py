"""ImageReward's rankings: of several images of a prompt, some equally good, 1 being the best.

As read in github.com/THUDM/ImageReward (data/test.json, train/src/rank_pair_dataset.py), and on the dataset card of
THUDM/ImageRewardDB:

- a JSON list of any name: [{'prompt', 'generations': [image, …], 'ranking': [rank of the image at the same place]}, …]
- images/<split>/<split>_<n>/<split>_<n>.json: [{'image_path', 'prompt_id', 'prompt', 'rank'}, …], an image each

A smaller rank is the better one; ranks may repeat (a tie) and leave gaps. Raters are not named.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from dedpo.data.layouts import rankings
from dedpo.data.layouts.folder import PARTS
from dedpo.data.layouts.json_list import Blocks, entries, first_entry
from dedpo.data.layouts.source import Rows, Source
from dedpo.errors import UserError
from dedpo.tabular.rejected import SetAside

_SINGLE: Final = {"image_path", "prompt_id", "rank"}


class _Ranking(NamedTuple):
    number: int
    prompt: str
    images: Any
    ranks: Any


def find_files(source: Path) -> list[Path]:
    """The annotation files: `source` itself, those in the folder, or those of the published database's folders."""
    if source.is_file():
        return [source] if source.suffix == ".json" and _fits(source) else []
    for pattern in ("*.json", "images/*/*/*.json"):
        if found := [path for path in sorted(source.glob(pattern)) if _fits(path)]:
            return found
    return []


def _fits(path: Path) -> bool:
    first = first_entry(path)
    return {"generations", "ranking"} <= first.keys() or first.keys() >= _SINGLE


def open_files(source: Path) -> Source:
    """The pairs of one annotation file, or of all in a folder.

    Raises:
        UserError: there is none, or one is no such list or ends in the middle.
    """
    files = find_files(source)
    if not files:
        raise UserError(f"{source}: no JSON list with prompt, generations and ranking lies there; name ImageReward's")
    folder = (source if source.is_dir() else source.parent).resolve()
    return rankings.source("imagereward", files, folder, partial(_rows, folder))


def _rows(folder: Path, path: Path, blocks: Blocks) -> Rows:
    part = next((p for p in PARTS if path.stem == p or path.stem.startswith(f"{p}_")), "")
    for number, prompt, images, ranks in _rankings(path, blocks):
        if not rankings.are_names(images):
            yield SetAside(number, "no list of images", str(images)[:80], prompt)
            continue
        # In the published database an image's path counts from the root, but copies have one of its folders alone.
        places = [_place(name, path, folder) for name in images]
        yield from rankings.rows(number, prompt, places, ranks, "ranking", part=part)


def _place(name: str, path: Path, folder: Path) -> str:
    beside = path.parent.resolve().relative_to(folder).as_posix()
    inner = ("images", path.stem, beside)
    return rankings.place(folder, [name, *(f"{i}/{name}" for i in inner), f"{beside}/{Path(name).name}"])


def _rankings(path: Path, blocks: Blocks) -> Iterator[_Ranking]:
    """Every ranking of a file; those that are published an image an entry are put together by prompt_id."""
    single: dict[str, _Ranking] = {}
    for number, entry in enumerate(entries(path, blocks)):
        if not isinstance(entry, dict) or not ("generations" in entry or entry.keys() >= _SINGLE):
            raise UserError(
                f"{path}: entry {number} has neither 'generations' nor 'image_path'; it is not ImageReward's"
            )
        prompt = str(entry.get("prompt") or "")
        if "generations" in entry:
            yield _Ranking(number, prompt, entry["generations"], entry.get("ranking"))
            continue
        found = single.setdefault(str(entry["prompt_id"]), _Ranking(number, prompt, [], []))
        found.images.append(entry["image_path"])
        found.ranks.append(entry["rank"])
    yield from single.values()
