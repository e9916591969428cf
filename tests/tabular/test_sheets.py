"""Text tables as spreadsheets and others write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedpo.errors import UserError
from dedpo.tabular import sheets

ROWS = [["prompt", "human", "ai"], ["a, b; c\td", "1", "0"], ["é\n猫", "0", "1"]]


def text(delimiter: str, end: str = "\n") -> str:
    return "".join(delimiter.join(f'"{cell}"' for cell in row) + end for row in ROWS)


def cells(path: Path, content: bytes, known: tuple[str, ...] = ()) -> list[list[str]]:
    path.write_bytes(content)
    return [record.cells for record in sheets.records(path, known)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("delimiter", list(sheets.DELIMITERS))
def test_every_delimiter_and_encoding_gives_the_same_rows(tmp_path: Path, delimiter: str, encoding: str) -> None:
    assert cells(tmp_path / "t.csv", text(delimiter).encode(encoding)) == ROWS


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems(tmp_path: Path, end: str) -> None:
    assert cells(tmp_path / "t.csv", text(",", end).encode()) == ROWS


def test_known_names_decide_between_delimiters(tmp_path: Path) -> None:
    content = b"prompt;what, when, where and why;human\na;b;1\n"
    assert cells(tmp_path / "t.csv", content, ("prompt", "human"))[0] == [
        "prompt",
        "what, when, where and why",
        "human",
    ]


def test_what_excel_says_of_the_delimiter_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sep=;\nprompt;human\na;1\n")
    first, second = sheets.records(tmp_path / "t.csv")
    assert (first.cells, second.row, second.cells) == (["prompt", "human"], 3, ["a", "1"])


def test_rows_count_as_a_spreadsheet_does_and_lines_as_an_editor(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('\na,b\n"x\ny",1\n\n"z",2\n')
    assert [(r.row, r.line) for r in sheets.records(tmp_path / "t.csv")] == [(2, 2), (3, 4), (5, 6)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        ("prompt,human\nné,1\n".encode("latin-1"), "not UTF-8 text"),
        ("prompt,human\n".encode("utf-16-le"), "not UTF-8 text"),
        (b"PK\x03\x04\xff\xfe\x80", "a spreadsheet"),
        (b"PAR1....PAR1", "Parquet"),
        (b'[{"prompt": "a"}]', "JSON"),
        (b'prompt;human\na;1\n"never closed;1\n', "row 3 or below"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError) as raised:
        cells(tmp_path / "t.csv", content)
    assert message in str(raised.value)
    assert str(tmp_path / "t.csv") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_name_over_two_columns_is_refused_and_empty_ones_are_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="column 'a' occurs twice"):
        sheets.header(sheets.SheetRow(1, 1, ["a", "", "", " a "]), tmp_path)
    assert sheets.header(sheets.SheetRow(1, 1, ["a", "", ""]), tmp_path) == ["a", "", ""]
