"""What is committed is what the sources compile to."""

from __future__ import annotations

import time
from pathlib import Path

import yaml

from pipelines import dedpo, readmes


def test_the_committed_yaml_is_a_fresh_compile(tmp_path: Path) -> None:
    begun = time.monotonic()
    dedpo.compile_to(tmp_path / "dedpo.yaml")
    assert time.monotonic() - begun < 5
    assert (tmp_path / "dedpo.yaml").read_bytes() == dedpo.YAML.read_bytes(), "run 'make compile' and commit"


def test_the_committed_readmes_are_fresh() -> None:
    for folder, own in readmes.stages():
        found = (folder / "README.md").read_text(encoding="utf-8")
        assert found == readmes.render(folder.name, own), "run 'make compile' and commit"


def test_every_parameter_is_described_and_there_are_few() -> None:
    spec = next(yaml.safe_load_all(dedpo.YAML.read_text()))
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert len(parameters) < 20
    assert all(len(p["description"]) > 20 for p in parameters.values())


def test_every_stage_runs_as_non_root_in_the_given_image_and_installs_nothing() -> None:
    spec, platform = yaml.safe_load_all(dedpo.YAML.read_text())
    executors = spec["deploymentSpec"]["executors"]
    contexts = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    tasks = {name: e["container"] for name, e in executors.items() if "container" in e}
    assert len(tasks) >= 10
    for name, container in tasks.items():
        assert container["image"] == "{{$.inputs.parameters['pipelinechannel--image']}}"
        assert "pip install" not in " ".join(container["command"])
        assert contexts[name]["securityContext"] == {"runAsNonRoot": True}


def test_networked_stages_are_tried_again_and_the_key_is_a_secret_by_name() -> None:
    text = dedpo.YAML.read_text()
    assert text.count("maxRetryCount: 3") == 3
    assert text.count("envVar: OPENAI_API_KEY") == 2, "of the annotator and of the judge"
    assert "componentInputParameter: pipelinechannel--secret" in text
