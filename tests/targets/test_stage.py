"""The targets stage: what it writes, sets aside, warns of and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dedpo.contract import tables
from dedpo.contract.sections import ARMS, TargetsConfig
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest
from dedpo.targets import stage
from tests.fixtures import write_tables, write_targets


@pytest.fixture
def work(tmp_path: Path) -> Path:
    write_tables(tmp_path)
    return tmp_path


def _replace(path: Path, table: tables.Table, **columns: object) -> None:
    rows = tables.read(path, table)
    for name, values in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values, table.schema.field(name).type))
    tables.write(rows, table, path)


def _facts(work: Path, arm: str) -> dict[str, object]:
    return json.loads((work / "targets" / "0" / arm / "targets.json").read_text())  # type: ignore[no-any-return]


def test_every_arm_gets_a_table_over_the_training_pairs(work: Path) -> None:
    write_targets(work, *ARMS)
    for arm in ARMS:
        table = tables.read(work / "targets" / "0" / arm / "targets.parquet", tables.TARGETS)
        assert table.num_rows == 40
        assert pc.sum(table.column("is_labelled")).as_py() == 10
    assert set(read_manifest(work / "targets" / "0")["outputs"]) == {
        "trust.json",
        *(f"{arm}/{name}" for arm in ARMS for name in ("targets.json", "targets.parquet")),
    }


def test_the_masses_average_to_one(work: Path) -> None:
    write_targets(work, "dpo_human", "dedpo", "dedpo_tuned")
    for arm in ("dpo_human", "dedpo", "dedpo_tuned"):
        a = tables.read(work / "targets" / "0" / arm / "targets.parquet", tables.TARGETS).column("a")
        assert np.mean(a.to_numpy()) == pytest.approx(1.0)


def test_the_facts_say_what_the_labels_are_worth(work: Path) -> None:
    write_targets(work, "dpo_human", "dpo_synthetic", "dedpo", "dedpo_tuned")
    assert _facts(work, "dpo_human")["n_eff"] == 10
    assert _facts(work, "dpo_synthetic")["n_eff"] is None
    tuned, plain = _facts(work, "dedpo_tuned"), _facts(work, "dedpo")
    assert plain["power"] == 1.0
    assert 0 < tuned["power"] <= 1
    assert tuned["n_eff"] >= max(10, plain["n_eff"])
    assert any("only 10 human labels" in w for w in tuned["warnings"])
    assert "worth" in stage.describe(tuned)


def test_a_fixed_power_is_used(work: Path) -> None:
    arguments = {"ratings": work / "data/ratings.parquet", "splits": work / "splits/0/splits.parquet"}
    labels = work / "labels/labels.parquet"
    config = TargetsConfig(power=0.25)
    facts = stage.run(config, arms=["dedpo_tuned"], **arguments, labels=labels, features=None, out=work / "t")
    assert facts["dedpo_tuned"]["power"] == 0.25


def test_pairs_without_an_answer_are_set_aside_and_counted(work: Path) -> None:
    path = work / "labels" / "labels.parquet"
    answers = tables.read(path, tables.LABELS).column("preference").to_pylist()
    _replace(path, tables.LABELS, preference=[None, None, None, *answers[3:]])
    write_targets(work, "dedpo", "dpo_human", "dpo_synthetic")
    assert (_facts(work, "dedpo")["n"], _facts(work, "dedpo")["set_aside"]) == (37, 3)
    assert (_facts(work, "dpo_human")["n"], _facts(work, "dpo_human")["set_aside"]) == (40, 0)
    a = tables.read(work / "targets/0/dedpo/targets.parquet", tables.TARGETS).column("a").to_numpy()
    assert np.mean(a) == pytest.approx(1.0)


def test_a_poor_annotator_is_warned_of(work: Path) -> None:
    path = work / "labels" / "labels.parquet"
    answers = np.array(tables.read(path, tables.LABELS).column("preference").to_pylist())
    _replace(path, tables.LABELS, preference=1 - answers)
    write_targets(work, "dedpo", "dedpo_tuned")
    assert any("use dedpo_tuned" in w for w in _facts(work, "dedpo")["warnings"])
    assert _facts(work, "dedpo_tuned")["power"] == 0.0


def test_a_labelled_pair_without_a_rating_is_refused(work: Path) -> None:
    path = work / "data" / "ratings.parquet"
    tables.write(tables.read(path, tables.RATINGS).slice(20), tables.RATINGS, path)
    with pytest.raises(UserError, match="is marked labelled but .*ratings.parquet holds no rating"):
        write_targets(work, "dedpo")


def test_no_labelled_pair_is_refused(work: Path) -> None:
    _replace(work / "splits/0/splits.parquet", tables.SPLITS, is_labelled=[False] * 46)
    with pytest.raises(UserError, match="none of the 40 usable training pairs is labelled"):
        write_targets(work, "dedpo")


def test_two_annotators_in_one_table_become_one(work: Path) -> None:
    """Each answered half of the pairs: together they answered all."""
    _replace(work / "labels/labels.parquet", tables.LABELS, annotator=["a"] * 20 + ["b"] * 26)
    write_targets(work, "dedpo")
    facts = _facts(work, "dedpo")
    assert (facts["n"], facts["set_aside"]) == (40, 0)
    assert set(facts["annotators"]) == {"a", "b"}


def test_features_are_an_input_and_give_a_probe(work: Path) -> None:
    ids = tables.read(work / "labels/labels.parquet", tables.LABELS).column("pair_id")
    known = np.random.default_rng(0).normal(size=(len(ids), 2)).tolist()
    rows = pa.table({"pair_id": ids, "group": ids, "features": known})
    _replace(work / "splits/0/splits.parquet", tables.SPLITS, is_labelled=[i < 30 for i in range(len(ids))])
    tables.write(rows, tables.FEATURES, work / "features" / "features.parquet")
    write_targets(work, "dedpo_tuned")
    facts = _facts(work, "dedpo_tuned")
    assert (facts["regime"], facts["probe"]["n_features"]) == ("probe", 2)
    assert set(read_manifest(work / "targets" / "0")["inputs"]) == {"ratings", "splits", "labels", "features"}


def test_a_missing_input_names_itself(work: Path) -> None:
    (work / "labels" / "labels.parquet").unlink()
    with pytest.raises(UserError, match="labels.parquet: no such file"):
        write_targets(work, "dedpo")
