"""Every setting of a run: the sections together, mirrored by params.yaml, and how they are read.

Unknown keys are refused with the nearest right name. A whole number written as a float (10.0, as Kubeflow hands
them over) is an int; 10.5 is not.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from dedpo import redact
from dedpo.contract import yaml_text
from dedpo.contract.sections import (
    Arm,
    BiasConfig,
    DataConfig,
    GateConfig,
    JudgeConfig,
    LabelConfig,
    PlanConfig,
    PromoteConfig,
    ReportConfig,
    SampleConfig,
    ScoreConfig,
    Section,
    SelectConfig,
    TargetsConfig,
    TrainConfig,
    WorldConfig,
)
from dedpo.errors import UserError, excerpt

# Settings of 'sample' that are those of 'train' where they are null.
SHARED: Final = ("resolution", "precision", "variant", "vae")


class Config(Section):
    """A whole run."""

    seeds: list[int] = Field([0], min_length=1)
    """One draw of the labelled subset and one training of every arm for each."""
    arms: list[Arm] = Field(["dpo_human", "dpo_synthetic", "dedpo_tuned"], min_length=1)
    """The arms to compare; 'reference', the untouched base model, is always among the methods."""
    primary: Arm = "dedpo_tuned"
    """The arm that the report's answer is about, named before the results are seen."""
    world: WorldConfig = WorldConfig()
    data: DataConfig = DataConfig()
    select: SelectConfig = SelectConfig()
    label: LabelConfig = LabelConfig()
    bias: BiasConfig = BiasConfig()
    gate: GateConfig = GateConfig()
    targets: TargetsConfig = TargetsConfig()
    plan: PlanConfig = PlanConfig()
    train: TrainConfig = TrainConfig()
    sample: SampleConfig = SampleConfig()
    score: ScoreConfig = ScoreConfig()
    judge: JudgeConfig = JudgeConfig()
    report: ReportConfig = ReportConfig()
    promote: PromoteConfig = PromoteConfig()

    @model_validator(mode="after")
    def _told(self) -> Config:
        """Let sampling draw what training was told to make, unless it is told otherwise."""
        told = {name: getattr(self.train, name) for name in SHARED if getattr(self.sample, name) is None}
        # Settings are frozen; this is the last step of their making.
        object.__setattr__(self, "sample", self.sample.model_copy(update=told))
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        distinct: dict[str, Sequence[Any]] = {
            "seeds": self.seeds,
            "arms": self.arms,
            "sample.seeds": self.sample.seeds,
            "score.metrics": self.score.metrics,
            "judge.rivals": self.judge.rivals,
            "promote.over": self.promote.over,
        }
        for name, values in distinct.items():
            if len(set(values)) < len(values):
                raise ValueError(f"{name} holds a value twice: {values}")
        if self.primary not in self.arms:
            raise ValueError(
                f"primary '{self.primary}' is not among the arms {list(self.arms)}; add it or name another"
            )
        return self


def load(path: Path | None, overrides: list[str] | None = None) -> Config:
    """Read a params file (None: the defaults) and apply overrides such as 'train.beta=2000' (values are YAML).

    Raises:
        UserError: no such file, no YAML, an unknown key or a value out of range; names the key and the place.
    """
    tree = _read_yaml(path) if path is not None else {}
    for item in overrides or []:
        _override(tree, item)
    place = str(path) if path is not None else "the settings"
    found = check(tree, place)
    for key, value in _texts(found.model_dump()):
        if redact.without_userinfo(value) != value:
            raise UserError(
                f"{place}: {key}: holds a user name or password, and settings are kept with what they made; keys come "
                "from the environment, such as $OPENAI_API_KEY and $GEMINI_API_KEY"
            )
    return found


def _texts(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each text among nested settings, with its name."""
    for name, value in tree.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping):
                yield from _texts(one, f"{prefix}{name}.")
            elif isinstance(one, str):
                yield f"{prefix}{name}", one


def keys(path: Path) -> set[str]:
    """The settings that a params file sets, such as 'train.beta'.

    Raises:
        UserError: no such file, or no YAML.
    """
    tree = _read_yaml(path)
    nested = {f"{k}.{name}" for k, v in tree.items() if isinstance(v, dict) for name in v}
    return nested | {str(k) for k, v in tree.items() if not isinstance(v, dict)}


def check(tree: dict[str, Any], place: str) -> Config:
    """The settings in a tree of sections.

    Raises:
        UserError: an unknown key or a value out of range; names the key and `place`.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(explain(error, place, Config)) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml_text.parse(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; name a params file with --config") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid YAML: {excerpt(str(error), 300)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected sections such as 'train:', found {type(tree).__name__}")
    # A section whose every key is commented out is null to YAML.
    return {k: {} if v is None and isinstance(getattr(Config(), str(k), None), Section) else v for k, v in tree.items()}


def _override(tree: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise UserError(f"--set {excerpt(item)}: write it as section.key=value, for example train.beta=2000")
    try:
        put(tree, key, yaml_text.parse(text))
    except ValueError as error:
        quoted = f"""; for a text put it in quotes: --set '{excerpt(key, 60)}="…"'""" if text else ""
        told = f"'{excerpt(text)}' is not a YAML value ({error}){quoted}"
        raise UserError(f"--set {excerpt(item)}: {error if isinstance(error, UserError) else told}") from None


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set one dotted key in a tree of sections; a section that is null or missing is made.

    Raises:
        UserError: what the key is to be put into is a value.
    """
    *path, last = (name.strip() for name in key.split("."))
    for name in path:
        if tree.get(name) is None:
            tree[name] = {}
        tree = tree[name]
        if not isinstance(tree, dict):
            raise UserError(f"'{excerpt(name)}' is a value, not a section")
    tree[last] = value


def explain(error: ValidationError, place: str, root: type[BaseModel]) -> str:
    """The first thing that is wrong with the settings of `root`, in one line."""
    first = error.errors()[0]
    # In a choice of types pydantic names the type as well: 'rivals.0.literal[…]'.
    loc = ".".join(str(p) for p in first["loc"] if isinstance(p, int) or "[" not in p)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key '{excerpt(loc)}'{_nearest(first['loc'], root)}{more}"
    message = first["msg"].removeprefix("Value error, ")
    where = f"{place}: {excerpt(loc)}: " if loc else f"{place}: "
    got = "" if first["type"] == "value_error" else f", got {excerpt(_SHORT.repr(first['input']))}"
    return f"{where}{message[0].lower()}{message[1:]}{got}{_REMEDIES.get(first['type'], '')}{more}"


# A params file may hold a text of any length, or a list that holds itself.
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_REMEDIES: Final = {
    "string_type": '; put a text in quotes: "…"',
    "model_type": "; write its settings below it, one 'key: value' a line",
}


def _nearest(loc: tuple[int | str, ...], root: type[BaseModel]) -> str:
    section = root
    # Of a list's numbers the items' type says nothing.
    for name in (part for part in loc[:-1] if isinstance(part, str)):
        kind = section.model_fields[name].annotation
        # A section that may be null, or of which there are several, is one of the types within.
        section = next(k for k in (kind, *get_args(kind)) if isinstance(k, type) and issubclass(k, BaseModel))
    known = list(section.model_fields)
    close = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known here: {', '.join(known)}"
