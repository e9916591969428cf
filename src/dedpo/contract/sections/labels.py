"""The settings of the data, of people's and annotators' labels, and of what is learnt from them."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from dedpo.contract.model_names import ANNOTATOR, CLIP, PICKSCORE, PICKSCORE_PROCESSOR
from dedpo.contract.request_fields import RequestFields
from dedpo.contract.sections.base import Section

Kind = Literal["endpoint", "clip", "score", "flip", "file"]
# What a kind means where no model is named.
MODELS: Final[dict[Any, dict[str, str]]] = {
    "clip": {"model": CLIP},
    "score": {"model": PICKSCORE, "processor": PICKSCORE_PROCESSOR},
}
# Settings that would do nothing for another kind.
OF_KINDS: Final = {
    "processor": ("clip", "score"), "temperature": ("clip", "score"), "path": ("file",), "columns": ("file",),
    "values": ("file",),     "share": ("flip",), "seed": ("flip",), "control": ("flip",),
}  # fmt: skip


class WorldConfig(Section):
    """The embedded world's pairs (`dedpo world pairs`)."""

    pairs: int = Field(2000, ge=2)
    """How many pairs to render."""
    seed: int = Field(0, ge=0)
    """Seed of the renders and of the human's choices."""


class DataConfig(Section):
    """Import of pairs in any layout (`dedpo data import`) and what a run sees of its ratings (`dedpo data split`)."""

    holdout: float = Field(0.1, ge=0, lt=1)
    """Share of the prompts whose pairs are never trained on; their human ratings measure implicit accuracy."""
    labelled: float | None = Field(0.25, gt=0)
    """Human-labelled training pairs: a share in (0, 1], or a count from 2 up; null: those of answered rounds alone."""
    max_pixels: int = Field(40_000_000, ge=1)
    """Images with more pixels are set aside undecoded."""
    shard_rows: int = Field(1000, ge=1)
    """Most pairs in one Parquet shard; the first ones are smaller, so that appended pairs move little."""
    sides_seed: int = Field(0, ge=0)
    """Seed of the sides on which images come whose columns say which is the better one (chosen and rejected)."""
    clip_model: str | None = None
    """A transformers CLIPModel (folder or hub id) whose embeddings join the pairs' features; null: image statistics."""


class SelectConfig(Section):
    """The next pairs for humans (`dedpo data select`)."""

    design: Literal["rectifier", "uniform", "again"] = "rectifier"
    """Training pairs by the expected size of z − ĝ, or all alike; 'again': second opinions on pairs already seen."""
    budget: int = Field(200, ge=1, le=1_000_000)
    """How many pairs are chosen, exactly."""
    uniform_share: float = Field(0.2, gt=0, le=1)
    """Of 'rectifier': the share of the draw that is uniform, against an annotator that is wrong and sure of it."""
    seed: int = Field(0, ge=0)
    """Seed of the draw and of the orders shown; the round's name joins it."""
    image_prefix: str = Field("/data/local-files/?d=images/", min_length=1)
    """What stands before an image's file name in Label Studio's tasks; 'embed': the images lie in the tasks."""


class AnnotatorConfig(Section):
    """One annotator: what it is, whom or what it asks, and what its labels are called."""

    kind: Kind = "endpoint"
    """endpoint: a model behind the OpenAI protocol; clip: image–text similarity; score: a scorer trained on human
    preferences; flip: people's ratings with a share turned round, a control; file: preferences computed elsewhere."""
    name: str | None = Field(None, min_length=1)
    """The annotator's name in the labels; null: the model's, the file's, or 'flip'."""
    base_url: str | None = None
    """Where the annotator answers, such as http://127.0.0.1:8000/v1; null: $OPENAI_BASE_URL. Key: $OPENAI_API_KEY.
    world: the embedded world's, started by the stage."""
    model: str = ANNOTATOR
    """The model's name at that endpoint; of clip and score a transformers CLIPModel, a folder or hub id."""
    template: Literal["pairwise-v1"] = "pairwise-v1"
    """Which question is put (label/templates.py)."""
    concurrency: int = Field(16, ge=1)
    """Requests in flight."""
    max_retries: int = Field(4, ge=0)
    """Retries of one request on 408, 409, 500, 504 and lost connections, with growing pauses."""
    max_wait: float = Field(1200.0, ge=0)
    """Seconds without any answer for which a busy endpoint (429, 503, loading) is waited for."""
    timeout: float = Field(120.0, gt=0)
    """Seconds for one request."""
    max_failures: float = Field(0.05, ge=0, le=1)
    """Share of pairs without an answer above which the stage fails (what was answered is kept)."""
    request: RequestFields = Field({})
    """Fields of the request beside ours, such as {max_completion_tokens: 4000}; null: do not send it."""
    processor: str | None = None
    """Of clip and score: where tokenizer and image processor are, if not beside the model."""
    temperature: float = Field(1.0, gt=0)
    """Of clip and score: the preference is σ(difference of the model's logits / temperature)."""
    path: str | None = None
    """Of file: a CSV or Parquet with a preference for each pair."""
    columns: dict[Literal["pair_id", "prompt", "image_0", "image_1", "preference"], str] = Field({})
    """Of file: its columns where they have other names, such as {preference: choice}; several shares with commas."""
    values: dict[Literal["first", "second", "tie", "unrated"], str] = Field({})
    """Of file: what its values mean, such as {first: a, second: b}; with commas between."""
    share: float = Field(0.2, ge=0, le=1)
    """Of flip: the share of the ratings that is turned round."""
    seed: int = Field(0, ge=0)
    """Of flip: which ones."""
    control: bool = False
    """Of flip: true says that its labels are made of people's and serve a comparison alone."""

    @property
    def annotator(self) -> str:
        """The name in the labels."""
        if self.name is not None:
            return self.name
        return PurePath(self.path or "").stem if self.kind == "file" else "flip" if self.kind == "flip" else self.model

    @model_validator(mode="before")
    @classmethod
    def _usual_model(cls, tree: Any) -> Any:
        """The model that a kind means where none is named."""
        kind = tree.get("kind") if isinstance(tree, dict) else None
        usual = MODELS.get(kind, {}) if isinstance(kind, str) else {}
        return tree if not usual or "model" in tree else usual | tree

    @model_validator(mode="after")
    def _complete(self) -> AnnotatorConfig:
        if not getattr(self, "annotators", None):
            self._check()
        return self

    def _check(self) -> None:
        for name, kinds in OF_KINDS.items():
            value = getattr(self, name)
            if self.kind not in kinds and value != type(self).model_fields[name].default:
                raise ValueError(f"{name} is for kind {' or '.join(kinds)}, and this annotator's kind is {self.kind}")
        if self.kind == "file" and not self.path:
            raise ValueError("kind file needs its path, a CSV or Parquet with a preference for each pair")
        if self.kind == "flip" and not self.control:
            raise ValueError(
                "kind flip makes labels of people's ratings, which a run may not see: it is a control for experiments; "
                "say so with control: true"
            )


class LabelConfig(AnnotatorConfig):
    """Who labels (`dedpo label`): one annotator, described here, or several side by side."""

    annotators: list[AnnotatorConfig] = Field([])
    """Several annotators, each a section like this one; what one leaves out is as here, if its kind is this one's."""

    @property
    def each(self) -> list[AnnotatorConfig]:
        """The annotators, in order."""
        return [*self.annotators] or [self]

    @property
    def endpoints(self) -> list[AnnotatorConfig]:
        """Those behind the OpenAI protocol."""
        return [one for one in self.each if one.kind == "endpoint"]

    @property
    def needs_ratings(self) -> bool:
        """Whether labels are made of people's ratings."""
        return any(one.kind == "flip" for one in self.each)

    @property
    def served(self) -> list[str]:
        """The models of endpoints without an address: where nobody else serves them, a label task's own server does."""
        return list(dict.fromkeys(one.model for one in self.endpoints if not one.base_url))

    @model_validator(mode="before")
    @classmethod
    def _inherited(cls, tree: Any) -> Any:
        """Give each of several annotators what it leaves out."""
        if not isinstance(tree, dict) or not isinstance(tree.get("annotators"), list):
            return tree
        return tree | {"annotators": [_with_own(tree, one) for one in tree["annotators"]]}

    @model_validator(mode="after")
    def _distinct(self) -> LabelConfig:
        names = [one.annotator for one in self.annotators]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two annotators are called '{twice}'; give one of them another name")
        return self


def _with_own(section: dict[str, Any], one: Any) -> Any:
    if not isinstance(one, dict):
        return one
    known = {n: v for n, v in section.items() if n in AnnotatorConfig.model_fields and n != "name"}
    if one.get("kind", kind := known.get("kind", "endpoint")) != kind:
        known = {n: v for n, v in known.items() if n == "max_failures"}
    return known | one


class BiasConfig(Section):
    """Where the annotator differs from people (`dedpo bias`)."""

    min_support: int = Field(10, ge=1)
    """A word is tested if so many prompts have it, and as many have it not."""
    permutations: int = Field(10_000, ge=100)
    """Of the prompts, in the words' test; more are made where there are too many words for so few."""
    bootstrap: int = Field(2000, ge=100)
    """Draws of prompts for the intervals."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """A word or property is flagged if its p-value is at most this after Benjamini–Hochberg."""
    seed: int = Field(0, ge=0)
    """Seed of permutations and bootstrap."""
    workspace: str = "outputs/evidently"
    """The Evidently workspace that each run is added to; `dedpo dashboard` shows it."""
    annotator: str | None = None
    """Whose labels are compared where several have labelled; null: the mean of all."""


class GateConfig(Section):
    """Whether the annotator is good enough to train on (`dedpo gate`); null: not asked."""

    min_agreement: float | None = Field(0.5, ge=0, le=1)
    """Its agreement with people: the upper end of the interval must reach this, so that only a proven miss fails."""
    max_position_bias: float | None = Field(None, ge=0, le=1)
    """By how much its answer may move on average when the images change places."""
    min_answered: float | None = Field(0.9, ge=0, le=1)
    """Share of the pairs that it has answered."""


class TargetsConfig(Section):
    """The two numbers a pair (`dedpo targets`)."""

    power: float | None = Field(None, ge=0, le=1)
    """λ of the tuned arms; null: estimated from the labelled pairs."""
    regime: Literal["probe", "reference"] = "probe"
    """Where λ is estimated: at the residuals of a probe (right near the end of training) or at the reference."""
    calibrate: bool = False
    """Replace the annotator's preference by a cross-fitted E[z | ĝ] first: isotonic for many labels, Platt for few."""
    flip_rate: float | None = Field(None, ge=0, lt=0.5)
    """ε of cdpo and rdpo, the share of wrong choices; null: 1 − accuracy on the labelled pairs."""
    seed: int = Field(0, ge=0)
    """Seed of the folds of probe, calibration and the annotators' combination."""


class PlanConfig(Section):
    """What the next label is worth (`dedpo plan`)."""

    target: float = Field(2.0, gt=0, le=10_000_000)
    """Effective human labels to reach: a count above 10, or a multiple of today's up to 10."""
    price_human: float = Field(0.10, gt=0)
    """US dollars for one human rating of one pair."""
    price_annotator: float = Field(0.002, ge=0)
    """US dollars for the annotators' answers on one pair: all annotators that are asked, both orders."""
    price_gpu_hour: float = Field(2.50, ge=0)
    """US dollars for a GPU hour."""
    gpu_hours_per_1000_pairs: float = Field(0.5, ge=0)
    """GPU hours to draw, encode and train on 1,000 more pairs."""
    bootstrap: int = Field(1000, ge=100)
    """Draws of prompts for the intervals."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap."""
