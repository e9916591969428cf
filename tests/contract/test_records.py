"""A stage's record that is lost, torn or foreign: whoever reads it names the file and what makes it again."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dedpo
from dedpo.contract import answered_pairs, records
from dedpo.contract.records.bias import Agreement, Bias, Word
from dedpo.contract.records.data import Imported, Split
from dedpo.contract.records.evaluation import Samples, Scores
from dedpo.contract.records.labels import Labels
from dedpo.contract.records.targets import Targets
from dedpo.contract.sections import DataConfig, GateConfig, PromoteConfig
from dedpo.data import stage as data
from dedpo.decide import gate, promotion
from dedpo.errors import UserError
from dedpo.human import round_files
from dedpo.kubeflow import volume
from dedpo.lineage import facts
from dedpo.outputs import manifest
from dedpo.report import reading as report
from dedpo.targets.plan import files as plan
from dedpo.train import reading, results
from dedpo.vision import adapter_files, diffusion
from tests.data.published import choice, write_pickapic
from tests.records import record

SOURCE = Path(dedpo.__file__).parent
LOST: dict[str, bytes | None] = {
    "lost": None,
    "empty": b"",
    "torn": b'{"pairs": 1, "agr',
    "not UTF-8": b"\xff\xfe{}",
    "zeros": bytes(100),
    "a list": b"[]",
    "a number": b"5",
    "nested": b"[" * 100_000,
}


def _gate(folder: Path) -> None:
    for name in ("bias", "labels"):
        (folder / name).mkdir(exist_ok=True)
    for path in (folder / "bias/bias.json", folder / "labels/summary.json"):
        if not path.exists():
            path.write_text(json.dumps(record(Bias) | record(Labels)), encoding="utf-8")
    gate.run(GateConfig(), bias=folder / "bias", labels=folder / "labels", out=folder / "gate")


def _gate_without(folder: Path, lost: str) -> None:
    (folder / lost).parent.mkdir()
    if (folder / "f").exists():
        (folder / "f").rename(folder / lost)
        _gate(folder)
    else:
        records.read(folder / lost, Bias, "run 'dedpo bias' first")


def _take_over(folder: Path) -> None:
    write_pickapic(folder / "pick" / "a.parquet", [choice(i, i % 2) for i in range(5)])
    data.import_pairs(DataConfig(), source=folder / "pick", out=folder / "done")
    (folder / "done/summary.json").unlink()
    if (folder / "f").exists():
        (folder / "f").rename(folder / "done/summary.json")
    data.import_pairs(DataConfig(), source=folder / "done", out=folder / "out")


def _promote(folder: Path) -> None:
    promotion.run(PromoteConfig(), metrics=folder / "f", policy=None, out=folder / "out")


def _targets(folder: Path) -> None:
    if (folder / "f").exists():
        (folder / "f").rename(folder / "targets.json")
    reading.read_targets(folder)


def _finished(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    volume.finished(folder, "f")


def _adapters(folder: Path) -> None:
    (folder / "f").rename(folder / adapter_files.BASE)
    (folder / adapter_files.WEIGHTS).write_bytes(b"")
    diffusion.load(str(folder), "sample")


READERS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "bias.json for the gate": (lambda f: _gate_without(f, "bias/bias.json"), "bias/bias.json", "dedpo bias"),
    "summary.json of an import": (_take_over, "done/summary.json", "fetch the folder again, or import its source"),
    "metrics.json for the promotion": (_promote, "f", "dedpo report"),
    "targets.json for the training": (_targets, "targets.json", "run 'dedpo targets' again"),
    "what a finished try has counted": (_finished, "f", "to run it again"),
}


@pytest.mark.parametrize("content", LOST.values(), ids=LOST)
@pytest.mark.parametrize("reader", READERS)
def test_a_lost_record_is_named_with_what_makes_it_again(reader: str, content: bytes | None, tmp_path: Path) -> None:
    read, name, remedy = READERS[reader]
    if content is not None:
        (tmp_path / "f").write_bytes(content)
    with pytest.raises(UserError) as raised:
        read(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / name}: ")
    assert remedy in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff"])
def test_adapters_without_their_base_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(UserError, match=f"{adapter_files.BASE}: .*; .* train again"):
        _adapters(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff"])
def test_a_manifest_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest.json: .*; make the folder again"):
        manifest.read_manifest(tmp_path)


WORD = record(Word)


def test_a_record_may_hold_what_a_later_version_has_added(tmp_path: Path) -> None:
    found = record(Bias, words=[WORD | {"new": 1, "q": 1}], agreement={"value": 1, "new": {}}) | {"new": None}
    (tmp_path / "f").write_text(json.dumps(found), encoding="utf-8")
    assert records.read(tmp_path / "f", Bias, "make it again") == found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"headline": None}, "'headline' should be a valid string, and is None"),
        ({"agreement": {}}, "says nothing of 'agreement.value'"),
        ({"agreement": record(Agreement, value=True)}, "'agreement.value' should be a valid number, and is True"),
        ({"agreement": record(Agreement, n=0.5)}, "'agreement.n' should be a valid integer, and is 0.5"),
        ({"words": [WORD, WORD | {"q": "x" * 900}]}, "'words.1.q' should be a valid number, and is 'xxxx"),
        ({"words": {}}, "'words' should be a valid list, and is {}"),
    ],
)
def test_what_is_missing_misspelt_or_of_another_type_is_named(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text(json.dumps(record(Bias) | change), encoding="utf-8")
    with pytest.raises(UserError) as raised:
        records.read(tmp_path / "f", Bias, "make it again")
    assert str(raised.value).startswith(f"{tmp_path / 'f'}: {told}")
    assert str(raised.value).endswith("; make it again")
    assert len(str(raised.value)) < 500
    misspelt = record(Bias) | {"headlin": "h"}
    del misspelt["headline"]
    (tmp_path / "f").write_text(json.dumps(misspelt), encoding="utf-8")
    with pytest.raises(UserError, match="f: says nothing of 'headline'; make it again"):
        records.read(tmp_path / "f", Bias, "make it again")


def test_who_can_do_without_a_record_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert records.known(tmp_path / "f", Labels, "label again") is None
    assert not caplog.text
    (tmp_path / "f").write_text("{}", encoding="utf-8")
    assert records.known(tmp_path / "f", Labels, "label again") is None
    assert "f: says nothing of 'pairs'; label again" in caplog.text
    (tmp_path / "f").write_text(json.dumps(record(Labels)), encoding="utf-8")
    assert records.known(tmp_path / "f", Labels, "label again") == record(Labels)


UNTYPED = re.compile(r"(dict|Mapping)\[.*\bAny\b")
STAGES = sorted(
    ".".join(("dedpo", *path.relative_to(SOURCE).with_suffix("").parts)) for path in SOURCE.rglob("*stage.py")
)
OTHERS = (
    gate.run, gate.examine, promotion.run, promotion.against, plan.run, round_files.facts, results.write,
    reading.read_targets, report.read_lines, answered_pairs.note, adapter_files.read,
)  # fmt: skip


def _returns(function: Callable[..., Any]) -> str:
    """What it returns, with this module's names for types resolved."""
    return str(eval(str(function.__annotations__["return"]), dict(vars(importlib.import_module(function.__module__)))))


@pytest.mark.parametrize("module", STAGES)
def test_what_a_stage_returns_has_a_type(module: str) -> None:
    functions = [f for f in vars(importlib.import_module(module)).values() if inspect.isfunction(f)]
    own = {f.__name__: _returns(f) for f in functions if f.__module__ == module and f.__name__[0] != "_"}
    assert not {name: kind for name, kind in own.items() if UNTYPED.search(kind)}


def test_what_is_read_of_another_stage_has_a_type() -> None:
    assert not [f for f in OTHERS if UNTYPED.search(_returns(f))]
    kinds = {field.name: str(field.type) for field in dataclasses.fields(report.Sources)}
    assert {"Labels | None", "Bias | None", "dict[Run, Targets]", "dict[Run, Training]"} <= set(kinds.values())


def test_the_rule_sees_the_stages() -> None:
    assert {"dedpo.label.stage", "dedpo.data.split_stage", "dedpo.human.merge_stage"} < set(STAGES)
    assert UNTYPED.search(str(list[dict[str, Any]]))


@pytest.mark.parametrize(
    ("stage", "kind"),
    [("data", Imported), ("split", Split), ("label", Labels), ("sample", Samples), ("score", Scores)],
)
def test_the_trace_names_counts_that_are_there(stage: str, kind: Any) -> None:
    assert set(facts.COUNTS[stage]) <= kind.__required_keys__
    assert set(facts.TARGETS) <= Targets.__required_keys__
