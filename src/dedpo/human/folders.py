"""What selecting and merging read and write: pairs and labels, rounds, ratings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedpo.contract import answered_pairs, tables
from dedpo.contract.answered_pairs import ANSWERED, SELECTION, is_round
from dedpo.contract.holdout import is_held_out
from dedpo.errors import UserError
from dedpo.human.export import HumanAnswer
from dedpo.outputs.manifest import MANIFEST, fingerprint
from dedpo.stats.arrays import Floats
from dedpo.tabular.rejected import SetAside, cells, write_csv
from dedpo.vision import images

FACTS: Final = "summary.json"
# Which pairs are rated, and nothing of how.
RATED: Final = tables.Table("rated", ("pair_id",), pa.schema([pa.field("pair_id", pa.string(), nullable=False)]))
# Pairs whose images are in memory at a time, beside their shard.
_BATCH: Final = 16


class Shown(NamedTuple):
    """A pair's prompt and the file names of its two images."""

    prompt: str
    images: tuple[str, str]


def training_pairs(pairs: Path, splits: Path | None, holdout: float) -> pa.ChunkedArray:
    """The pair_ids that may be trained on, sorted: held out neither by a split with this `holdout` nor by `splits`.

    Args:
        splits: a split's table, which may be older than the pairs; None: none was made.

    Raises:
        UserError: an input is missing or wrong, or there is no such pair.
    """
    rows = tables.read(pairs, tables.PAIRS, ["pair_id", "group"])
    groups = rows.column("group").combine_chunks().dictionary_encode()
    is_out = np.array([is_held_out(group, holdout) for group in groups.dictionary.to_pylist()], dtype=bool)
    ids = rows.column("pair_id").filter(pa.array(~is_out[groups.indices.to_numpy()]))
    if splits is not None:
        split = tables.read(splits, tables.SPLITS, ["pair_id", "split"])
        out = split.column("pair_id").filter(pc.equal(split.column("split"), "holdout"))
        ids = ids.filter(pc.invert(pc.is_in(ids, out.combine_chunks())))
    if not len(ids):
        raise UserError(f"{splits or pairs}: no pair is for training; lower data.holdout")
    return ids.take(pc.sort_indices(ids))


def seen_pairs(splits: Path, ratings: Path) -> pa.ChunkedArray:
    """The pair_ids whose ratings a run sees, labelled or held out, sorted.

    Raises:
        UserError: an input is missing or wrong, or there is no such pair.
    """
    rows = tables.read(splits, tables.SPLITS)
    seen = rows.filter(pc.or_(rows.column("is_labelled"), pc.equal(rows.column("split"), "holdout"))).column("pair_id")
    seen = seen.filter(pc.is_in(seen, read_ratings(ratings).column("pair_id").combine_chunks()))
    if not len(seen):
        raise UserError(f"{splits}: no labelled or held-out pair is rated in {ratings}; nobody can be asked again")
    return seen.take(pc.sort_indices(seen))


def annotator(labels: Path, ids: pa.ChunkedArray) -> Floats:
    """ĝ of each pair: the mean over annotators and templates, NaN where none answered; shape (n,)."""
    rows = tables.read(labels, tables.LABELS, ["pair_id", "annotator", "template", "preference"])
    means = rows.group_by("pair_id").aggregate([("preference", "mean")])
    found = means.column("preference_mean").take(pc.index_in(ids, means.column("pair_id").combine_chunks()))
    return np.asarray(pc.fill_null(found, np.nan).to_numpy(), dtype=np.float64)


def write_images(pairs: Path, ids: pa.ChunkedArray, folder: Path) -> dict[str, Shown]:
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


def rounds(folder: Path) -> list[str]:
    """The names of the finished rounds in a folder, in order; none if it is not there."""
    found = folder.iterdir() if folder.is_dir() else []
    return sorted(p.name for p in found if is_round(p.name) and (p / MANIFEST).is_file())


def facts(folder: Path) -> dict[str, Any]:
    """What a round's draw has counted.

    Raises:
        UserError: no whole round lies there.
    """
    try:
        found = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return dict(found) | {"design": str(found["design"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder}: no whole round lies there ({FACTS} cannot be read); bring it back from version control, or "
            "delete the folder if nobody was asked yet"
        ) from None


def round_hashes(folder: Path) -> dict[str, dict[str, str]]:
    """What a split takes from each answered round: hashes of its selection and of which pairs have an answer.

    Raises:
        UserError: a round's answered.json cannot be read.
    """
    rated = answered_pairs.rated(folder.parent / "ratings")
    return {
        name: {
            "selection": fingerprint(path / SELECTION),
            "answered": _hash(json.dumps(answered_pairs.note(path / ANSWERED).still(rated))),
        }
        for name, path in answered_pairs.answered_rounds(folder).items()
    }


def selected(round_folder: Path) -> dict[str, str]:
    """pair_id → order shown, of a round's selected pairs.

    Raises:
        UserError: the round's table is missing or wrong.
    """
    rows = tables.read(round_folder / SELECTION, tables.SELECTIONS)
    rows = rows.filter(rows.column("is_selected"))
    return dict(zip(rows.column("pair_id").to_pylist(), rows.column("order_shown").to_pylist(), strict=True))


def rating_files(folder: Path) -> Iterator[tuple[Path, pa.Table]]:
    """Each file of merged ratings with its rows, in name order; none if the folder is not there."""
    for path in sorted(folder.glob("*.parquet")) if folder.is_dir() else []:
        yield path, tables.read(path, tables.RATINGS)


def read_ratings(path: Path) -> pa.Table:
    """A ratings table that may be empty.

    Raises:
        UserError: it is missing or wrong.
    """
    return tables.read(path, tables.RATINGS) if tables.count_rows(path) else tables.RATINGS.schema.empty_table()


def ratings_table(given: list[HumanAnswer]) -> pa.Table:
    """Rows of the ratings table, sorted by pair and rater."""
    rows = sorted(given, key=lambda a: (a.pair_id, a.rater))
    names = ("pair_id", "rater", "preference", "order_shown", "time")
    columns: dict[str, Any] = {name: [getattr(a, name) for a in rows] for name in names}
    columns["source"] = [f"label-studio:{a.round}" for a in rows]
    return pa.table(columns, schema=tables.RATINGS.schema)


def write_ratings(table: pa.Table, folder: Path, round_: str) -> Path:
    """Write a round's new ratings, named by their content, beside the earlier ones."""
    text = json.dumps(table.to_pylist(), sort_keys=True, default=str)
    path = folder / f"{round_}-{_hash(text)}.parquet"
    tables.write(table, tables.RATINGS, path)
    return path


def withdraw(keys: Collection[tuple[str, str]], files: Iterable[Path]) -> list[dict[str, Any]]:
    """Take ratings out of files of merged ones; a file that changes is written anew, named by its content.

    Args:
        keys: (pair_id, rater).

    Returns:
        the rows that were taken out.
    """
    taken: list[dict[str, Any]] = []
    for path in files:
        rows = tables.read(path, tables.RATINGS).to_pylist()
        out = [row for row in rows if (row["pair_id"], row["rater"]) in keys]
        if not out:
            continue
        taken += out
        if left := [row for row in rows if (row["pair_id"], row["rater"]) not in keys]:
            round_ = path.name.rpartition("-")[0]
            write_ratings(pa.Table.from_pylist(left, schema=tables.RATINGS.schema), path.parent, round_)
        path.unlink()
    return taken


def write_set_aside(rows: list[SetAside], folder: Path) -> Path:
    """Write what was set aside as a CSV named by its content: the same export gives the same file."""
    lines = cells(rows)
    path = folder / f"set-aside-{_hash(json.dumps(lines))}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(path, "annotation", lines)
    return path


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
