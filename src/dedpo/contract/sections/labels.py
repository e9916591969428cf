"""The settings of the data, of people's and annotators' labels, and of what is learnt from them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dedpo.contract.model_names import ANNOTATOR
from dedpo.contract.request_fields import RequestFields
from dedpo.contract.sections.base import Section


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


class LabelConfig(Section):
    """An annotator behind an OpenAI-compatible endpoint (`dedpo label`)."""

    base_url: str | None = None
    """Where the annotator answers, such as http://127.0.0.1:8000/v1; null: $OPENAI_BASE_URL. Key: $OPENAI_API_KEY.
    world: the embedded world's, started by the stage."""
    model: str = ANNOTATOR
    """The model's name at that endpoint; it becomes the annotator's name."""
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
