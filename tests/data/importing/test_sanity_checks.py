"""What an import says of its ratings: labels that were not read, one-sided ones, and raters the other way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dedpo.data.importing.columns import ColumnOptions
from tests.data.importing.test_columns import folder, run


def test_no_ratings_beside_a_label_is_a_warning_that_names_it(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", [("A", "x"), ("B", "x")], "winner,seed")
    (warning,) = run(source, tmp_path / "out")["warnings"]
    assert "0 ratings" in warning
    assert "not read: winner; name one with --preference" in warning
    assert run(source, tmp_path / "again", ColumnOptions({"preference": "winner"}))["warnings"] == []


def test_no_ratings_and_no_label_is_no_warning(tmp_path: Path) -> None:
    assert run(folder(tmp_path / "in", [("x",)], "seed"), tmp_path / "out")["warnings"] == []


def two_raters(root: Path, agree: int, n: int, extra: int = 0) -> Path:
    """Pairs that ann and bob (and others, who side with ann) rated; bob as ann on `agree` of them."""
    lines: list[tuple[Any, ...]] = []
    for i in range(n):
        ann = i % 2
        others = ";".join([str(ann)] * extra)
        lines.append((f"{ann};{ann if i < agree else 1 - ann}" + (f";{others}" if others else ""),))
    return folder(root, lines)


def test_a_rater_the_other_way_round_is_named(tmp_path: Path) -> None:
    (warning,) = run(two_raters(tmp_path / "in", 1, 20, extra=2), tmp_path / "out")["warnings"]
    assert "rater 'human 2' sides with the others on 1 of 20 pairs, far below chance" in warning
    assert "--first and --second" in warning


@pytest.mark.parametrize(("agree", "n"), [(8, 20), (1, 5), (20, 20)])
def test_chance_or_few_pairs_are_no_reason_to_warn(tmp_path: Path, agree: int, n: int) -> None:
    assert run(two_raters(tmp_path / "in", agree, n), tmp_path / "out")["warnings"] == []


def test_a_column_that_always_prefers_one_side_is_said(tmp_path: Path) -> None:
    (warning,) = run(folder(tmp_path / "in", [("1",)] * 25), tmp_path / "out")["warnings"]
    assert "all 25 ratings that decide prefer image_1" in warning
    assert "--chosen and --rejected" in warning
