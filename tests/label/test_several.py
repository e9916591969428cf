# ruff: noqa: F401, F811 (fixtures)
"""Several annotators over the same pairs: side by side, one at a time, in parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dedpo.contract import config as settings
from dedpo.contract.sections import LabelConfig
from dedpo.errors import UserError
from dedpo.label import stage
from dedpo.world.serve import listening
from dedpo.world.server import app
from tests.label.test_parts import pairs
from tests.label.test_stage import N, _environment, labels, looks, scripted

BOTH = ["biased-vlm", "strong-vlm"]


@pytest.fixture(scope="module")
def world() -> Iterator[str]:
    with listening(app()) as url:
        yield f"{url}/v1"


def several(url: str, *names: str, **changes: Any) -> LabelConfig:
    return LabelConfig.model_validate(
        {"base_url": url, "max_retries": 0, "annotators": [{"model": name} for name in names]} | changes
    )


def test_each_labels_all_pairs_in_the_order_of_the_settings(world: str, pairs: Path, tmp_path: Path) -> None:
    found = stage.run(several(world, *BOTH[::-1]), pairs=pairs, out=tmp_path / "labels")
    rows = labels(tmp_path / "labels")
    assert [r["annotator"] for r in rows] == ["strong-vlm"] * N + ["biased-vlm"] * N
    assert (
        [r["pair_id"] for r in rows[:N]] == [r["pair_id"] for r in rows[N:]] == sorted(r["pair_id"] for r in rows[N:])
    )
    assert (found["pairs"], found["answered"], found["requests"], found["asked"]) == (N, N, 4 * N, 4 * N)
    assert [(a["annotator"], a["answered"]) for a in found["annotators"]] == [("strong-vlm", N), ("biased-vlm", N)]
    told = stage.described(found)
    assert told["requests of biased-vlm"] == 2 * N
    alone = stage.run(several(world, "biased-vlm"), pairs=pairs, out=tmp_path / "alone")
    assert labels(tmp_path / "alone") == rows[N:]
    assert alone["annotators"] == found["annotators"][1:]


def test_one_of_them_labels_and_what_the_others_have_labelled_stays(world: str, pairs: Path, tmp_path: Path) -> None:
    config, out = several(world, *BOTH), tmp_path / "labels"
    for name in BOTH[::-1]:
        stage.run(config, pairs=pairs, out=out, only=name)
    stage.run(config, pairs=pairs, out=tmp_path / "at once")
    for name in ("labels.parquet", "summary.json"):
        assert (out / name).read_bytes() == (tmp_path / "at once" / name).read_bytes()
    assert len(list((out / "answers").iterdir())) == 2
    (tmp_path / "labels.answers").rename(tmp_path / "elsewhere")
    assert stage.run(config, pairs=pairs, out=out)["asked"] == 0, "the answers of both are in the output"


def test_without_a_list_the_name_is_what_the_annotator_is_called(world: str, pairs: Path, tmp_path: Path) -> None:
    one = LabelConfig(base_url=world, model="biased-vlm")
    stage.run(one, pairs=pairs, out=tmp_path / "labels")
    found = stage.run(one, pairs=pairs, out=tmp_path / "labels", only="again")
    assert [a["annotator"] for a in found["annotators"]] == ["biased-vlm", "again"]
    assert found["asked"] == 0, "another name is no other question"


def test_what_others_labelled_of_other_pairs_is_refused(world: str, pairs: Path, tmp_path: Path) -> None:
    config, out = several(world, *BOTH), tmp_path / "labels"
    stage.run(config, pairs=pairs, out=out, shards=["00.parquet"])
    with pytest.raises(UserError, match=r"'strong-vlm' has labelled other pairs.*without --annotator"):
        stage.run(config, pairs=pairs, out=out, only="biased-vlm")


def test_a_name_that_nobody_has_is_told_with_those_there_are(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no annotator 'vlm' in label.annotators; there are: biased-vlm, strong-vlm"):
        stage.run(several("http://127.0.0.1:9/v1", *BOTH), pairs=pairs, out=tmp_path / "labels", only="vlm")


def test_parts_of_several_together_are_the_same_bytes(world: str, pairs: Path, tmp_path: Path) -> None:
    config = several(world, *BOTH)
    whole = stage.run(config, pairs=pairs, out=tmp_path / "whole")
    parts = []
    for i, names in enumerate(stage.shards(pairs, 3)):
        parts.append(tmp_path / f"part {i}")
        stage.run(config, pairs=pairs, out=parts[-1], shards=names)
    assert stage.merge(config, parts=parts, pairs=pairs, out=tmp_path / "merged") == whole
    for name in ("labels.parquet", "summary.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(UserError, match="annotator is 'strong-vlm' and not 'biased-vlm'; label that part again"):
        stage.merge(several(world, "biased-vlm"), parts=parts, pairs=pairs, out=tmp_path / "of one")
    with pytest.raises(UserError, match="40 of 40 pairs are in no part"):
        stage.merge(several(world, *BOTH, "adversarial-vlm"), parts=parts, pairs=pairs, out=tmp_path / "of three")


def test_too_many_failures_of_one_keep_what_the_other_answered(pairs: Path, tmp_path: Path) -> None:
    with scripted(looks) as url:
        config = several(url, "first", "second")
        broken = config.annotators[1].model_copy(update={"base_url": "http://127.0.0.1:9/v1"})
        with pytest.raises(UserError):
            stage.run(
                config.model_copy(update={"annotators": [config.annotators[0], broken]}),
                pairs=pairs,
                out=tmp_path / "l",
            )
        assert stage.run(config, pairs=pairs, out=tmp_path / "l")["asked"] == 2 * N


LIST = "label: {model: a, concurrency: 3, annotators: [{}, {model: b, template: pairwise-v1}, {kind: clip}]}"


def test_what_a_section_of_its_kind_leaves_out_is_the_one_above(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(LIST)
    config = settings.load(tmp_path / "params.yaml").label
    assert [one.annotator for one in config.each] == ["a", "b", "openai/clip-vit-large-patch14"]
    assert [one.concurrency for one in config.each] == [3, 3, LabelConfig().concurrency]
    assert LabelConfig.model_validate(json.loads(config.model_dump_json())) == config, "as Kubeflow hands it over"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{annotators: [{model: a}, {model: a}]}",
            "label: two annotators are called 'a'; give one of them another name",
        ),
        ("{annotators: [{modle: a}]}", "unknown key 'label.annotators.0.modle'; did you mean 'model'?"),
        ("{annotators: [{}, {kind: file}]}", "label.annotators.1: kind file needs its path, a CSV or Parquet"),
        ("{kind: file}", "label: kind file needs its path"),
        ("{kind: flip}", "label: kind flip makes labels of people's ratings.*say so with control: true"),
        ("{path: a.csv}", "label: path is for kind file, and this annotator's kind is endpoint"),
        ("{kind: clip, share: 0.5}", "label: share is for kind flip, and this annotator's kind is clip"),
        ("{concurrency: 0, annotators: [{}]}", "label.concurrency: .* got 0"),
        ("{annotators: [clip]}", "label.annotators.0: "),
        ("{annotators: [{base_url: 'http://me:secret@x/v1'}]}", "label.annotators.base_url: holds a user name"),
    ],
)
def test_what_is_wrong_with_a_section_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(f"label: {text}")
    with pytest.raises(UserError, match=message) as caught:
        settings.load(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)
