"""YAML 1.2, as DVC reads params.yaml: `no` is a text, 1e-7 a number, 010 is ten, and a key stands once."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError


class _Constructor(SafeConstructor):
    """Without dates: no setting is one, and a model's name may look like one."""


for tag in ("timestamp", "value"):
    _Constructor.add_constructor(f"tag:yaml.org,2002:{tag}", SafeConstructor.construct_yaml_str)


def parse(text: str) -> Any:
    """The value of a text, of which nothing is run; None for an empty one.

    Raises:
        ValueError: no YAML, or a key that stands twice; says where, in one line.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(" ".join(f"{where}{error.problem or error.context}".split())) from None
    except YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # Ill-formed numbers and dates of its own tags.
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"no value ({error})") from None
