"""The data contract: every table's schema, and the one reader and writer that hold it.

Tables are Parquet files. Images are immutable and heavy, opinions are light and grow: they never share a file.
A violated rule raises `UserError` that names the file, the row and the column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedpo import disk
from dedpo.contract.column_checks import Check, between, finite, not_empty, one_of
from dedpo.errors import UserError

# The `datasets` library's Image convention, so that a shard opens there as pictures.
IMAGE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# Below the other samples and scores, a folder of those on the prompts on which each arm's best step is chosen.
VALIDATION: Final = "validation"


@dataclass(frozen=True)
class Table:
    """One table of the contract.

    `checks` maps a column to (predicate, rule in words). Fields that are not nullable refuse nulls, and no two rows
    share a `key`.
    """

    name: str
    key: tuple[str, ...]
    schema: pa.Schema
    checks: dict[str, tuple[Check, str]] = field(default_factory=dict)


def _schema(*fields: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    return pa.schema([pa.field(f[0], f[1], nullable=f[2] if len(f) == 3 else False) for f in fields])


_PROBABILITY = (between(0.0, 1.0), "must lie in [0, 1]")
_TEXT = (not_empty, "must not be empty")
_NULL: Final = True

PAIRS = Table(
    "pairs",
    ("pair_id",),
    _schema(
        ("pair_id", pa.string()),
        ("prompt", pa.string()),
        ("image_0", IMAGE),
        ("image_1", IMAGE),
        ("group", pa.string()),
        ("source", pa.string()),
    ),
    {"pair_id": _TEXT, "prompt": _TEXT},
)

RATINGS = Table(
    "ratings",
    ("pair_id", "rater"),
    _schema(
        ("pair_id", pa.string()),
        ("rater", pa.string()),
        ("preference", pa.float64()),
        ("order_shown", pa.string(), _NULL),
        ("time", pa.timestamp("us", tz="UTC"), _NULL),
        ("source", pa.string()),
    ),
    {
        "preference": _PROBABILITY,
        "order_shown": (one_of("01", "10"), "must be '01' or '10'"),
    },
)

SPLITS = Table(
    "splits",
    ("pair_id",),
    _schema(
        ("pair_id", pa.string()), ("split", pa.string()), ("is_labelled", pa.bool_()), ("propensity", pa.float64())
    ),
    {
        "split": (one_of("train", "holdout"), "must be 'train' or 'holdout'"),
        "propensity": (between(0.0, 1.0, low_open=True), "must lie in (0, 1]"),
    },
)

SELECTIONS = Table(
    "selections",
    ("pair_id",),
    _schema(
        ("pair_id", pa.string()),
        # The chance with which a pair was to be selected; null in a round that no estimate rests on.
        ("propensity", pa.float64(), _NULL),
        ("is_selected", pa.bool_()),
        # '01': image 0 was on the left; null where the pair was not selected.
        ("order_shown", pa.string(), _NULL),
    ),
    {
        "propensity": (between(0.0, 1.0, low_open=True), "must lie in (0, 1]"),
        "order_shown": (one_of("01", "10"), "must be '01' or '10'"),
    },
)

FEATURES = Table(
    "features",
    ("pair_id",),
    # Antisymmetric (image 1 minus image 0), so that swapping the images changes their sign and nothing else.
    _schema(("pair_id", pa.string()), ("group", pa.string()), ("features", pa.list_(pa.float64()))),
)

LABELS = Table(
    "labels",
    ("pair_id", "annotator", "template"),
    _schema(
        ("pair_id", pa.string()),
        ("annotator", pa.string()),
        ("template", pa.string()),
        ("preference", pa.float64(), _NULL),
        ("p_order_01", pa.float64(), _NULL),
        ("p_order_10", pa.float64(), _NULL),
        ("on_answer_mass", pa.float64(), _NULL),
        ("attempts", pa.int64()),
        ("error", pa.string(), _NULL),
    ),
    {"preference": _PROBABILITY, "p_order_01": _PROBABILITY, "p_order_10": _PROBABILITY},
)

TARGETS = Table(
    "targets",
    ("pair_id",),
    _schema(("pair_id", pa.string()), ("a", pa.float64()), ("b", pa.float64()), ("is_labelled", pa.bool_())),
    {"a": (finite, "must be finite"), "b": (finite, "must be finite")},
)

SAMPLES = Table(
    "samples",
    ("model", "prompt_id", "seed"),
    _schema(
        ("model", pa.string()),
        ("prompt_id", pa.string()),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
        ("image", IMAGE),
    ),
)

SCORES = Table(
    "scores",
    ("model", "prompt_id", "seed", "metric"),
    _schema(
        ("model", pa.string()),
        ("prompt_id", pa.string()),
        ("seed", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ),
    {"value": (finite, "must be finite")},
)

VERDICTS = Table(
    "verdicts",
    ("judge", "model_0", "model_1", "prompt_id", "seed", "criterion"),
    _schema(
        ("judge", pa.string()),
        ("model_0", pa.string()),
        ("model_1", pa.string()),
        ("prompt_id", pa.string()),
        ("seed", pa.int64()),
        ("criterion", pa.string()),
        # '01': model_0's picture was shown first; what the rationale calls first is as shown.
        ("order", pa.string()),
        ("winner", pa.string(), _NULL),
        ("rationale", pa.string(), _NULL),
        ("error", pa.string(), _NULL),
    ),
    {
        "order": (one_of("01", "10"), "must be '01' or '10'"),
        "winner": (one_of("0", "1", "tie"), "must be '0', '1' or 'tie'"),
    },
)

_ALL: Final = (PAIRS, RATINGS, SPLITS, SELECTIONS, FEATURES, LABELS, TARGETS, SAMPLES, SCORES, VERDICTS)
TABLES: Final = {t.name: t for t in _ALL}


def validate(table: pa.Table, rule: Table, place: str) -> pa.Table:
    """Return `table` in the schema's column order and types.

    Raises:
        UserError: a column is missing or unknown, has another type, holds a null or a value that breaks its rule,
            or a key occurs twice; the message names `place`, the row (counted from 0) and the column.
    """
    names = set(table.column_names)
    for name in rule.schema.names:
        if name not in names:
            raise UserError(
                f"{place}: column '{name}' is missing; a {rule.name} table has {_listed(rule.schema.names)}"
            )
    for name in table.column_names:
        if name not in rule.schema.names:
            raise UserError(f"{place}: unknown column '{name}'; a {rule.name} table has {_listed(rule.schema.names)}")
    columns = [_cast(table.column(f.name), f, place) for f in rule.schema]
    table = pa.table(columns, schema=rule.schema)
    for name, (check, words) in rule.checks.items():
        _check_values(table.column(name), check, f"{place}: column '{name}'", words)
    _check_key(table, rule, place)
    return table


def _listed(names: list[str]) -> str:
    return ", ".join(names)


def _cast(column: pa.ChunkedArray, expected: pa.Field, place: str) -> pa.ChunkedArray:
    where = f"{place}: column '{expected.name}'"
    if column.type != expected.type:
        try:
            column = column.cast(expected.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise UserError(f"{where} is {column.type}, expected {expected.type}: {error}") from None
    if not expected.nullable and column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise UserError(f"{where}, row {row}: a value is missing")
    return column


def _check_values(column: pa.ChunkedArray, check: Check, where: str, words: str) -> None:
    # A null that the schema admits passes, whatever `check` makes of it.
    bad = pc.index(pc.or_kleene(check(column), pc.is_null(column)), False).as_py()
    if bad >= 0:
        raise UserError(f"{where}, row {bad}: {column[bad].as_py()!r} {words}")


def _check_key(table: pa.Table, rule: Table, place: str) -> None:
    if not rule.key:  # a projection without the key's columns
        return
    counts = table.select(list(rule.key)).group_by(list(rule.key)).aggregate([([], "count_all")])
    if counts.num_rows == table.num_rows:
        return
    doubled = counts.filter(pc.greater(counts.column("count_all"), 1)).slice(0, 1).to_pylist()[0]
    key = {k: doubled[k] for k in rule.key}
    rows = [i for i, row in enumerate(table.select(list(rule.key)).to_pylist()) if row == key][:2]
    raise UserError(f"{place}: rows {rows[0]} and {rows[1]} share the key {key}; keep one of them")


def read(path: Path, rule: Table, columns: list[str] | None = None) -> pa.Table:
    """Read one table: a Parquet file, or a folder of Parquet shards (all of them, in name order).

    Args:
        columns: read these only (the key's columns should be among them); the rest is neither read nor checked.

    Raises:
        UserError: nothing is there, a file is no Parquet, the table is empty, or `validate` objects.
    """
    shards = shard_paths(path)
    part = rule if columns is None else _projected(rule, columns)
    table = pa.concat_tables([_read_shard(s, part, strict=columns is None) for s in shards])
    if table.num_rows == 0:
        raise UserError(f"{path}: the {rule.name} table is empty")
    if len(shards) > 1:
        _check_key(table, part, str(path))
    return table


def iterate(path: Path, rule: Table) -> Iterator[pa.Table]:
    """Yield a folder's shards one by one, each validated, so that images need not fit in memory together."""
    for shard in shard_paths(path):
        yield _read_shard(shard, rule, strict=True)


def shard_paths(path: Path) -> list[Path]:
    """The Parquet files at `path`: itself, or those in the folder, in name order.

    Raises:
        UserError: there is none.
    """
    if path.is_file():
        return [path]
    shards = sorted(path.glob("*.parquet")) if path.is_dir() else []
    if not shards:
        found = "the folder holds no .parquet file" if path.is_dir() else "no such file or folder"
        raise UserError(f"{path}: {found}; run the stage that writes it first")
    return shards


def with_validation(folder: Path) -> list[Path]:
    """The folder of samples or scores, and the one in it of those on validation prompts, if there is one."""
    return [path for path in (folder, folder / VALIDATION) if path == folder or path.is_dir()]


def _projected(rule: Table, columns: list[str]) -> Table:
    schema = pa.schema([rule.schema.field(c) for c in columns])
    key = rule.key if set(rule.key) <= set(columns) else ()
    return Table(rule.name, key, schema, {c: v for c, v in rule.checks.items() if c in columns})


def _read_shard(path: Path, rule: Table, *, strict: bool) -> pa.Table:
    try:
        columns = None
        if not strict:
            # A column that is not there is for `validate` to name.
            there = pq.read_schema(path).names
            columns = [c for c in rule.schema.names if c in there]
        table = pq.read_table(path, columns=columns, partitioning=None)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason}); make it again") from None
    return validate(table, rule, str(path))


def write(table: pa.Table, rule: Table, path: Path, facts: Mapping[str, str] | None = None) -> None:
    """Validate `table` and write it to `path` by way of a temporary name: no half-written file looks finished.

    The bytes depend on the rows and `facts` alone: the same table gives the same file.

    Args:
        facts: what else the file says of itself, as its schema's metadata.
    """
    checked = validate(table, rule, str(path)).replace_schema_metadata(dict(facts or {}))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(checked, temporary, compression="zstd")
    disk.replace(temporary, path)


def count_rows(path: Path) -> int:
    """Rows of a table, from the files' footers alone.

    Raises:
        UserError: a shard cannot be read.
    """
    try:
        return sum(pq.read_metadata(shard).num_rows for shard in shard_paths(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
