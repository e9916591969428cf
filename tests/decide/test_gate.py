"""The gate: what passes, what fails with its number, and what is left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.contract.records.bias import Bias
from dedpo.contract.records.labels import AnnotatorLabels, Labels
from dedpo.contract.sections import GateConfig
from dedpo.decide import gate
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest
from tests.records import record


def inputs(folder: Path, agreement: dict[str, Any] | None, **counts: Any) -> dict[str, Path]:
    for name in ("bias", "labels"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "bias" / "bias.json").write_text(json.dumps(record(Bias, annotator="vlm `x`", agreement=agreement)))
    known = {"pairs": 100, "answered": 97, "annotators": [annotator("vlm", counts.pop("position_bias", -0.2))]}
    (folder / "labels" / "summary.json").write_text(json.dumps(record(Labels, **known | counts)))
    return {"bias": folder / "bias", "labels": folder / "labels", "out": folder / "gate"}


def annotator(name: str, position_bias: Any) -> AnnotatorLabels:
    return record(AnnotatorLabels, annotator=name, position_bias=position_bias)


GOOD = {"value": 0.7, "low": 0.6, "high": 0.8}


def test_a_good_annotator_passes_with_its_numbers(tmp_path: Path) -> None:
    facts = gate.run(GateConfig(max_position_bias=0.25), **inputs(tmp_path, GOOD))
    assert [(c["value"], c["passed"]) for c in facts["checks"]] == [(0.8, True), (0.2, True), (0.97, True)]
    assert json.loads((tmp_path / "gate" / "gate.json").read_text()) == facts
    page = (tmp_path / "gate" / "gate.md").read_text()
    assert page.startswith("# Passed: `vlm x`\n")
    assert "| answered pairs (`gate.min_answered`) | 0.970 | 0.9 | yes |" in page
    assert set(read_manifest(tmp_path / "gate")["inputs"]) == {"bias", "labels"}


def test_every_failure_is_named_and_an_older_pass_is_withdrawn(tmp_path: Path) -> None:
    gate.run(GateConfig(), **inputs(tmp_path, GOOD))
    paths = inputs(tmp_path, {"value": 0.4, "low": 0.3, "high": 0.49}, answered=80)
    with pytest.raises(UserError) as caught:
        gate.run(GateConfig(max_position_bias=0.1), **paths)
    message = str(caught.value)
    for part in (
        "agreement with people 0.400 (0.300 to 0.490), whose upper end must reach 0.5 (gate.min_agreement)",
        "position bias -0.200, at most ±0.1 (gate.max_position_bias)",
        "answered pairs 80 of 100, at least 90.0% (gate.min_answered)",
    ):
        assert part in message
    assert "\n" not in message
    assert not (tmp_path / "gate").exists()
    assert "**no**" in (tmp_path / "gate.partial" / "gate.md").read_text()


def test_what_could_not_be_measured_does_not_pass(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="agreement with people could not be measured"):
        gate.run(GateConfig(), **inputs(tmp_path, None))
    with pytest.raises(UserError, match="answered pairs were not counted"):
        gate.run(GateConfig(), **inputs(tmp_path, GOOD, answered=0, pairs=0))
    with pytest.raises(UserError, match="position bias could not be measured"):
        gate.run(GateConfig(max_position_bias=1), **inputs(tmp_path, GOOD, position_bias=None))


def test_each_of_several_annotators_has_its_position_bias(tmp_path: Path) -> None:
    several = [annotator("one", 0.3), annotator("other", 0.05)]
    with pytest.raises(UserError, match="position bias of one \\+0.300, at most ±0.1") as caught:
        gate.run(GateConfig(max_position_bias=0.1), **inputs(tmp_path, GOOD, annotators=several))
    assert "of other" not in str(caught.value)


def test_nothing_asked_is_nothing_refused(tmp_path: Path) -> None:
    nothing = GateConfig(min_agreement=None, min_answered=None)
    assert gate.run(nothing, **inputs(tmp_path, None, answered=0))["passed"]
    assert "Nothing is asked" in (tmp_path / "gate" / "gate.md").read_text()


@pytest.mark.parametrize("name", ["bias/bias.json", "labels/summary.json"])
@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_missing_or_broken_facts_are_named(name: str, content: str | None, tmp_path: Path) -> None:
    paths = inputs(tmp_path, GOOD)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=name):
        gate.run(GateConfig(), **paths)


@given(
    value=st.floats(0, 1), half=st.floats(0, 0.5), limit=st.floats(0, 1), answered=st.integers(0, 50),
    share=st.floats(0, 1),
)  # fmt: skip
def test_a_check_passes_exactly_if_its_number_is_within_the_limit(
    value: float, half: float, limit: float, answered: int, share: float
) -> None:
    config = GateConfig(min_agreement=limit, min_answered=share)
    found = record(Bias, agreement={"value": value, "low": value - half, "high": value + half})
    agreement, counted = gate.examine(config, found, record(Labels, pairs=50, answered=answered))  # type: ignore[arg-type]
    assert agreement["passed"] == (value + half >= limit)
    assert counted["passed"] == (answered / 50 >= share)


def test_an_annotator_the_other_way_round_never_passes_and_is_named(tmp_path: Path) -> None:
    paths = inputs(tmp_path, {**GOOD, "decided": {"value": 0.1, "low": 0.05, "high": 0.2, "n": 90}})
    found = json.loads((tmp_path / "bias" / "bias.json").read_text())
    told = "x and people agree on 0.100 of 90 pairs, far below chance: one of them may be the other way round; say so"
    (tmp_path / "bias" / "bias.json").write_text(json.dumps(found | {"reversed": told}))
    with pytest.raises(UserError, match="may be the other way round; say so"):
        gate.run(GateConfig(min_agreement=None, min_answered=None), **paths)


@pytest.mark.parametrize("value", ["x", [], True, [[1]]])
@pytest.mark.parametrize("place", ["agreement", "agreement.value", "annotators.0.position_bias", "answered", "pairs"])
def test_what_is_no_number_is_named(place: str, value: Any, tmp_path: Path) -> None:
    agreement = {**GOOD, "value": value} if place == "agreement.value" else value if place == "agreement" else GOOD
    counts = {} if place.startswith("agreement") else {place.removeprefix("annotators.0."): value}
    with pytest.raises(UserError, match=f"json: '{place}' should be .*; run 'dedpo"):
        gate.run(GateConfig(max_position_bias=0.1), **inputs(tmp_path, agreement, **counts))
