"""Any dataset of the `datasets` library: saved on this disk, as Parquet or Arrow files, or streamed from the hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from dedpo.data.importing.columns import ColumnOptions
from dedpo.data.layouts import embedded, parquet
from dedpo.data.layouts.embedded import ImageTable, Read
from dedpo.data.layouts.source import Source
from dedpo.errors import UserError, excerpt

_MARKS: Final = ("state.json", "dataset_dict.json")
# Rows of a dataset on the hub by which its preferences' coding is recognised; every row is read by it later.
_PEEK: Final = 200


def is_saved(path: Path) -> bool:
    """Whether `Dataset.save_to_disk` wrote this folder, or it is an Arrow file."""
    return path.suffix == ".arrow" or any((path / mark).is_file() for mark in _MARKS)


def is_hub_name(name: str) -> bool:
    """Whether a text has the form owner/name or owner/name@revision."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")


def open_dataset(source: Path | str, asked: ColumnOptions, seed: int = 0) -> Source:
    """The rows of all splits, in order; images must lie in the dataset, as bytes or as its Image feature.

    Raises:
        UserError: the dataset cannot be opened or reached, a column is missing, or what the preferences mean is not
            certain.
    """
    return embedded.source(_open(source), "datasets", asked, seed)


def _open(source: Path | str) -> ImageTable:
    path = Path(source)
    if not path.exists():
        return _open_hub(str(source))
    if is_saved(path):
        return _open_saved(path)
    files = parquet.files_of(path)
    if not files:
        raise UserError(f"{path}: neither a saved dataset nor a .parquet file; name another folder")
    return embedded.of_parquet(path, files)


def _open_saved(path: Path) -> ImageTable:
    import datasets

    datasets.disable_progress_bars()
    try:
        found = datasets.Dataset.from_file(str(path)) if path.is_file() else datasets.load_from_disk(str(path))
        splits = dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}
        raw = {name: split.with_format(None) for name, split in splits.items()}
        raw = {name: _undecoded(split) for name, split in raw.items()}
    except Exception as error:  # the library raises whatever its parts raise
        raise UserError(
            f"{path}: not a whole saved dataset ({excerpt(str(error), 100)}); save or fetch it again"
        ) from None
    files = [path] if path.is_file() else sorted(p for p in path.rglob("[!.]*") if p.is_file())
    base = path.parent if path.is_file() else path
    names = list(dict.fromkeys(name for split in raw.values() for name in split.column_names))
    inputs = {p.relative_to(base).as_posix(): p for p in files}
    total = sum(len(split) for split in raw.values())
    return ImageTable(
        str(path), path.resolve().name, names, partial(_read_splits, raw), inputs, total, classes=_classes(raw)
    )


def _undecoded(split: Any) -> Any:
    from datasets import Image

    for name, feature in split.features.items():
        if isinstance(feature, Image):
            split = split.cast_column(name, Image(decode=False))
    return split


def _read_splits(
    splits: Mapping[str, Any], columns: Sequence[str], wanted: Sequence[int] | None
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    begin = 0
    for name, split in splits.items():
        end = begin + len(split)
        numbers = range(begin, end) if wanted is None else [n for n in wanted if begin <= n < end]
        # A published test split may lack the preference.
        there = [c for c in columns if c in split.column_names]
        none: Iterable[dict[str, Any]] = ({} for _ in numbers)
        picked = split.select_columns(there).select([n - begin for n in numbers]) if there else none
        for number, values in zip(numbers, picked, strict=True):
            yield number, name, dict.fromkeys(columns) | values
        begin = end


def _streamed(name: str, commit: str | None) -> dict[str, Any]:
    """The splits of a dataset on the hub, their images as the bytes that they are."""
    import datasets

    datasets.disable_progress_bars()
    found = datasets.load_dataset(name, revision=commit, streaming=True)
    return {key: split.decode(False) for key, split in found.items()}


def _open_hub(source: str) -> ImageTable:
    """Rows as they come over the network, twice: once to look at the images, once to write them."""
    from huggingface_hub import HfApi

    name, _, revision = source.partition("@")
    try:
        # Pinned, so that both passes and a resumed import read the same rows.
        commit = HfApi().dataset_info(name, revision=revision or None, timeout=20).sha
        splits = _streamed(name, commit)
        first = next(iter(next(iter(splits.values()))))
    except Exception as error:  # each of its clients raises its own kinds
        why = excerpt(str(error) or type(error).__name__, 120)
        raise UserError(
            f"{source}: no such file or folder, and it cannot be had from the Hugging Face hub ({why}); check the name "
            "and the network"
        ) from None
    read = read_streamed(splits, name)
    return ImageTable(
        name, name, list(first), read, {}, 0, {"revision": commit}, peek=range(_PEEK), classes=_classes(splits)
    )


def _classes(splits: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Of the first split that describes its columns; one streamed from text may not."""
    return next((embedded.classes(split.features.to_dict()) for split in splits.values() if split.features), {})


def read_streamed(splits: Mapping[str, Any], source: str) -> Read:
    """A reader of iterable splits, whose rows are counted over all of them.

    Raises:
        UserError: while it reads: the connection is lost.
    """

    def read(columns: Sequence[str], wanted: Sequence[int] | None) -> Iterator[tuple[int, str, dict[str, Any]]]:
        left = None if wanted is None else iter(wanted)
        awaited = None if left is None else next(left, None)
        for number, (key, values) in enumerate(_streamed_rows(splits, columns, source)):
            if left is not None and awaited is None:
                return
            if left is None or number == awaited:
                yield number, key, values
                awaited = next(left, None) if left is not None else None

    return read


def _streamed_rows(
    splits: Mapping[str, Any], columns: Sequence[str], source: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    try:
        for key, split in splits.items():
            for values in split.select_columns(list(columns)):
                yield key, values
                number += 1
    except Exception as error:  # each of its clients raises its own kinds
        why = excerpt(str(error) or type(error).__name__, 120)
        raise UserError(f"{source}: broke off after {number} rows ({why}); run the import again, it goes on") from None
