"""Settings for one pipeline run: the defaults, the pipeline's parameters, and overrides of the rest as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from dedpo.contract import config
from dedpo.contract.config import Config
from dedpo.contract.sections import WORLD
from dedpo.errors import UserError, excerpt
from dedpo.kubeflow.parameters import PARAMETERS

# Those that the pipeline runs.
STAGES: Final = ("data", "label", "bias", "gate", "targets", "train", "sample", "score", "judge", "report", "promote")
# A folder on this machine means nothing in the cluster, where both are the pipeline's own.
LOCAL: Final = frozenset({"sample.prompts", "sample.validation_prompts", "bias.workspace"})
# The pipeline draws a policy as it ended: weights on the way would cost disk and show nothing.
UNUSED: Final = frozenset({"train.snapshots", "sample.snapshots"})
ENDPOINTS: Final = ("label.base_url", "judge.base_url", "score.oracle_url")


def of_file(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline's parameters that a params file sets, and overrides: what else differs from the defaults.

    Raises:
        UserError: no such file, or a wrong setting, or more than one seed.
    """
    loaded = config.load(path)
    if len(loaded.seeds) > 1:
        raise UserError(f"{path}: seeds {loaded.seeds}: one run of the pipeline has one; submit it once for each seed")
    set_there = config.keys(path)
    told, usual = (flat(settings.model_dump(mode="json")) for settings in (loaded, Config()))
    # The world that a stage starts beside itself: in the cluster it is a deployment with an address.
    told |= {key: None for key in ENDPOINTS if told[key] == WORLD}
    parameters = {name: told[key] for key, name in PARAMETERS.items() if key in set_there and told[key] is not None}
    if "seeds" in set_there:
        parameters["seed"] = loaded.seeds[0]
    elsewhere = LOCAL | UNUSED | PARAMETERS.keys()
    stages = (key for key in told if key.partition(".")[0] in STAGES)
    return parameters, {key: told[key] for key in stages if told[key] != usual[key] and key not in elsewhere}


def read(text: str) -> dict[str, Any]:
    """Overrides from one JSON object, {"train.beta": 2000} or {"train": {"beta": 2000}}; flat, by dotted key.

    Raises:
        UserError: no JSON (names line and column), no object, or one key twice.
    """
    if not text.strip():
        return {}
    try:
        tree = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        near = excerpt(text[max(0, error.pos - 15) : error.pos + 15])
        raise UserError(
            f"overrides: no JSON at line {error.lineno}, column {error.colno} (near '{near}'): {error.msg}; write "
            '{"train.steps": 500}'
        ) from None
    except RecursionError:
        raise UserError('overrides: nested too deeply; write {"train.steps": 500}') from None
    if not isinstance(tree, dict):
        raise UserError(f'overrides: {excerpt(text)} is no object; write {{"train.steps": 500}}')
    return flat(tree)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise UserError(f"overrides: '{excerpt(twice)}' is given twice; keep one")
    return dict(pairs)


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of sections by dotted keys; a setting that is itself an object ('train.lora') stays one.

    Raises:
        UserError: one key both nested and dotted.
    """
    found: dict[str, Any] = {}
    for key, value in _leaves(tree, ""):
        if key in found:
            raise UserError(f"overrides: '{excerpt(key)}' is given twice; keep one")
        found[key] = value
    return found


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and not prefix and "." not in key:
            yield from _leaves(value, f"{key}.")
        else:
            yield f"{prefix}{key}", value


def resolve(given: Mapping[str, Any], parameters: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """The settings of a run, and what is wrong with the overrides: each is judged alone, so that all are named.

    Args:
        given: dotted key → value, as `read` returns.
        parameters: setting → value of the pipeline's parameter, such as {"train.base": …}; None leaves the default.

    Returns:
        the settings without wrong overrides, and a problem in words for each of those.

    Raises:
        UserError: the parameters themselves are wrong.
    """
    fixed = {key: value for key, value in parameters.items() if value is not None}
    problems = []
    kept: dict[str, Any] = {}
    for key, value in given.items():
        try:
            if key in parameters:
                raise UserError(f"overrides: '{key}' has a parameter of its own; set that one")
            check({key: value})
        except UserError as error:
            problems.append(str(error))
        else:
            kept[key] = value
    return check(kept | fixed), problems


def check(values: Mapping[str, Any]) -> Config:
    """The defaults with `values` by dotted key.

    Raises:
        UserError: an unknown key (with the nearest right name) or a value out of range.
    """
    tree: dict[str, Any] = {}
    for key, value in values.items():
        try:
            config.put(tree, key, value)
        except UserError as error:
            raise UserError(f"overrides: '{excerpt(key)}': {error}") from None
    try:
        return config.check(tree, "overrides")
    except UserError as error:
        # A key of JSON may hold line breaks, which one of a params file hardly does.
        raise UserError(excerpt(str(error), 600)) from None
