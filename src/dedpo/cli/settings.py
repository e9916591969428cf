"""The settings shown with their meaning, and overrides written into the params file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from rich.table import Table

from dedpo import disk, redact
from dedpo.contract import config as settings
from dedpo.contract import yaml_text
from dedpo.contract.config import Config
from dedpo.terminal import console


def show(config: Config) -> None:
    """Print every key with its value and its meaning."""
    table = Table("key", "value", "meaning", header_style="bold")
    for key, value, meaning in _rows(config, ""):
        table.add_row(key, redact.text(str(value)), meaning)
    console().print(table)


def _rows(section: BaseModel, prefix: str) -> Iterator[tuple[str, object, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, " ".join((field.description or "").split())


def write(path: Path, overrides: list[str]) -> None:
    """Write overrides such as 'seeds=[0,1,2]' into a params file; its comments and order stay.

    Raises:
        UserError: the file is missing or wrong, or an override is not a valid setting.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    settings.load(path, overrides)
    yaml = YAML()
    yaml.width = 120
    # By itself ruamel.yaml writes null as nothing at all.
    yaml.representer.add_representer(type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null"))
    tree = yaml.load(path)
    # Of a file of comments alone nothing is loaded that could keep them.
    comments = path.read_text(encoding="utf-8") if tree is None else ""
    tree = CommentedMap() if tree is None else tree
    for item in overrides:
        key, _, text = item.partition("=")
        value = yaml_text.parse(text)
        if isinstance(value, list):
            value = yaml.seq(value)
            value.fa.set_flow_style()
        settings.put(tree, key, value)
    path = path.resolve()  # a link stays one
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(f"{comments.rstrip()}\n" if comments else "")
        yaml.dump(tree, file)
    shutil.copymode(path, temporary)
    disk.replace(temporary, path)
