"""ImageReward's rankings: of several images of a prompt, some equally good, 1 being the best.

As read in github.com/THUDM/ImageReward (data/test.json, train/src/rank_pair_dataset.py), and on the dataset card of
THUDM/ImageRewardDB:

- a JSON list of any name: [{'prompt', 'generations': [image, …], 'ranking': [rank of the image at the same place]}, …]
- images/<split>/<split>_<n>/<split>_<n>.json: [{'image_path', 'prompt_id', 'prompt', 'rank'}, …], an image each

A smaller rank is the better one; ranks may repeat (a tie) and leave gaps. Raters are not named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from dedpo.data.layouts import rankings
from dedpo.data.layouts.folder import PARTS, first_entry, read_files
from dedpo.data.layouts.json_list import entries
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
    return Source(
        name=folder.name,
        layout="imagereward",
        inputs={path.resolve().relative_to(folder).as_posix(): path for path in files},
        rows=partial(_rows, files, folder),
        pictures=partial(read_files, folder),
        total=sum(len(r.images) * (len(r.images) - 1) // 2 for p in files for r in _rankings(p) if _is_whole(r)),
        folder=folder,
    )


def _rows(files: Sequence[Path], folder: Path) -> Rows:
    for path in files:
        part = next((p for p in PARTS if path.stem == p or path.stem.startswith(f"{p}_")), "")
        for number, prompt, images, ranks in _rankings(path):
            if not rankings.are_names(images):
                yield SetAside(number, "no list of images", str(images)[:80], prompt)
                continue
            fit = rankings.numbers(ranks, len(images))
            if fit is None:
                yield SetAside(number, f"ranking is not {len(images)} numbers", str(ranks)[:80], prompt)
                continue
            # In the published database an image's path counts from the root, but copies have one of its folders alone.
            places = [_place(name, path, folder) for name in images]
            yield from rankings.rows(number, prompt, places, fit, None, part)


def _place(name: str, path: Path, folder: Path) -> str:
    beside = path.parent.resolve().relative_to(folder).as_posix()
    inner = ("images", path.stem, beside)
    return rankings.place(folder, [name, *(f"{i}/{name}" for i in inner), f"{beside}/{Path(name).name}"])


def _is_whole(ranking: _Ranking) -> bool:
    return rankings.are_names(ranking.images)


def _rankings(path: Path) -> Iterator[_Ranking]:
    """Every ranking of a file; those that are published an image an entry are put together by prompt_id."""
    single: dict[str, tuple[int, str, list[Any], list[Any]]] = {}
    for number, entry in enumerate(entries(path)):
        if not isinstance(entry, dict) or not ("generations" in entry or entry.keys() >= _SINGLE):
            raise UserError(
                f"{path}: entry {number} has neither 'generations' nor 'image_path'; it is not ImageReward's"
            )
        prompt = str(entry.get("prompt") or "")
        if "generations" in entry:
            yield _Ranking(number, prompt, entry["generations"], entry.get("ranking"))
            continue
        _, _, images, ranks = single.setdefault(str(entry["prompt_id"]), (number, prompt, [], []))
        images.append(entry["image_path"])
        ranks.append(entry["rank"])
    for number, prompt, images, ranks in single.values():
        yield _Ranking(number, prompt, images, ranks)
