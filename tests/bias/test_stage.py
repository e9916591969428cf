"""The stage on the embedded world: it names from data alone what the annotator was built to get wrong."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import evidently
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from evidently.ui.workspace import Workspace

from components.bias.component import bias
from dedpo.bias import stage
from dedpo.contract import tables
from dedpo.contract.records.data import Features
from dedpo.contract.sections import BiasConfig
from dedpo.errors import UserError
from dedpo.outputs.manifest import write_json
from dedpo.vision import images
from dedpo.vision.covariates import PROPERTIES, measure
from dedpo.world.annotators import biased_vlm, random_flips
from dedpo.world.render import SIZE
from tests.bias import world_tables
from tests.fixtures import content
from tests.records import record


def config(root: Path, **changes: Any) -> BiasConfig:
    return BiasConfig(workspace=str(root / "workspace"), **changes)


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("biased")
    inputs = world_tables.write(root / "in", biased_vlm, n=2000)
    begun = time.process_time()
    facts = stage.run(config(root), **inputs, out=root / "out")
    assert time.process_time() - begun < 15
    return root, facts


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """Inputs of a few pairs, and the workspace of a run on them."""
    root = tmp_path_factory.mktemp("finished")
    inputs = world_tables.write(root / "in", biased_vlm, n=30)
    stage.run(config(root), **inputs, out=root / "out")
    return root, inputs


def test_the_word_and_the_property_are_named(biased: tuple[Path, dict[str, Any]]) -> None:
    _, facts = biased
    assert facts["words"][0]["word"] == "painting"
    assert facts["words"][0]["flagged"]
    assert facts["words"][0]["lift"] > 0.1
    assert "“painting”" in facts["headline"]
    assert "there it prefers the paler image where people prefer the more saturated" in facts["headline"]
    assert facts["picture"]["property"] == "saturation"
    assert facts["picture"]["word"] == "painting"
    inside = {p["property"]: p for p in facts["properties"] if p["where"] == "painting"}
    assert inside["saturation"]["flagged"]
    assert max(inside, key=lambda name: abs(inside[name]["difference"])) == "saturation"


def test_every_file_is_written_and_the_run_is_in_the_workspace(biased: tuple[Path, dict[str, Any]]) -> None:
    root, facts = biased
    written = json.loads((root / "out/bias.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(facts))
    assert set(written["agreement"]) >= {"value", "low", "high", "kappa", "n"}
    assert written["agreement"]["low"] < written["agreement"]["value"] < written["agreement"]["high"]
    assert written["could_not_compute"] == {"ceiling": "No pair has two human raters."}
    assert "painting" in (root / "out/bias.html").read_text(encoding="utf-8")
    program = Path(evidently.__file__).parent / "nbextension/static/index.js"
    assert program.read_text(encoding="utf-8") in (root / "out/evidently.html").read_text(encoding="utf-8")
    assert len(list((root / "workspace").glob("*/snapshots/*.json"))) == 1


def test_the_same_again_is_the_same_to_the_byte(finished: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    """Or DVC would have to run again whatever depends on it."""
    found = []
    for _ in range(2):
        stage.run(config(tmp_path), **finished[1], out=tmp_path / "out")
        found.append(content(tmp_path / "out"))
    assert found[0] == found[1]


def test_the_lean_to_the_first_image_is_seen(biased: tuple[Path, dict[str, Any]]) -> None:
    lean = biased[1]["position_bias"]
    assert lean["high"] < 0
    assert 0.5 < lean["consistency"]["value"] < 1


def test_random_flips_flag_no_word(tmp_path: Path) -> None:
    inputs = world_tables.write(tmp_path / "in", random_flips, n=2000, seed=1)
    facts = stage.run(config(tmp_path), **inputs, out=tmp_path / "out")
    assert [w["word"] for w in facts["words"] if w["flagged"]] == []
    assert "no prompt word marks where it errs" in facts["headline"]


def test_only_labelled_and_held_out_ratings_are_read(tmp_path: Path) -> None:
    inputs = world_tables.write(tmp_path / "in", biased_vlm, n=60)
    splits = tables.read(inputs["splits"], tables.SPLITS)
    n = splits.num_rows
    columns = {
        "pair_id": splits.column("pair_id"),
        "split": ["train"] * (n - 5) + ["holdout"] * 5,
        "is_labelled": [i < 20 for i in range(n)],
        "propensity": splits.column("propensity"),
    }
    tables.write(pa.table(columns), tables.SPLITS, inputs["splits"])
    facts = stage.run(config(tmp_path), **inputs, out=tmp_path / "out")
    assert facts["agreement"]["n"] == 25


def test_hostile_prompts_are_inert_and_the_same_input_gives_the_same_numbers(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> =cmd() " + "x" * 10_000
    inputs = world_tables.write(
        tmp_path / "in", biased_vlm, n=120, rename=lambda t: f"{hostile} {t}" if "painting" in t else t
    )
    first = stage.run(config(tmp_path), **inputs, out=tmp_path / "out")
    page = (tmp_path / "out/bias.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "alert(1)" not in (tmp_path / "out/evidently.html").read_text(encoding="utf-8")
    assert stage.run(config(tmp_path), **inputs, out=tmp_path / "again") == first


@pytest.mark.parametrize("preference", [0.5, 1.0])
def test_one_class_is_reported_and_no_crash(tmp_path: Path, preference: float) -> None:
    inputs = world_tables.write(tmp_path / "in", biased_vlm, n=30)
    for name, rule in (("ratings", tables.RATINGS), ("labels", tables.LABELS)):
        table = tables.read(inputs[name], rule)
        place = table.column_names.index("preference")
        column = pa.array([preference] * table.num_rows)
        tables.write(table.set_column(place, "preference", column), rule, inputs[name])
    facts = stage.run(config(tmp_path), **inputs, out=tmp_path / "out")
    assert facts["agreement"]["value"] == 1.0
    assert facts["agreement"]["kappa"] is None
    assert {"kappa", "words"} <= set(facts["could_not_compute"])
    assert (tmp_path / "out/bias.html").is_file()


def test_no_answer_and_one_pair_are_reported(tmp_path: Path) -> None:
    inputs = world_tables.write(tmp_path / "in", biased_vlm, n=1)
    one = stage.run(config(tmp_path), **inputs, out=tmp_path / "one")
    assert one["agreement"]["n"] == 1
    assert {"words", "properties", "clustered interval"} <= set(one["could_not_compute"])
    labels = tables.read(inputs["labels"], tables.LABELS)
    for name in ("preference", "p_order_01", "p_order_10"):
        labels = labels.set_column(labels.column_names.index(name), name, pa.nulls(1, pa.float64()))
    tables.write(labels, tables.LABELS, inputs["labels"])
    none = stage.run(config(tmp_path), **inputs, out=tmp_path / "none")
    assert none["agreement"] is None
    assert none["headline"].startswith("Nothing can be said")
    assert "No pair has both" in (tmp_path / "none/evidently.html").read_text(encoding="utf-8")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    inputs = world_tables.write(tmp_path / "in", biased_vlm, n=4)
    splits = tables.read(inputs["splits"], tables.SPLITS)
    unseen = splits.set_column(2, "is_labelled", pc.equal(splits.column("split"), "holdout"))
    tables.write(unseen, tables.SPLITS, inputs["splits"])
    with pytest.raises(UserError, match="no labelled or held-out pair is rated"):
        stage.run(config(tmp_path), **inputs, out=tmp_path / "out")


def artifact(path: Path) -> Any:
    return SimpleNamespace(path=str(path), metadata={}, log_metric=lambda *_: None)


TORN = {"an empty file": "", "half a file": '{"report": {', "another object": "{}"}


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
@pytest.mark.parametrize("which", ["*/snapshots/*.json", "*/metadata.json", "*/dashboard.json"])
def test_a_torn_file_of_the_workspace_is_named_and_left_out(
    which: str, torn: str, finished: tuple[Path, dict[str, Path]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, inputs = finished
    shutil.copytree(root / "workspace", tmp_path / "workspace")
    [path] = (tmp_path / "workspace").glob(which)
    path.write_text(torn, encoding="utf-8")
    stage.run(config(tmp_path), **inputs, out=tmp_path / "out")
    assert (tmp_path / "out/manifest.json").is_file()
    assert [(str(path) in m, "left out" in m) for m in caplog.messages] == [(True, True)], caplog.messages
    [kept] = path.parent.glob(f"{path.name}.torn-*")
    assert kept.read_text(encoding="utf-8") == torn
    workspace = Workspace.create(str(tmp_path / "workspace"))
    [shown] = [project for project in workspace.list_projects() if project is not None]
    assert len(workspace.list_runs(shown.id)) == 1 + ("dashboard" in which)
    assert shown.dashboard.model().panels


def test_a_stranger_s_folder_in_the_workspace_stays_and_costs_no_result(
    finished: tuple[Path, dict[str, Path]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, inputs = finished
    stranger = tmp_path / "workspace/thesis/metadata.json"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("mine", encoding="utf-8")
    stage.run(config(tmp_path), **inputs, out=tmp_path / "out")
    assert (tmp_path / "out/manifest.json").is_file()
    assert [p.name for p in stranger.parent.iterdir()] == ["metadata.json"]
    assert ["name another with bias.workspace" in m for m in caplog.messages] == [True]


def test_the_component_tells_that_no_rated_pair_was_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = world_tables.write(tmp_path / "in", biased_vlm, n=5)
    labels = tables.read(inputs["labels"], tables.LABELS)
    for name in ("preference", "p_order_01", "p_order_10"):
        labels = labels.set_column(labels.column_names.index(name), name, pa.nulls(5, pa.float64()))
    tables.write(labels, tables.LABELS, inputs["labels"])
    for name, path in inputs.items():
        (tmp_path / name).mkdir()
        path.rename(tmp_path / name / path.name)
    stranger = pa.table({"pair_id": ["x"], "group": ["x"], "features": [[0.0] * len(PROPERTIES)]})
    tables.write(stranger, tables.FEATURES, tmp_path / "features/features.parquet")
    write_json(tmp_path / "features/features.json", record(Features, names=list(PROPERTIES)))
    monkeypatch.setenv("DEDPO_CACHE", str(tmp_path / "cache"))
    made = {n: artifact(tmp_path / n) for n in ("page", "evidently", "metrics", "choices", "facts")}
    given = {name: artifact(tmp_path / name) for name in (*inputs, "features")}
    bias.python_func(**given, **made, max_pixels=1000, settings=json.dumps({"permutations": 100, "bootstrap": 100}))
    assert made["facts"].metadata["headline"].startswith("Nothing can be said")
    assert "No pair has both" in (tmp_path / "evidently").read_text(encoding="utf-8")
    assert "Nothing can be said" in (tmp_path / "page").read_text(encoding="utf-8")


def test_images_are_measured_up_to_the_import_s_limit(finished: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    _, inputs = finished
    facts = [
        stage.run(config(tmp_path), **inputs, out=tmp_path / f"out{most}", max_pixels=most)
        for most in (SIZE**2 - 1, SIZE**2)
    ]
    assert [bool(f["properties"]) for f in facts] == [False, True]


def test_what_the_features_hold_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = world_tables.write(tmp_path / "in", biased_vlm, n=60)
    decoded: list[bytes] = []
    decode = images.decode

    def counting(data: bytes, max_pixels: int) -> Any:
        decoded.append(data)
        return decode(data, max_pixels)

    monkeypatch.setattr("dedpo.bias.reading.images.decode", counting)
    expected = stage.run(config(tmp_path), **inputs, out=tmp_path / "bare")
    assert len(decoded) == 120
    rows = tables.read(inputs["pairs"], tables.PAIRS).to_pylist()
    first, second = (np.array([measure(decode(r[f"image_{i}"]["bytes"])) for r in rows]) for i in (0, 1))
    known = {"pair_id": [r["pair_id"] for r in rows], "group": ["g"] * 60}
    # Columns in another order than bias names them, among others.
    values = np.column_stack([np.ones(60), (second - first)[:, ::-1]])
    folder = tmp_path / "features"
    for n, seen in ((60, 0), (59, 2)):
        table = pa.table(known | {"features": values.tolist()}).slice(0, n)
        tables.write(table, tables.FEATURES, folder / "features.parquet")
        write_json(folder / "features.json", record(Features, names=["else", *PROPERTIES[::-1]]))
        decoded.clear()
        assert stage.run(config(tmp_path), **inputs, features=folder, out=tmp_path / "out") == expected
        assert len(decoded) == seen
    write_json(folder / "features.json", record(Features, names=["else"]))
    with pytest.raises(UserError, match="features.json does not name the columns"):
        stage.run(config(tmp_path), **inputs, features=folder, out=tmp_path / "out")
