"""Which models the asked metrics need: metrics on the same model share one loading and one embedding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

import dedpo
from dedpo.contract import model_names
from dedpo.contract.model_names import check_name
from dedpo.contract.sections import Metric, ScoreConfig
from dedpo.errors import UserError

ORACLE: Final[tuple[Metric, ...]] = ("human_oracle", "adherence")
HPSV2_FILES: Final[dict[Metric, str]] = {"hpsv2.0": "HPS_v2_compressed.pt", "hpsv2.1": "HPS_v2.1_compressed.pt"}


@dataclass(frozen=True)
class Model:
    """One CLIP model that runs here.

    Attributes:
        weights: a transformers folder or hub id; for HPSv2 also a published file, see `weights.locate`.
        processor: folder or hub id of tokenizer and image processor; for a published file of the architecture, too.
        is_hpsv2: pictures are prepared HPSv2's way.
        place, processor_place: the settings that name the two, for messages.
    """

    weights: str
    processor: str
    is_hpsv2: bool = False
    place: str = field(default="", compare=False)
    processor_place: str = field(default="", compare=False)

    @property
    def is_file(self) -> bool:
        """Whether `weights` is one file in open_clip's naming rather than a transformers folder or hub id."""
        return self.weights.endswith((".pt", ".pth"))


def oracle_metrics(config: ScoreConfig) -> list[Metric]:
    """The asked metrics that the endpoint answers."""
    return [m for m in ORACLE if m in config.metrics]


def models(config: ScoreConfig) -> dict[Model, list[Metric]]:
    """Each model that must run here, with the asked metrics that it serves.

    Raises:
        UserError: weights are named by a path where nothing is, or one folder would have to be both HPSv2 versions.
    """
    found: dict[Model, list[Metric]] = {}
    for metric in config.metrics:
        if metric not in ORACLE:
            model = _model(metric, config)
            check_name(model.weights, model.place)
            check_name(model.processor, model.processor_place)
            found.setdefault(model, []).append(metric)
    for model, metrics in found.items():
        if model.is_hpsv2 and len(metrics) > 1:
            raise UserError(
                f"{model.place}: {model.weights} is one CLIPModel and cannot be {' and '.join(metrics)}; ask for one "
                "of them in score.metrics, or name the folder with the published .pt files"
            )
    return found


def _model(metric: Metric, config: ScoreConfig) -> Model:
    match metric:
        case "clipscore":
            both, place = config.clipscore_model, "score.clipscore_model"
            return Model(both, both, False, place, place)
        case "pickscore":
            weights, processor = config.pickscore_model, config.pickscore_processor
            return Model(weights, processor, False, "score.pickscore_model", "score.pickscore_processor")
        case "aesthetic":
            both, place = config.aesthetic_model, "score.aesthetic_model"
            return Model(both, both, False, place, place)
        case _:
            weights, place = config.hpsv2_model, "score.hpsv2_model"
            if (Path(weights) / "config.json").is_file():
                return Model(weights, weights, True, place, place)
            name, revision = model_names.model(weights)
            file = f"{name}/{HPSV2_FILES[metric]}" + (f"@{revision}" if revision else "")
            return Model(file, config.hpsv2_base, True, place, "score.hpsv2_base")


def identity(config: ScoreConfig, metric: Metric, weights: Mapping[str, object]) -> dict[str, object]:
    """What makes two measurements of one picture the same, but for round-off.

    Args:
        weights: what is known of the content of each of `named_models`.
    """
    if metric in ORACLE:
        # An oracle has no name but its address. One that the environment gives may move, as a server's port does.
        return {"oracle": config.oracle_url}
    model = _model(metric, config)
    names = [model.weights, model.processor, *([config.aesthetic_head] if metric == "aesthetic" else [])]
    # transformers prepares the pictures, and dedpo has the formulas.
    versions = {"dedpo": dedpo.__version__, "transformers": _transformers()}
    return {"weights": [weights[name] for name in names], "precision": config.precision, **versions}


def _transformers() -> str | None:
    try:
        return metadata.version("transformers")
    except metadata.PackageNotFoundError:  # told, with the remedy, where it is needed
        return None


def named_models(config: ScoreConfig) -> dict[str, str | None]:
    """Every file, folder or hub id that decides the scores of models that run here, by a name for the manifest."""
    return {name: name for name in _names(config)}


def _names(config: ScoreConfig) -> Iterator[str]:
    for model in models(config):
        yield model.weights
        yield model.processor
    if "aesthetic" in config.metrics:
        yield config.aesthetic_head
