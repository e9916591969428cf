"""Random models of given shapes, and a cache of random encodings for them: time does not ask what a picture shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.utils import logging
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from dedpo.contract.sections import TrainConfig
from dedpo.train.backbone import Conditioning
from dedpo.train.cache import Cache
from dedpo.train.cache_entry import Entry, Index
from dedpo.train.reading import HeldOut, TrainingSet

logging.set_verbosity_error()
TOKENS = 77
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"


@dataclass(frozen=True)
class Shape:
    """A backbone's shape: keyword arguments of its parts, and the side of its images in pixels."""

    name: str
    side: int
    unet: dict[str, Any]
    vae: dict[str, Any]
    texts: tuple[dict[str, Any], ...]
    optimizer: str = "adamw"
    checkpointing: bool = False

    @property
    def latent_side(self) -> int:
        return self.side // 2 ** (len(self.vae["block_out_channels"]) - 1)

    @property
    def width(self) -> int:
        """Of the text embeddings."""
        return sum(text["hidden_size"] for text in self.texts)

    @property
    def pooled_width(self) -> int | None:
        return self.texts[1]["projection_dim"] if len(self.texts) > 1 else None

    def bytes_a_pair(self) -> int:
        """Of the cache, if every prompt is another: mean and deviation of two latents, and the embeddings, in fp32."""
        return 4 * (2 * 2 * 4 * self.latent_side**2 + TOKENS * self.width + (self.pooled_width or 0))

    def forward_flops(self) -> int:
        """Of one image through the UNet."""
        with torch.device("meta"):
            unet, conditioning = self.make_unet(), self.conditioning(1)
            noisy = torch.empty(1, 4, self.latent_side, self.latent_side)
        text, added = conditioning.for_both_images()
        if added:
            added = {name: value[:1] for name, value in added.items()}
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            unet(noisy, torch.zeros(1, dtype=torch.long, device="meta"), text[:1], added_cond_kwargs=added)
        return counter.get_total_flops()

    def make_unet(self) -> UNet2DConditionModel:
        ups = tuple(name.replace("Down", "Up") for name in reversed(self.unet["down_block_types"]))
        return UNet2DConditionModel(sample_size=self.latent_side, up_block_types=ups, **self.unet)

    def make_vae(self) -> AutoencoderKL:
        blocks = len(self.vae["block_out_channels"])
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * blocks,
            up_block_types=("UpDecoderBlock2D",) * blocks,
            latent_channels=4,
            sample_size=self.side,
            **self.vae,
        ).eval()

    def make_texts(self) -> list[Any]:
        kinds = (CLIPTextModel, CLIPTextModelWithProjection)
        return [
            kind(CLIPTextConfig(max_position_embeddings=TOKENS, **text)).eval()
            for kind, text in zip(kinds, self.texts, strict=False)
        ]

    def conditioning(self, n: int) -> Conditioning:
        pooled = None if self.pooled_width is None else torch.randn(n, self.pooled_width)
        return Conditioning(torch.randn(n, TOKENS, self.width), pooled, self.side)


TINY = Shape(
    "tiny",
    128,
    {
        "block_out_channels": (32, 64, 64),
        "layers_per_block": 1,
        "down_block_types": (CROSS, CROSS, PLAIN),
        "cross_attention_dim": 64,
        "attention_head_dim": 8,
    },
    {"block_out_channels": (16, 32, 32, 32), "norm_num_groups": 16},
    ({"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4},),
)
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
KL = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
SD15 = Shape(
    "sd15",
    512,
    {
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": (CROSS, CROSS, CROSS, PLAIN),
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    },
    KL,
    (CLIP_L,),
)
SDXL = Shape(
    "sdxl",
    1024,
    {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": (PLAIN, CROSS, CROSS),
        "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 6 * 256 + 1280,
    },
    KL,
    (CLIP_L, CLIP_G),
    optimizer="adafactor",
    checkpointing=True,
)


@dataclass
class Bench:
    """What the loops of one shape share.

    Attributes:
        config: of the Trainer.
        cache: random encodings of `n` pairs.
        data: a dedpo table over them, a quarter labelled.
    """

    shape: Shape
    config: TrainConfig
    cache: Cache
    data: TrainingSet
    held_out: HeldOut = field(default_factory=lambda: HeldOut([], np.array([])))

    def pipeline(self, device: torch.device) -> Any:
        """As much of a pipeline as the Trainer reads; the same weights each time."""
        torch.manual_seed(0)
        with device:
            unet = self.shape.make_unet()
        return SimpleNamespace(unet=unet, scheduler=DDPMScheduler(beta_schedule="scaled_linear"))


def bench(shape: Shape, folder: Path, n: int, config: TrainConfig) -> Bench:
    """Random encodings of `n` pairs, in memory; reference errors will lie in `folder`."""
    rng = np.random.default_rng(0)
    ids = [f"{i:024x}" for i in range(n)]
    side, prompts = shape.latent_side, shape.conditioning(n + 1)
    latents = rng.standard_normal((n, 1, 2, 2, 4, side, side), dtype=np.float32)
    # Standard deviations are positive and small.
    latents[:, :, :, 1] = 0.1
    index = Index(row={p: i for i, p in enumerate(ids)}, caption={p: i + 1 for i, p in enumerate(ids)})
    pooled = None if prompts.pooled is None else prompts.pooled.numpy()
    entry = Entry("random", index, latents, prompts.text.numpy(), pooled)
    is_labelled = np.arange(n) % 4 == 0
    human, synthetic = (rng.integers(0, 2, n).astype(float) for _ in range(2))
    b = synthetic + is_labelled * 4.0 * (human - synthetic)
    return Bench(
        shape,
        config,
        Cache(folder, shape.side, (entry,)),
        TrainingSet(ids, np.ones(n), b, is_labelled, "preference"),
    )
