"""What the components share: folders, metadata, one-line errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from dedpo.errors import UserError
from dedpo.kubeflow import component


def test_the_data_revision_comes_from_the_manifest(tmp_path: Path) -> None:
    assert component.revision(str(tmp_path)) == {}
    assert component.revision(str(tmp_path), "v7") == {"data_revision": "v7"}
    (tmp_path / "manifest.json").write_text(json.dumps({"outputs": {}}))
    assert component.revision(str(tmp_path), "v7") == {"data_revision": "v7"}
    known = {"repo": "r", "revision": "v1", "commit": "c" * 40, "path": "p", "files": 3}
    (tmp_path / "manifest.json").write_text(json.dumps({"outputs": {}, "revision": known}))
    expected = {"data_repo": "r", "data_revision": "v1", "data_commit": "c" * 40, "data_path": "p"}
    assert component.revision(str(tmp_path), "") == expected


def test_kubeflow_is_shown_choices_and_curve() -> None:
    metrics = dsl.ClassificationMetrics()
    curve = {"false_positive": [0.0, 1.0], "true_positive": [0.0, 1.0], "threshold": [1.0, 0.0], "area": 0.5}
    component.classification(metrics, {"choices": [[5, 0, 1], [0, 0, 0], [2, 0, 7]], "roc": curve})
    assert [row["row"] for row in metrics.metadata["confusionMatrix"]["rows"]] == [[5, 0, 1], [0, 0, 0], [2, 0, 7]]
    assert [p["recall"] for p in metrics.metadata["confidenceMetrics"]] == [0.0, 1.0]
    json.dumps(metrics.metadata, allow_nan=False)
    empty = dsl.ClassificationMetrics()
    component.classification(empty, {"choices": None, "roc": None})
    assert empty.metadata == {}


def test_a_users_error_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"), component.reported():
        raise UserError("source: no such folder")
    assert capsys.readouterr().err == "error: source: no such folder\n"


def test_only_finite_numbers_are_logged() -> None:
    logged: dict[str, float] = {}

    class Metrics:
        def log_metric(self, metric: str, value: float) -> None:
            logged[metric] = value

    facts: dict[str, Any] = {"a": 1, "b": float("nan"), "c": True, "d": "x", "e": None, "f": 0.5}
    component.log(Metrics(), facts)
    assert logged == {"a": 1.0, "f": 0.5}


def _artifact(path: Path) -> dsl.Dataset:
    return dsl.Dataset(name="x", uri=str(path))


def test_a_note_is_no_empty_folder(tmp_path: Path) -> None:
    """An object store keeps no empty folder, and the next task would find nothing."""
    component.note(str(tmp_path / "part"), "Nobody was asked.")
    assert [p.read_text() for p in (tmp_path / "part").iterdir()] == ["Nobody was asked.\n"]


def test_labels_that_are_there_become_an_artefact_of_this_run(tmp_path: Path) -> None:
    given, target = _artifact(tmp_path / "given"), _artifact(tmp_path / "run" / "labels")
    (tmp_path / "run").mkdir()
    with pytest.raises(
        UserError, match="labels: no labels.parquet at .*given; name the URI of a finished output folder"
    ):
        component.take(given, target, "labels", ("labels.parquet",), "summary.json")
    assert not (tmp_path / "run" / "labels").exists()
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "labels.parquet").write_bytes(b"x")
    (tmp_path / "given" / "summary.json").write_text('{"pairs": 7}')
    assert component.take(given, target, "labels", ("labels.parquet",), "summary.json") == {"pairs": 7}
    assert (tmp_path / "run" / "labels" / "labels.parquet").read_bytes() == b"x"
    assert len(target.metadata["sha256"]) == 64
    assert target.metadata["taken_from"] == str(tmp_path / "given")
