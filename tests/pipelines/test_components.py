"""Each component's inputs and outputs against the signature of the stage function that it calls."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from kfp.dsl.base_component import BaseComponent

import dedpo.bias.stage
import dedpo.data.stage
import dedpo.decide.gate
import dedpo.decide.promotion
import dedpo.judge.stage
import dedpo.kubeflow.parameters
import dedpo.label.stage
import dedpo.report.stage
import dedpo.sample.stage
import dedpo.score.stage
import dedpo.targets.stage
import dedpo.train.stage
from dedpo.errors import UserError
from dedpo.kubeflow import component, overrides, preflight
from pipelines import readmes

STAGES: dict[str, Callable[..., Any]] = {
    "doctor": dedpo.kubeflow.parameters.Request,
    "import_pairs": dedpo.data.stage.import_pairs,
    "label": dedpo.label.stage.run,
    "merge_labels": dedpo.label.stage.merge,
    "bias": dedpo.bias.stage.run,
    "gate": dedpo.decide.gate.run,
    "targets": dedpo.targets.stage.run,
    "train": dedpo.train.stage.run,
    "sample": dedpo.sample.stage.run,
    "score": dedpo.score.stage.run,
    "judge": dedpo.judge.stage.run,
    "report": dedpo.report.stage.run,
    "promote": dedpo.decide.promotion.run,
}
# Stage argument → the inputs that a component makes it from, where the names differ.
MADE_FROM = {
    "import_pairs": {"layout": set(), "asked": set()},
    "label": {"only": set()},
    "train": {"targets": {"targets", "arm"}, "cache": set()},
    "sample": {"models": {"policies", "base"}, "config": {"settings", "prompts"}, "chosen_among": set()},
    "judge": {"models": {"primary", "arms", "seed"}},
    "report": {"policies": {"records"}, "data": {"imported"}, "targets": {"targets", "seed"}},
    "promote": {"metrics": {"report"}, "policy": {"records", "primary", "seed"}},
}
# What else a component needs: for Kubeflow's cache, the lists of shards, the prompts that lie beside the pairs; how
# labels come about.
EXTRA = {
    "import_pairs": {"revision", "prompts", "pods"},
    "label": {"labelling"},
    "merge_labels": {"given", "labelling"},
}
# More than one call (prepare), another for each kind of source (fetch), or none.
NOT_STAGES = {"fetch", "prepare", "labels_given", "finish", "notify"}
COMPONENTS = {c.python_func.__name__: c for _, own in readmes.stages() for c in own}


def test_every_component_is_a_stage_or_known_not_to_be() -> None:
    assert set(COMPONENTS) == {*STAGES, *NOT_STAGES}


@pytest.mark.parametrize("name", STAGES)
def test_inputs_are_the_stages_arguments(name: str) -> None:
    made = {"config": {"settings"}, "out": set(), "log": set(), **MADE_FROM.get(name, {})}
    arguments = inspect.signature(STAGES[name]).parameters
    expected = set().union(*(made.get(argument, {argument}) for argument in arguments))
    assert set(COMPONENTS[name].component_spec.inputs) == expected | EXTRA.get(name, set())


@pytest.mark.parametrize("name", STAGES)
def test_types_agree(name: str) -> None:
    spec, hints = COMPONENTS[name].component_spec, get_type_hints(STAGES[name])
    for argument, slot in spec.inputs.items():
        if argument in hints and argument not in MADE_FROM.get(name, {}):
            assert slot.type.split("@")[0] in _allowed(hints[argument]), argument
    assert name == "doctor" or any(slot.type.startswith("system.") for slot in spec.outputs.values())


def _allowed(hint: Any) -> set[str]:
    if hint is Path or Path in get_args(hint):
        return {"system.Dataset", "system.Artifact", "system.Model"}
    return {int: {"Integer"}, str: {"String"}, bool: {"Boolean"}}.get(hint, {"List[String]", "List[Artifact]", "Dict"})


@pytest.mark.parametrize("name", COMPONENTS)
def test_bodies_are_thin_and_every_slot_is_described(name: str) -> None:
    function = _function(COMPONENTS[name])
    statements = [n for n in ast.walk(function) if isinstance(n, ast.stmt) and not isinstance(n, ast.ImportFrom)]
    assert len(statements) <= 14, "a component calls its stage and no more"
    spec = COMPONENTS[name].component_spec
    assert all(slot.description for slot in (spec.inputs or {}).values())
    page = readmes.render(name, [COMPONENTS[name]])
    assert "|  |\n" not in page, "a slot without its meaning"


def _function(made: BaseComponent) -> ast.FunctionDef:
    tree = ast.parse(inspect.getsource(made.python_func))
    return next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))


def test_doctor_hands_out_every_section_of_the_plan() -> None:
    given = COMPONENTS["doctor"].component_spec.outputs
    assert set(overrides.STAGES) <= set(given)
    assert list(given) == [*preflight.Plan._fields[1:], *overrides.STAGES], "in the order in which they are returned"


def test_a_users_error_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"), component.reported():
        raise UserError("source: no such folder")
    assert capsys.readouterr().err == "error: source: no such folder\n"
