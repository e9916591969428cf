"""The settings of the stages after training: pictures, scores, judgements, the report and what follows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dedpo.contract.model_names import CLIP, JUDGE, PICKSCORE, PICKSCORE_PROCESSOR
from dedpo.contract.sections.base import Arm, Metric, Section


class SampleConfig(Section):
    """Pictures of every policy from the same initial noise (`dedpo sample`)."""

    prompts: str = "outputs/world/prompts-validation.txt"
    """A text file, one prompt a line."""
    snapshots: list[Arm] | None = None
    """The arms of which train.snapshots are drawn; null: all that have them."""
    validation_prompts: str | None = None
    """A text file of other prompts, on which, at the first seed, each arm's best step is chosen; null: none is."""
    seeds: list[int] = Field([0, 1], min_length=1)
    steps: int = Field(20, ge=1)
    """DPM-Solver++ steps."""
    guidance: float = Field(7.5, ge=1)
    """Classifier-free guidance scale."""
    resolution: int | None = Field(None, ge=8, multiple_of=8)
    """Side of the pictures in pixels; null: train.resolution, else the base's own size."""
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    """Autocast precision of the UNet; null: train.precision. The VAE runs in fp32."""
    variant: str | None = None
    """Which of the reference's weight files; null: train.variant."""
    vae: str | None = None
    """Another VAE (folder or hub id) for every model; null: train.vae, else each one's own."""
    batch_size: int = Field(8, ge=1)
    """Pictures at a time on a GPU, where another number may change last bits; the CPU takes 16 whatever this is."""
    device: Literal["auto", "cpu", "cuda"] = "auto"


class ScoreConfig(Section):
    """Metrics of the samples (`dedpo score`). Weights are named by a folder or file here, or by hub id."""

    metrics: list[Metric] = Field(["pickscore", "clipscore"], min_length=1)
    """What to measure: human_oracle and adherence at the endpoint `oracle_url`, the others by models that run here."""
    oracle_url: str | None = None
    """A scoring endpoint that answers POST /v1/score; null: $DEDPO_ORACLE_URL; world: the embedded one, started by the
    stage."""
    concurrency: int = Field(8, ge=1)
    timeout: float = Field(60.0, gt=0)
    """Seconds for one request."""
    max_wait: float = Field(1200.0, ge=0)
    """Seconds that a busy endpoint (429, 503) may go without any answer before the scoring is given up."""
    clipscore_model: str = CLIP
    """clipscore: a transformers CLIPModel with its tokenizer and image processor."""
    pickscore_model: str = PICKSCORE
    """pickscore: a transformers CLIPModel."""
    pickscore_processor: str = PICKSCORE_PROCESSOR
    """pickscore: its tokenizer and image processor."""
    aesthetic_model: str = CLIP
    """aesthetic: the CLIPModel whose image embedding the head reads."""
    aesthetic_head: str = "camenduru/improved-aesthetic-predictor/sac+logos+ava1-l14-linearMSE.pth"
    """aesthetic: the head's .safetensors or .pth file, or owner/name/file on the hub."""
    hpsv2_model: str = "xswu/HPSv2"
    """hpsv2.0, hpsv2.1: where the published .pt files are, or a CLIPModel folder that was converted from one."""
    hpsv2_base: str = PICKSCORE_PROCESSOR
    """hpsv2.0, hpsv2.1: architecture and tokenizer (its weights are not loaded)."""
    trusted_sha256: list[str] = Field([])
    """SHA-256 of .pt and .pth files that may be opened; that of the published aesthetic head is known already."""
    batch_size: int = Field(32, ge=1)
    """Pictures at a time, in the models that run here."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the models that run here; the halves need CUDA."""


class JudgeConfig(Section):
    """A judge behind Gemini's API, for evaluation only (`dedpo judge`)."""

    base_url: str | None = None
    """Where the judge answers; null: $GEMINI_BASE_URL, else Google. Key: $GEMINI_API_KEY, else $GOOGLE_API_KEY.
    world: the embedded world's, started by the stage."""
    model: str | None = Field(JUDGE, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The model's name there; it becomes the judge's name. null: no judge, and the report goes without verdicts."""
    rivals: list[Arm | Literal["reference"]] = Field(["dpo_synthetic", "dpo_human", "reference"], min_length=1)
    """Whom the primary arm is compared with; arms that the run does not have are left out."""
    prompts: int = Field(200, ge=1)
    """How many prompts to draw by `seed`, one picture of each model for every one; all, if there are fewer."""
    seed: int = Field(0, ge=0)
    """Seed of the drawn prompts and of which picture is shown first."""
    thinking_budget: int | None = Field(0, ge=-1)
    """Tokens of thought before an answer: 0 none, -1 as the model likes, null not sent; thoughts are billed."""
    thinking_level: Literal["minimal", "low", "medium", "high"] | None = None
    """How much a model thinks that takes a level and no budget (Gemini 3); sent instead of the budget, if set."""
    price_input: float = Field(0.30, ge=0)
    """US dollars for a million tokens sent (ai.google.dev/gemini-api/docs/pricing: gemini-2.5-flash)."""
    price_output: float = Field(2.50, ge=0)
    """US dollars for a million tokens answered, thoughts included."""
    concurrency: int = Field(8, ge=1)
    """Requests in flight."""
    max_wait: float = Field(1200.0, ge=0)
    """Seconds that a busy endpoint (429, 503) may go without any answer before the run is given up."""
    max_retries: int = Field(6, ge=0)
    """Retries of one request on 408, 500, 504 and lost connections, after 1, 2, 4, … s."""
    timeout: float = Field(120.0, gt=0)
    """Seconds for one request."""
    max_failures: float = Field(0.05, ge=0, le=1)
    """Share of comparisons without a verdict above which the stage fails (what was answered is kept)."""


class ReportConfig(Section):
    """The page that answers (`dedpo report`)."""

    metric: str = "pickscore"
    """The metric on which the answer and the win rates rest."""
    grid_prompts: int = Field(6, ge=1)
    """Prompts in the picture grid."""


class PromoteConfig(Section):
    """What a policy must show to be promoted (`dedpo promote`), on the report's metric."""

    over: list[Arm | Literal["reference"]] = Field(["reference"], min_length=1)
    """Whom the primary arm must beat."""
    min_gain: float = 0.0
    """The lower end of each difference's interval must lie above this."""
    not_worse: list[Arm] | None = None
    """Arms than which the primary must not be proven worse; null: every one that was trained."""
    min_win_rate: float | None = Field(None, ge=0, le=1)
    """The lower end of the judge's overall win rate against each of them must reach this; null: not asked."""
    max_loss: dict[Metric, float] = Field({})
    """Other metric → what may be lost on it: the lower end of each difference must lie above minus this."""
