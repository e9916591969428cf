"""The settings of each stage, a frozen section each; config.py puts them together and reads them."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from dedpo.request_fields import RequestFields

Arm = Literal[
    "sft", "dpo_human", "dpo_all_human", "dpo_synthetic", "dpo_synthetic_split", "cdpo", "rdpo", "dedpo", "dedpo_tuned",
    "dedpo_ipo", "self_training", "self_training_split",
]  # fmt: skip
ARMS: tuple[Arm, ...] = get_args(Arm)
Metric = Literal["human_oracle", "adherence", "clipscore", "pickscore", "aesthetic", "hpsv2.0", "hpsv2.1"]


class Section(BaseModel):
    """A frozen group of settings that refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """True is 1 to Python, and `labelled: true` would be every pair."""
        values = value if isinstance(value, list) else [value]
        if any(isinstance(v, bool) for v in values) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(f"{str(value).lower()} is no value of it; write a number or a text")
        return value


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
    """Where the annotator answers, such as http://127.0.0.1:8000/v1; null: $OPENAI_BASE_URL. Key: $OPENAI_API_KEY."""
    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
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
    request: RequestFields = {}
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


class LoraConfig(Section):
    """Low-rank adapters in place of full fine-tuning; the reference is then the adapter switched off."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(16.0, gt=0)
    """Scale: the adapter's output is multiplied by alpha / rank."""
    modules: list[str] = Field(["to_q", "to_k", "to_v", "to_out.0"], min_length=1)
    """Name endings of the linear layers of the UNet that get one."""


class TrainConfig(Section):
    """Training of one policy (`dedpo train`)."""

    base: str = "models/shapes-sd"
    """The base model, also the reference: a diffusers folder or a hub id (owner/name@revision), SD1.5 or SDXL class."""
    variant: str | None = None
    """Which of the base's weight files, such as 'fp16'; null: the plain ones, if there are. Master weights are fp32."""
    vae: str | None = None
    """Another VAE (folder or hub id), such as madebyollin/sdxl-vae-fp16-fix; null: the base's own. It runs in fp32."""
    beta: float = Field(5000.0, gt=0)
    """β of the logit h = −½ β [(m₁ − ρ₁) − (m₀ − ρ₀)], errors being means over C, H, W."""
    guard: float | None = Field(None, gt=0)
    """Bound g on the logit inside the loss, g·tanh(h/g); null: none."""
    robust_beta: float | None = Field(None, gt=0)
    """β′ of Dr. DPO, −β′ log mean exp(−loss/β′) over the batch; null: the plain mean."""
    learning_rate: float = Field(1e-7, gt=0)
    schedule: Literal["constant", "linear", "cosine", "piecewise_constant"] = "constant"
    """After the warm-up: constant, falling to 0 in a line or half a cosine, or steps as in `schedule_steps`."""
    schedule_steps: dict[int, float] = {}
    """Of piecewise_constant: step number → factor on the learning rate from there on."""
    warmup_steps: int = Field(10, ge=0)
    steps: int = Field(1000, ge=1)
    batch_size: int = Field(128, ge=2)
    """Pairs a step, over all processes and micro-batches."""
    micro_batch: int | None = Field(None, ge=1)
    """Pairs a forward pass in one process, for less memory; null: the process's whole share of the batch."""
    labelled_share: float = Field(0.5, ge=0, le=1)
    """Share of each batch that is drawn from the labelled pairs; importance weights undo it."""
    optimizer: Literal["adamw", "adamw_8bit", "adafactor"] = "adamw"
    """adamw_8bit needs bitsandbytes and a GPU; adafactor has the paper's settings for SDXL."""
    weight_decay: float = Field(1e-2, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Decay of the averaged weights that are saved; null: the last weights are saved."""
    lora: LoraConfig | None = None
    """Train low-rank adapters; null: all of the UNet."""
    resolution: int | None = Field(None, ge=8, multiple_of=8)
    """Images are resized on their shorter side and cropped to this square, in pixels; null: the base's own size."""
    flip: bool = False
    """Mirror a pair's images left to right at every second visit or so; not where prompts say left and right."""
    self_training_threshold: float = Field(0.0, ge=0, lt=1)
    """Self-training arms: a synthetic preference counts if max(ĝ, 1 − ĝ) is at least this: 0 or 0.95 in the paper."""
    self_training_visits: Literal[0, 2] = 2
    """Self-training arms: extra forward passes for ĝ at a fresh (t, ε); 0: σ(h) of the pair's last visit."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Autocast precision; master weights are always fp32; fp16 scales the loss."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: a third slower, far less memory."""
    compile: bool = False
    """torch.compile the UNet (CUDA); policy and reference then agree to round-off only, not to the last bit."""
    share_reference: bool = True
    """Keep the reference's errors beside the cache; arms with the same seed then need no reference pass."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int | None = Field(None, ge=1)
    """Ranks to start on this machine; null: one a GPU. Under torchrun its own numbers count."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Over several processes: a copy each, or weights and optimiser state in shards (FSDP2)."""
    checkpoint_every: int = Field(50, ge=1)
    """Steps between checkpoints, from which an interrupted run goes on."""
    keep_checkpoints: int = Field(2, ge=1)
    """How many of the last checkpoints stay until the run has finished."""
    keep_last: bool = True
    """Keep the last checkpoint beside the finished policy (three times its size), so that more steps go on from it."""
    evaluate_every: int = Field(100, ge=1)
    """Steps between measurements of implicit accuracy on held-out human pairs."""
    validation_prompts: list[str] = []
    """Prompts that are drawn at each measurement, with fixed noise, into validation/."""
    trackers: list[Literal["tensorboard", "wandb", "mlflow", "dvclive"]] = []
    """Where measurements also go; each needs its package."""
    early_stop: int | None = Field(None, ge=1)
    """Stop after so many measurements in a row without a lower held-out NLL, and save the best; null: never."""
    max_logit: float | None = Field(None, gt=0)
    """Stop once mean |h| stays above this for ten steps; null: only a warning, above 20."""
    max_bad_steps: int = Field(5, ge=1)
    """Stop after this many non-finite losses or gradients in a row."""


class SampleConfig(Section):
    """Pictures of every policy from the same initial noise (`dedpo sample`)."""

    prompts: str = "outputs/world/prompts-validation.txt"
    """A text file, one prompt a line."""
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
    """A scoring endpoint that answers POST /v1/score; null: $DEDPO_ORACLE_URL."""
    concurrency: int = Field(8, ge=1)
    timeout: float = Field(60.0, gt=0)
    """Seconds for one request."""
    max_wait: float = Field(1200.0, ge=0)
    """Seconds that a busy endpoint (429, 503) may go without any answer before the scoring is given up."""
    clipscore_model: str = "openai/clip-vit-large-patch14"
    """clipscore: a transformers CLIPModel with its tokenizer and image processor."""
    pickscore_model: str = "yuvalkirstain/PickScore_v1"
    """pickscore: a transformers CLIPModel."""
    pickscore_processor: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
    """pickscore: its tokenizer and image processor."""
    aesthetic_model: str = "openai/clip-vit-large-patch14"
    """aesthetic: the CLIPModel whose image embedding the head reads."""
    aesthetic_head: str = "camenduru/improved-aesthetic-predictor/sac+logos+ava1-l14-linearMSE.pth"
    """aesthetic: the head's .safetensors or .pth file, or owner/name/file on the hub."""
    hpsv2_model: str = "xswu/HPSv2"
    """hpsv2.0, hpsv2.1: where the published .pt files are, or a CLIPModel folder that was converted from one."""
    hpsv2_base: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
    """hpsv2.0, hpsv2.1: architecture and tokenizer (its weights are not loaded)."""
    trusted_sha256: list[str] = []
    """SHA-256 of .pt and .pth files that may be opened; that of the published aesthetic head is known already."""
    batch_size: int = Field(32, ge=1)
    """Pictures at a time, in the models that run here."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the models that run here; the halves need CUDA."""


class JudgeConfig(Section):
    """A judge behind Gemini's API, for evaluation only (`dedpo judge`)."""

    base_url: str | None = None
    """Where the judge answers; null: $GEMINI_BASE_URL, else Google. Key: $GEMINI_API_KEY, else $GOOGLE_API_KEY."""
    model: str | None = Field("gemini-2.5-flash", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
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
    max_loss: dict[Metric, float] = {}
    """Other metric → what may be lost on it: the lower end of each difference must lie above minus this."""
