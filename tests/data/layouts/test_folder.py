import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dedpo.data.importing.rows import Row
from dedpo.data.layouts.folder import open_folder
from dedpo.errors import UserError
from dedpo.tabular.rejected import SetAside

HEADER = ["prompt", "image_0", "image_1", "preference", "rater", "group", "order_shown", "time"]


def sheet(tmp_path: Path, lines: list[list[str]], header: list[str] | None = None) -> Path:
    path = tmp_path / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header or HEADER[:3], *lines])
    return path


def rows_of(path: Path) -> list[Row | SetAside]:
    return list(open_folder(path).rows())


def test_optional_columns_have_defaults(tmp_path):
    (only,) = rows_of(sheet(tmp_path, [[" a cat ", "0.png", "1.png"]]))
    assert only == Row(2, "a cat", "0.png", "1.png", None, "human", "a cat", None, None)


def test_every_column_is_read(tmp_path):
    line = ["a cat", "0.png", "1.png", "0.5", "ann", "cats", "10", "2026-11-21T10:00:00+02:00"]
    (only,) = rows_of(sheet(tmp_path, [line], HEADER))
    time = datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert only == Row(2, "a cat", "0.png", "1.png", 0.5, "ann", "cats", "10", time)


def test_a_time_without_zone_is_utc_and_a_lost_leading_zero_is_put_back(tmp_path):
    line = ["a cat", "0.png", "1.png", "1", "", "", "1", "2026-11-21"]
    (only,) = rows_of(sheet(tmp_path, [line], HEADER))
    assert (only.order_shown, only.time) == ("01", datetime(2026, 11, 21, tzinfo=UTC))


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("prompt", "   ", "empty prompt"),
        ("preference", "banana", "preference is not a number"),
        ("preference", "inf", "preference is not a number"),
        ("preference", "1.01", "preference outside [0, 1]"),
        ("order_shown", "left", "order_shown is neither 01 nor 10"),
        ("time", "yesterday", "time is not ISO 8601"),
        ("time", "0001-01-01T00:00:00+14:00", "time is not ISO 8601"),
    ],
)
def test_a_bad_value_sets_its_row_aside(tmp_path, column, value, reason):
    good = ["a cat", "0.png", "1.png", "1", "ann", "cats", "01", "2026-11-21"]
    bad = [value if name == column else v for name, v in zip(HEADER, good, strict=True)]
    refused, kept, *_ = rows_of(sheet(tmp_path, [bad, good, good], HEADER))
    assert isinstance(refused, SetAside)
    assert (refused.number, refused.reason) == (2, reason)
    assert refused.detail == value.strip()
    assert isinstance(kept, Row)
    assert kept.number == 3


def test_a_row_with_too_many_fields_is_set_aside_and_blank_lines_are_not_rows(tmp_path):
    path = sheet(tmp_path, [["a, cat", "0.png", "1.png", "1"], [], ["", "", ""], ["dog", "0", "1"]])
    refused, kept = rows_of(path)
    assert isinstance(refused, SetAside)
    assert (refused.number, refused.reason, refused.prompt) == (2, "wrong number of fields", "a, cat")
    assert kept.number == 5


def test_a_byte_order_mark_and_hostile_prompts_are_read_as_they_are(tmp_path):
    prompt = 'a "cat",\nline\ttwo; =cmd()|\x00\u202e <script>'
    path = sheet(tmp_path, [[prompt, "0.png", "1.png"]])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert rows_of(path)[0].prompt == prompt


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"prompt,image_0,image_1\n", "no row below the header"),
        (b"prompt,image_1\na,b\n", "column 'image_0' is missing; name it with --image-0"),
        (b"prompt,image_0,image_1,preferance\na,b,c,1\n", "did you mean 'preference'"),
        (b"prompt,image_0,image_1,prompt\na,b,c,1\n", "'prompt' occurs twice"),
        ("prompt,image_0,image_1\ncafé,b,c\n".encode("latin-1"), "not UTF-8"),
        ("prompt,image_0,image_1\na,b,c\n".encode("utf-16-le"), "not UTF-8"),
        (b'prompt,image_0,image_1\na,b,c\n"never closed,b,c\na,b,c\n', "row 3 or below"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(tmp_path, content, message):
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match="pairs.csv") as raised:
        rows_of(path)
    assert message in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="neither pairs.csv nor metadata.csv or metadata.jsonl lies there"):
        open_folder(tmp_path)


def test_a_column_that_means_nothing_is_reported(tmp_path):
    found = open_folder(sheet(tmp_path, [["a", "b", "c", "x"]], [*HEADER[:3], "comment"]))
    assert found.ignored_columns == ["comment"]
