"""`dedpo data stats`: what an import holds, as stats.json and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import pyarrow as pa

from dedpo.contract import tables
from dedpo.contract.records.data import Overview
from dedpo.contract.sections import DataConfig
from dedpo.data.overview import numbers, page
from dedpo.data.overview.numbers import ImageFile, Pairs, Ratings
from dedpo.data.overview.page import Sample
from dedpo.errors import UserError
from dedpo.outputs.manifest import output_folder, write_json, write_text
from dedpo.terminal import progress
from dedpo.vision import images

# Shards are opened until so many pairs have been looked at: reading all images takes minutes and says no more.
MEASURED: Final = 4000
SHOWN: Final = 12
_COUNTS: Final = ("pairs", "prompts", "groups", "rated_pairs", "ratings", "raters")
_THUMBNAIL: Final = 224  # pixels


def stats(config: DataConfig, *, data: Path, ratings: Path, out: Path) -> dict[str, object]:
    """Write stats.json and stats.html: counts, sizes, ties, raters and their agreement, words, a sample grid.

    Args:
        data: a finished import.
        ratings: the ratings of its pairs: the import's own, or joined with later answers.

    Returns:
        the counts in stats.json that a terminal has room for.

    Raises:
        UserError: a table is missing or broken, or a rated pair is not in the import.
    """
    inputs = {"data": data, "ratings": ratings}
    settings = config.model_dump(include={"max_pixels"})
    with output_folder(out, stage="stats", config=settings, inputs=inputs) as partial:
        pairs = _pairs(data / "pairs")
        given = _ratings(ratings, set(pairs.ids))
        looks, samples = _look_at(data / "pairs", _means(given), config.max_pixels)
        rated, seen = numbers.of_ratings(pairs, given), numbers.of_images(looks)
        found = cast(Overview, {**numbers.of_pairs(pairs), **rated, "images": seen})
        write_json(partial / "stats.json", found)
        write_text(partial / "stats.html", page.render(found, samples, str(data)))
    return _brief(found) | {"page": out / "stats.html"}


def _pairs(folder: Path) -> Pairs:
    table = tables.read(folder, tables.PAIRS, ["pair_id", "prompt", "group", "source"])
    return Pairs(*(table.column(name).to_pylist() for name in ("pair_id", "prompt", "group", "source")))


def _ratings(path: Path, known: set[str]) -> Ratings:
    names = ["pair_id", "rater", "preference", "order_shown"]
    if not tables.count_rows(path):
        return Ratings([], [], [], [])
    table = tables.read(path, tables.RATINGS, names)
    found = Ratings(*(table.column(name).to_pylist() for name in names))
    if lost := set(found.pair_ids) - known:
        raise UserError(f"{path}: pair {min(lost)} is rated but not in the import; import again")
    return found


def _means(ratings: Ratings) -> dict[str, tuple[float, int]]:
    """pair_id → mean preference, number of ratings."""
    if not ratings.pair_ids:
        return {}
    table = pa.table({"pair": ratings.pair_ids, "p": ratings.preferences})
    grouped = table.group_by("pair").aggregate([("p", "mean"), ("p", "count")]).to_pydict()
    return {p: (m, n) for p, m, n in zip(grouped["pair"], grouped["p_mean"], grouped["p_count"], strict=True)}


def _look_at(
    folder: Path, means: Mapping[str, tuple[float, int]], max_pixels: int
) -> tuple[list[ImageFile], list[Sample]]:
    """Sizes of the images of some thousand pairs, and every n-th of these pairs as thumbnails."""
    shards = _enough(tables.shard_paths(folder))
    total = sum(tables.count_rows(shard) for shard in shards)
    step = max(1, total // SHOWN)
    looks: list[ImageFile] = []
    samples: list[Sample] = []
    with progress("measuring images", total) as advance:
        for i, row in enumerate(_rows(shards)):
            both = [row[name]["bytes"] or b"" for name in ("image_0", "image_1")]
            looks += [_measured(data) for data in both]
            if i % step == step // 2 and len(samples) < SHOWN:
                mean, n = means.get(row["pair_id"], (None, 0))
                first, second = (_thumbnail(data, max_pixels) for data in both)
                samples.append(Sample(row["prompt"], (first, second), mean, n))
            advance("")
    return looks, samples


def _enough(shards: Sequence[Path]) -> list[Path]:
    """The first shards with so many pairs; their names are hashes, so these are no particular ones."""
    chosen: list[Path] = []
    rows = 0
    for shard in shards:
        if rows >= MEASURED:
            break
        chosen.append(shard)
        rows += tables.count_rows(shard)
    return chosen


def _rows(shards: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        for batch in tables.read(shard, tables.PAIRS).to_batches(max_chunksize=16):
            yield from batch.to_pylist()


def _measured(data: bytes) -> ImageFile:
    """From the file's first bytes alone: the import has decoded it."""
    try:
        return ImageFile(*images.size(data), len(data), images.mime_type(data))
    except ValueError:
        return ImageFile(0, 0, len(data), "not an image")


def _thumbnail(data: bytes, max_pixels: int) -> str:
    try:
        return images.preview(data, _THUMBNAIL, max_pixels)
    except ValueError:
        return ""


def _brief(found: Overview) -> dict[str, object]:
    brief: dict[str, object] = {name: found[name] for name in _COUNTS}
    if found["ratings"]:
        brief |= {"choices": _listed(found["choices"])}
        if found["agreement"]:
            kappa = found["agreement"]["fleiss_kappa"]
            brief["raters agree"] = (
                f"{found['agreement']['share']:.2f} of {found['agreement']['rater_pairs']} comparisons"
            )
            brief["Fleiss' kappa"] = "undefined" if kappa is None else f"{kappa:.2f}"
    group, size = found["pairs_of_a_group"], found["images"]
    brief["pairs a group"] = f"{group['median']:g} in the median, {group['least']:g} to {group['largest']:g}"
    brief["image sizes"] = _listed(dict(list(size["sizes"].items())[:3])) + (", …" if len(size["sizes"]) > 3 else "")
    brief["commonest words"] = ", ".join(list(found["words"])[:8])
    return brief


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
