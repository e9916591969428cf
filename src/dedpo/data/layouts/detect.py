"""Which layout a source has, judged by what lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dedpo.data.importing import columns
from dedpo.data.importing.columns import ColumnOptions
from dedpo.data.layouts import copy_import, fifa, folder, hpdv2, hub, imagereward, parquet, pickapic
from dedpo.data.layouts.source import Source
from dedpo.errors import UserError, excerpt
from dedpo.tabular import sheets

LAYOUTS: Final = {
    "folder": "a folder with pairs.csv, metadata.csv or metadata.jsonl and the images that it names, or such a table",
    "pickapic": "Pick-a-Pic's Parquet files",
    "fifa": "an index (index.txt, .json or .csv) beside Pick-a-Pic's Parquet files",
    "hpdv2": "HPDv2's train.json or test.json with their images",
    "imagereward": "ImageReward's JSON lists of prompt, generations and ranking with their images",
    "datasets": "a `datasets` dataset: a saved folder, Parquet, Arrow, or owner/name on the hub",
    "import": "the folder of a finished `dedpo data import`",
}


def listed() -> str:
    """All layouts in one sentence."""
    return "; ".join(f"{name}: {what}" for name, what in LAYOUTS.items())


# Layouts whose columns a user may name.
TABLES: Final = ("folder", "pickapic", "fifa", "datasets")


def open_source(
    source: Path | str, layout: str | None = None, asked: ColumnOptions | None = None, seed: int = 0
) -> Source:
    """Open a source that is no finished import.

    Args:
        layout: a key of `LAYOUTS`; None: found out.
        asked: which columns mean what, and what their values mean.
        seed: of the sides on which chosen and rejected images come.

    Raises:
        UserError: there is no such layout, nothing is there, or the source is not what its layout says.
    """
    layout = layout or detect(source)
    asked = asked or ColumnOptions()
    if asked.settings and layout in LAYOUTS and layout not in TABLES:
        said = [*asked.columns, *asked.settings.get("values", {})][0].replace("_", "-")
        raise UserError(f"--{said}: layout '{layout}' has fields of its own, which mean what they mean; leave it out")
    if layout == "datasets" or (layout in ("pickapic", "fifa") and asked.columns.keys() & {"chosen", "rejected"}):
        if layout == "fifa":
            raise UserError("--chosen: an index is of Pick-a-Pic's rows, whose choice is label_0; leave it out")
        return hub.open_dataset(source, asked, seed)
    path = Path(source)
    match layout:
        case "folder":
            return folder.open_folder(path, asked, seed)
        case "pickapic":
            return pickapic.open_files(path, asked)
        case "fifa":
            return fifa.open_index(path if path.is_file() else fifa.find_index(path) or path / fifa.NAMES[0], asked)
        case "hpdv2":
            return hpdv2.open_files(path)
        case "imagereward":
            return imagereward.open_files(path)
    raise UserError(f"--layout: there is no '{layout}'; there are {', '.join(LAYOUTS)}")


def detect(source: Path | str) -> str:
    """The layout that a source has.

    Raises:
        UserError: nothing is there, or it has none.
    """
    path = Path(source)
    if not path.exists():
        if isinstance(source, str) and hub.is_hub_name(source):
            return "datasets"
        raise UserError(f"{source}: nothing is there; name one of: {listed()}")
    if copy_import.is_import(path):
        return "import"
    if (path / folder.SHEET).is_file() or path.name == folder.SHEET:
        return "folder"
    if hub.is_saved(path):
        return "datasets"
    if files := _parquet_files(path):
        if path.suffix in fifa.DATA or (path.is_dir() and fifa.find_index(path)):
            return "fifa"
        return "pickapic" if columns.is_pickapic(parquet.columns_of(files[:1])) else "datasets"
    if imagereward.find_files(path):
        return "imagereward"
    if hpdv2.fits(path):
        return "hpdv2"
    if folder.find_tables(path):
        return "folder"
    if path.is_dir() and (tables := sorted(p.name for p in path.iterdir() if p.suffix.lower() in folder.TABLES)):
        raise UserError(
            f"{path}: if one of its tables holds the pairs, name it as the SOURCE: {path / tables[0]}{_more(tables)}"
        )
    if path.suffix.lower() in sheets.OTHERS:
        raise UserError(f"{path}: {sheets.OTHERS[path.suffix.lower()]}")
    raise UserError(f"{path}: no known layout is there; name one of: {listed()}")


def _more(names: list[str]) -> str:
    return f" (or {excerpt(', '.join(names[1:]), 100)})" if names[1:] else ""


def _parquet_files(path: Path) -> list[Path]:
    """The Parquet files that a file or folder means; those beside a file that may be an index of them."""
    if path.is_dir() or path.suffix == ".parquet":
        return parquet.files_of(path)
    return parquet.files_of(path.parent) if path.suffix in fifa.DATA else []
