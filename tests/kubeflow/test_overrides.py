"""Overrides as one JSON text, and a params file as parameters and overrides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedpo.contract.config import Config
from dedpo.errors import UserError
from dedpo.kubeflow import offline, overrides, submit
from dedpo.kubeflow.parameters import Request

REPOSITORY = Path(__file__).parent.parent.parent


def test_dotted_and_nested_are_the_same() -> None:
    nested = overrides.read('{"train": {"steps": 3.0, "lora": {"rank": 4}}, "sample.seeds": [4.0]}')
    assert nested == {"train.steps": 3, "train.lora": {"rank": 4}, "sample.seeds": [4]}
    config, problems = overrides.resolve(nested, {"train.base": "a/b", "label.base_url": None})
    assert problems == []
    assert (config.train.steps, config.sample.seeds, config.train.base, config.label.base_url) == (3, [4], "a/b", None)
    assert isinstance(config.train.steps, int)
    assert config.train.lora is not None
    assert overrides.read("") == overrides.read(" {} ") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'a': 1}", "no JSON at line 1, column 2 (near '{'a': 1}')"),
        ('{\n"a": 1,\n}', "no JSON at line "),
        ("[]", "[] is no object"),
        ("5", "5 is no object"),
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ('{"train.steps": 1, "train": {"steps": 2}}', "'train.steps' is given twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_object_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        overrides.read(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("overrides: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train.stepz": 3}, "unknown key 'train.stepz'; did you mean 'steps'"),
        ({"trian.steps": 3}, "unknown key 'trian'; did you mean 'train'"),
        ({"train.steps": 3.5}, "train.steps"),
        ({"train.base": "x"}, "'train.base' has a parameter of its own"),
        ({"train": 5}, "train: "),
        ({"seeds.x.y": 2}, "seeds"),
    ],
)
def test_each_wrong_override_is_a_problem(given: dict[str, Any], message: str) -> None:
    config, problems = overrides.resolve(given | {"train.beta": 7}, {"train.base": "a/b"})
    assert len(problems) == 1
    assert message in problems[0]
    assert config.train.beta == 7, "the others hold"


@settings(max_examples=50)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.dictionaries(st.text(), x)))
def test_whatever_json_comes_is_settings_or_a_users_error(tree: Any) -> None:
    told: list[str] = []
    try:
        told = overrides.resolve(overrides.read(json.dumps(tree)), {})[1]
    except UserError as error:
        told = [str(error)]
    assert not any("\n" in line for line in told)


def test_a_params_file_becomes_parameters_and_differences() -> None:
    parameters, rest = overrides.of_file(REPOSITORY / "params.yaml")
    assert parameters["base"] == "models/shapes-sd", "the pipeline's own default is another one"
    assert (parameters["annotator"], parameters["judge"], parameters["seed"]) == ("biased-vlm", "shapes-judge", 0)
    assert "annotator_url" not in parameters
    assert not {"judge.base_url", "score.oracle_url"} & rest.keys(), "the world that a stage starts is on one machine"
    assert rest["train.steps"] == 200
    assert not {"train.snapshots", "sample.snapshots"} & rest.keys(), "the pipeline draws none"
    assert not any(key.startswith(("world.", "plan.", "label.model")) for key in rest)
    fixed = {"train.base": parameters["base"], "label.model": "biased-vlm", "arms": parameters["arms"]}
    config, problems = overrides.resolve(overrides.read(json.dumps(rest)), fixed)
    assert problems == []
    there = overrides.config.load(REPOSITORY / "params.yaml").train
    assert config.train == there.model_copy(update={"snapshots": 0})


def test_a_file_without_settings_sends_none(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("train:\n  steps: 1000\n")
    assert overrides.of_file(tmp_path / "params.yaml") == ({}, {})
    (tmp_path / "params.yaml").write_text("seeds: [0, 1]\n")
    with pytest.raises(UserError, match="one run of the pipeline has one"):
        overrides.of_file(tmp_path / "params.yaml")


def test_what_is_given_comes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("train: {base: team/model, steps: 7, beta: 2}\nseeds: [4]\n")
    given = ["source=world:200", "prompts=prompts-test.txt", "seed=5", 'overrides={"train": {"beta": 3}}']
    name, values = submit.arguments(REPOSITORY / "pipelines" / "dedpo.yaml", given, tmp_path / "params.yaml")
    assert name == "dedpo"
    assert json.loads(values.pop("overrides")) == {"train.steps": 7, "train.beta": 3}
    assert values == {"source": "world:200", "prompts": "prompts-test.txt", "base": "team/model", "seed": 5}
    with pytest.raises(UserError, match=r"unknown key 'train.stepz'; did you mean 'steps'\?"):
        submit.arguments(REPOSITORY / "pipelines" / "dedpo.yaml", [*given[:3], 'overrides={"train.stepz": 3}'])


def run(**changes: Any) -> Request:
    given = {
        "source": "s3://bucket/pairs", "prompts": "prompts.txt", "annotator": "vlm", "annotator_url": "http://x/v1",
        "labels": "", "judge": "", "base": "/image/model", "arms": ["dedpo_tuned"], "baselines": True,
        "primary": "dedpo_tuned", "seed": 0, "overrides": "{}", "secret": "dedpo-keys", "image": "dedpo:1",
        "train_image": "dedpo-train:1", "label_image": "dedpo-label:1", "gpus": 0, "gpu_pool": {},
        "revision": "",
    }  # fmt: skip
    return Request(**given | changes)


def test_the_offline_part_asks_nobody() -> None:
    offline.check(run())
    offline.check(run(base="team/model"))
    offline.check(run(source="git@host:team/repo.git@v1:data"))
    with pytest.raises(UserError, match=r"3 problems: \(1\) overrides: unknown key.*\(2\) .*vLLM runs.*\(3\) prompts:"):
        offline.check(run(overrides='{"train.stepz": 1}', annotator_url="", prompts="/etc/passwd"))
    with pytest.raises(UserError, match="secret: empty; Kubeflow starts no task with it"):
        offline.check(run(secret=""))
    with pytest.raises(UserError, match="unknown scheme 'http'"):
        offline.check(run(source="http://host/pairs"))


def test_stages_are_the_settings_sections() -> None:
    assert set(overrides.STAGES) <= set(Config.model_fields)
