"""Pick-a-Pic v2 as published on the Hugging Face hub: Parquet files with both images, a choice and who made it.

Columns as on the dataset card of yuvalkirstain/pickapic_v2 (v1 has the same), the labels as read
in github.com/yuvalkirstain/PickScore:
caption: the prompt. jpg_0, jpg_1: the image files. label_0: P(image 0 preferred): 1, 0, or 0.5 for a tie, so that
P(image 1 preferred) = 1 − label_0. has_label: False where nobody chose. user_id: who chose. created_at: when, in UTC.
What is shown first is not recorded. `columns` knows these columns wherever they occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dedpo.data.importing import columns
from dedpo.data.importing.columns import ColumnOptions
from dedpo.data.layouts import embedded, parquet
from dedpo.data.layouts.source import Source
from dedpo.errors import UserError


def open_files(
    source: Path,
    asked: ColumnOptions | None = None,
    *,
    wanted: Sequence[int] | None = None,
    files: Sequence[Path] | None = None,
    layout: str = "pickapic",
) -> Source:
    """All rows of a Parquet file, or of those in a folder, or the rows that are `wanted`.

    Raises:
        UserError: there is no file, one is not whole, or a column is missing.
    """
    files = parquet.files_of(source) if files is None else files
    if not files:
        raise UserError(f"{source}: no .parquet file lies there; download Pick-a-Pic's")
    opened = embedded.of_parquet(source, files, wanted)
    if not columns.is_pickapic(opened.columns):
        lost = "caption" if "caption" not in opened.columns else "label_0"
        raise UserError(f"{files[0]}: column '{lost}' is missing; it is not Pick-a-Pic as published")
    return embedded.source(opened, layout, asked or ColumnOptions(), seed=0)
