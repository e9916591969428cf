"""The settings of training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dedpo.contract.sections.base import Section


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
    schedule_steps: dict[int, float] = Field({})
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
    snapshots: Annotated[int, Field(ge=0)] | list[Annotated[int, Field(ge=1)]] = 0
    """Weights that are kept on the way, to compare arms at equal drift and each at its best: how many, or the steps."""
    validation_prompts: list[str] = Field([])
    """Prompts that are drawn at each measurement, with fixed noise, into validation/."""
    trackers: list[Literal["tensorboard", "wandb", "mlflow", "dvclive"]] = Field([])
    """Where measurements also go; each needs its package."""
    early_stop: int | None = Field(None, ge=1)
    """Stop after so many measurements in a row without a lower held-out NLL, and save the best; null: never."""
    max_logit: float | None = Field(None, gt=0)
    """Stop once mean |h| stays above this for ten steps; null: only a warning, above 20."""
    max_bad_steps: int = Field(5, ge=1)
    """Stop after this many non-finite losses or gradients in a row."""

    @property
    def snapshot_steps(self) -> list[int]:
        """After which steps the weights are kept, ascending; the last step's are the policy's own."""
        if isinstance(self.snapshots, list):
            return sorted(self.snapshots)
        return sorted({self.steps * i // (self.snapshots + 1) for i in range(1, self.snapshots + 1)} - {0})

    @model_validator(mode="after")
    def _snapshots_lie_on_the_way(self) -> Self:
        if isinstance(self.snapshots, list) and (late := [s for s in self.snapshots if s >= self.steps]):
            raise ValueError(
                f"snapshots: {late[0]} is not before the last of {self.steps} steps, whose weights are the policy's own"
            )
        return self
