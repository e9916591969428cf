import hashlib
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.contract import tables
from dedpo.contract.tables import TABLES
from dedpo.errors import UserError

IMAGE = {"bytes": b"\x89PNG", "path": "0.png"}
# Two good rows of every table; nullable columns hold a value in one and nothing in the other.
ROWS = {
    "pairs": [
        {"pair_id": i, "prompt": "a cat", "image_0": IMAGE, "image_1": {"bytes": b"x", "path": None},
         "group": "a cat", "source": "mine"}
        for i in ("p0", "p1")
    ],
    "ratings": [
        {"pair_id": "p0", "rater": "ann", "preference": 0.5, "order_shown": "10",
         "time": datetime(2026, 11, 21, tzinfo=UTC), "source": "mine"},
        {"pair_id": "p0", "rater": "bob", "preference": 1.0, "order_shown": None, "time": None, "source": "mine"},
    ],
    "splits": [
        {"pair_id": "p0", "split": "train", "is_labelled": True, "propensity": 0.25},
        {"pair_id": "p1", "split": "holdout", "is_labelled": False, "propensity": 1.0},
    ],
    "selections": [
        {"pair_id": "p0", "propensity": 0.25, "is_selected": True, "order_shown": "10"},
        {"pair_id": "p1", "propensity": None, "is_selected": False, "order_shown": None},
    ],
    "features": [
        {"pair_id": "p0", "group": "a cat", "features": [0.5, -2.0]},
        {"pair_id": "p1", "group": "a cat", "features": [0.0, 1e-3]},
    ],
    "labels": [
        {"pair_id": "p0", "annotator": "vlm", "template": "t1", "preference": 0.3, "p_order_01": 0.2,
         "p_order_10": 0.4, "on_answer_mass": 0.99, "attempts": 2, "error": None},
        {"pair_id": "p1", "annotator": "vlm", "template": "t1", "preference": None, "p_order_01": None,
         "p_order_10": None, "on_answer_mass": None, "attempts": 5, "error": "timed out"},
    ],
    "targets": [
        {"pair_id": "p0", "a": 1.0, "b": -3.0, "is_labelled": True},
        {"pair_id": "p1", "a": 0.0, "b": 4.0, "is_labelled": False},
    ],
    "samples": [
        {"model": "dedpo", "prompt_id": "0", "seed": s, "prompt": "a cat", "image": IMAGE} for s in (0, 1)
    ],
    "scores": [
        {"model": "dedpo", "prompt_id": "0", "seed": 0, "metric": m, "value": -1.5} for m in ("oracle", "clip")
    ],
    "verdicts": [
        {"judge": "gemini", "model_0": "dpo-0", "model_1": "dedpo-0", "prompt_id": "0", "seed": 0, "criterion": c,
         "order": "10", "winner": w, "rationale": "It is sharper.", "error": None}
        for c, w in (("visual_appeal", "1"), ("prompt_alignment", "tie"))
    ],
}  # fmt: skip
BAD_VALUES = [
    ("pairs", "prompt", "", "'' must not be empty"),
    ("pairs", "pair_id", "", "'' must not be empty"),
    ("ratings", "preference", 1.5, "1.5 must lie in [0, 1]"),
    ("ratings", "preference", -0.1, "-0.1 must lie in [0, 1]"),
    ("ratings", "preference", float("nan"), "nan must lie in [0, 1]"),
    ("ratings", "order_shown", "11", "'11' must be '01' or '10'"),
    ("splits", "split", "test", "'test' must be 'train' or 'holdout'"),
    ("splits", "propensity", 0.0, "0.0 must lie in (0, 1]"),
    ("splits", "propensity", 1.1, "1.1 must lie in (0, 1]"),
    ("selections", "propensity", 0.0, "0.0 must lie in (0, 1]"),
    ("selections", "order_shown", "11", "'11' must be '01' or '10'"),
    ("labels", "preference", 2.0, "2.0 must lie in [0, 1]"),
    ("labels", "p_order_01", 2.0, "2.0 must lie in [0, 1]"),
    ("labels", "p_order_10", -1.0, "-1.0 must lie in [0, 1]"),
    ("targets", "a", float("inf"), "inf must be finite"),
    ("targets", "b", float("nan"), "nan must be finite"),
    ("scores", "value", float("nan"), "nan must be finite"),
    ("verdicts", "order", "first", "'first' must be '01' or '10'"),
    ("verdicts", "winner", "2", "'2' must be '0', '1' or 'tie'"),
]

every_table = pytest.mark.parametrize("name", list(TABLES))


def good(name: str) -> pa.Table:
    return pa.Table.from_pylist(ROWS[name], schema=TABLES[name].schema)


def loose(name: str, row: int, column: str, value: object) -> pa.Table:
    """The good table with one value exchanged, its schema without rules."""
    rows = [dict(r) for r in ROWS[name]]
    rows[row][column] = value
    fields = [pa.field(f.name, f.type) for f in TABLES[name].schema]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def said(path, table, rule) -> str:
    """What `read` says about a table that another program wrote."""
    pq.write_table(table, path)
    with pytest.raises(UserError) as raised:
        tables.read(path, rule)
    return str(raised.value)


def test_every_table_has_an_example():
    assert list(ROWS) == list(TABLES)


@every_table
def test_a_table_is_read_as_it_was_written(tmp_path, name):
    tables.write(good(name), TABLES[name], tmp_path / "t.parquet")
    back = tables.read(tmp_path / "t.parquet", TABLES[name])
    assert back.schema == TABLES[name].schema
    assert back.to_pylist() == ROWS[name]
    assert tables.count_rows(tmp_path / "t.parquet") == 2


@every_table
def test_column_order_and_related_types_do_not_matter(tmp_path, name):
    table = good(name).select(sorted(TABLES[name].schema.names, reverse=True))
    wide = [
        pa.field(f.name, {pa.string(): pa.large_string(), pa.int64(): pa.int32()}.get(f.type, f.type))
        for f in table.schema
    ]
    pq.write_table(table.cast(pa.schema(wide)), tmp_path / "t.parquet")
    assert tables.read(tmp_path / "t.parquet", TABLES[name]).to_pylist() == ROWS[name]


@every_table
def test_a_missing_column_is_named_with_the_file(tmp_path, name):
    for column in TABLES[name].schema.names:
        message = said(tmp_path / "t.parquet", good(name).drop_columns([column]), TABLES[name])
        assert message.startswith(f"{tmp_path}/t.parquet: column '{column}' is missing; a {name} table has ")


@every_table
def test_an_unknown_column_is_named(tmp_path, name):
    message = said(tmp_path / "t.parquet", good(name).append_column("extra", pa.array([1, 2])), TABLES[name])
    assert "t.parquet: unknown column 'extra'" in message


@every_table
def test_a_wrong_type_is_named(tmp_path, name):
    for i, field in enumerate(TABLES[name].schema):
        wrong = pa.array(["zebra", "gnu"]) if field.type != pa.string() else pa.array([[1], [2]])
        message = said(tmp_path / "t.parquet", good(name).set_column(i, field.name, wrong), TABLES[name])
        assert f"t.parquet: column '{field.name}' is " in message
        assert f"expected {field.type}" in message


@every_table
def test_a_null_is_refused_where_the_contract_refuses_it(tmp_path, name):
    for field in TABLES[name].schema:
        table = loose(name, 1, field.name, None)
        if field.nullable:
            tables.validate(table, TABLES[name], "here")
        else:
            message = said(tmp_path / "t.parquet", table, TABLES[name])
            assert f"t.parquet: column '{field.name}', row 1: a value is missing" in message


@pytest.mark.parametrize(("name", "column", "value", "words"), BAD_VALUES)
def test_a_bad_value_is_named_with_file_column_and_row(tmp_path, name, column, value, words):
    message = said(tmp_path / "t.parquet", loose(name, 1, column, value), TABLES[name])
    assert message == f"{tmp_path}/t.parquet: column '{column}', row 1: {words}"


def test_every_rule_is_tested():
    assert {(n, c) for n, t in TABLES.items() for c in t.checks} == {(n, c) for n, c, _, _ in BAD_VALUES}


@every_table
def test_a_key_may_not_occur_twice(tmp_path, name):
    table = pa.concat_tables([good(name), good(name).slice(1)])
    message = said(tmp_path / "t.parquet", table, TABLES[name])
    assert "rows 1 and 2 share the key {" in message
    assert all(f"'{k}'" in message for k in TABLES[name].key)


def test_a_key_may_not_occur_in_two_shards(tmp_path):
    for i in range(2):
        tables.write(good("pairs").slice(0, 1), tables.PAIRS, tmp_path / f"{i}.parquet")
    with pytest.raises(UserError, match="rows 0 and 1 share the key {'pair_id': 'p0'}"):
        tables.read(tmp_path, tables.PAIRS)


@every_table
def test_an_empty_table_can_be_written_and_counted_but_not_read(tmp_path, name):
    tables.write(good(name).slice(0, 0), TABLES[name], tmp_path / "t.parquet")
    assert tables.count_rows(tmp_path / "t.parquet") == 0
    with pytest.raises(UserError, match=f"t.parquet: the {name} table is empty"):
        tables.read(tmp_path / "t.parquet", TABLES[name])


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, keep):
    path = tmp_path / "t.parquet"
    tables.write(good("pairs"), tables.PAIRS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    for act in (lambda: tables.read(path, tables.PAIRS), lambda: tables.count_rows(path)):
        with pytest.raises(UserError, match="t.parquet: not a readable Parquet file"):
            act()


def test_damage_inside_a_file_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    tables.write(good("scores"), tables.SCORES, path)
    damaged = bytearray(path.read_bytes())
    damaged[4:60] = bytes(56)
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="t.parquet"):
        tables.read(path, tables.SCORES)


def test_nothing_there_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="no such file or folder; run the stage that writes it first"):
        tables.read(tmp_path / "nowhere", tables.PAIRS)
    with pytest.raises(UserError, match=r"holds no .parquet file; run the stage"):
        tables.read(tmp_path, tables.PAIRS)


def test_a_refused_table_leaves_nothing_behind(tmp_path):
    with pytest.raises(UserError):
        tables.write(loose("scores", 0, "value", float("nan")), tables.SCORES, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    tables.write(good("scores"), tables.SCORES, path)
    before = path.read_bytes()

    def half(table, where, **options):
        where.write_bytes(b"PAR1 half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables.pq, "write_table", half)
    with pytest.raises(OSError, match="No space left"):
        tables.write(good("scores").slice(1), tables.SCORES, path)
    assert path.read_bytes() == before
    assert tables.shard_paths(tmp_path) == [path]


def test_a_half_written_shard_is_not_seen(tmp_path):
    tables.write(good("pairs"), tables.PAIRS, tmp_path / "pairs-0.parquet")
    (tmp_path / ".pairs-1.parquet.tmp").write_bytes(b"PAR1 half")
    assert tables.read(tmp_path, tables.PAIRS).num_rows == 2


@every_table
def test_the_same_rows_give_the_same_bytes(tmp_path, name):
    chunked = pa.concat_tables([good(name).slice(0, 1), good(name).slice(1)])
    for file, table in [("a", good(name)), ("b", good(name)), ("c", chunked.select(chunked.column_names[::-1]))]:
        tables.write(table, TABLES[name], tmp_path / file)
    assert len({hashlib.sha256((tmp_path / f).read_bytes()).hexdigest() for f in "abc"}) == 1


@every_table
def test_a_projection_reads_its_columns_only(tmp_path, name):
    pq.write_table(good(name).append_column("extra", pa.array([1, 2])), tmp_path / "t.parquet")
    for columns in (list(TABLES[name].key), TABLES[name].schema.names[::-1], [TABLES[name].schema.names[-1]]):
        table = tables.read(tmp_path / "t.parquet", TABLES[name], columns)
        assert table.column_names == columns
        assert table.to_pylist() == [{c: r[c] for c in columns} for r in ROWS[name]]


def test_a_projection_checks_what_it_reads_and_nothing_else(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(loose("ratings", 1, "preference", 7.0), path)
    assert tables.read(path, tables.RATINGS, ["pair_id", "rater"]).num_rows == 2
    with pytest.raises(UserError, match=r"7.0 must lie in \[0, 1\]"):
        tables.read(path, tables.RATINGS, ["pair_id", "rater", "preference"])
    pq.write_table(good("ratings").drop_columns(["rater"]), path)
    with pytest.raises(UserError, match="column 'rater' is missing"):
        tables.read(path, tables.RATINGS, ["pair_id", "rater"])


def test_a_part_of_the_key_may_repeat_in_a_projection(tmp_path):
    tables.write(good("ratings"), tables.RATINGS, tmp_path / "t.parquet")
    assert tables.read(tmp_path / "t.parquet", tables.RATINGS, ["pair_id"]).num_rows == 2


def test_a_folder_is_read_in_name_order_and_shard_by_shard(tmp_path):
    for name, row in (("b", 1), ("a", 0)):
        tables.write(good("pairs").slice(row, 1), tables.PAIRS, tmp_path / f"{name}.parquet")
    assert tables.read(tmp_path, tables.PAIRS).column("pair_id").to_pylist() == ["p0", "p1"]
    assert [t.column("pair_id").to_pylist() for t in tables.iterate(tmp_path, tables.PAIRS)] == [["p0"], ["p1"]]
    assert tables.count_rows(tmp_path) == 2


@given(
    st.lists(
        st.tuples(st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False)),
        min_size=1,
        unique_by=lambda r: r[0],
    )
)
def test_hostile_text_and_any_finite_number_survive(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "t.parquet"
    columns = {"model": [r[0] for r in rows], "prompt_id": "0", "seed": 0, "metric": "m", "value": [r[1] for r in rows]}
    table = pa.table({k: v if isinstance(v, list) else [v] * len(rows) for k, v in columns.items()})
    tables.write(table, tables.SCORES, path)
    back = tables.read(path, tables.SCORES)
    assert back.column("model").to_pylist() == columns["model"]
    assert np.array_equal(back.column("value").to_numpy(), np.array(columns["value"]))
