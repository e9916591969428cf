"""The tiny Stable Diffusion of the world: a diffusers folder of about 2 MB, trained here from nothing.

Tokenizer and text encoder are the ones that ship in the folder; everything is seeded, so that the command rebuilds
the same recipe (to the last bit on the same machine and thread count).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dedpo.outputs.manifest import output_folder
from dedpo.terminal import progress
from dedpo.world.prompts import every_prompt, prompts_of
from dedpo.world.render import SIZE, render

MAX_TOKENS = 16
TRAINING_RENDERS = 12_000
CAPTION_DROPOUT = 0.1
# Weak enough that the autoencoder keeps edges: at 1e-4 every picture comes back equally blurred, and a policy
# could not learn who wants them sharp.
KL_WEIGHT = 1e-6


@dataclass(frozen=True)
class Recipe:
    """Lengths of the two trainings; the defaults made the shipped folder."""

    vae_steps: int = 2500
    vae_batch: int = 48
    unet_steps: int = 3000
    unet_batch: int = 96
    seed: int = 0


def build(out: Path, recipe: Recipe) -> None:
    """Train the tiny pipeline and write it to `out` in diffusers layout (safetensors)."""
    with output_folder(out, stage="world build", config=asdict(recipe), inputs={}) as partial:
        _train(recipe).save_pretrained(partial, safe_serialization=True)


def _train(recipe: Recipe) -> StableDiffusionPipeline:
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    prompts = prompts_of("train")
    drawn = [prompts[i] for i in rng.integers(0, len(prompts), TRAINING_RENDERS)]
    images = torch.from_numpy(render(drawn, rng)).permute(0, 3, 1, 2).float() / 127.5 - 1

    tokenizer = make_tokenizer()
    text_encoder = make_text_encoder(tokenizer)
    vae = _train_vae(images, recipe)
    with torch.no_grad():
        moments = torch.cat([vae.encode(chunk).latent_dist.parameters for chunk in images.split(500)])
        texts = [p.text for p in drawn] + [""]
        unique = sorted(set(texts))
        tokens = tokenizer(unique, padding="max_length", max_length=MAX_TOKENS, return_tensors="pt").input_ids
        embeddings = text_encoder(tokens)[0]
    caption = torch.tensor([unique.index(t) for t in texts])
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=_train_unet(vae, moments, embeddings, caption, recipe),
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer whose merges make one token of each of the world's words (CLIP splits '8k' at the digit)."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,"
    tokens = [start, end, *letters, *(f"{c}</w>" for c in letters)]
    merges: list[tuple[str, str]] = []
    for word in sorted({w for p in every_prompt() for w in p.text.split()}):
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        left = pieces[0]
        for right in pieces[1:]:
            if (left, right) not in merges:
                merges.append((left, right))
                tokens.append(left + right)
            left += right
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=merges,
        bos_token=start,
        eos_token=end,
        pad_token=end,
        unk_token=end,
        model_max_length=MAX_TOKENS,
    )


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A frozen random one-layer CLIP text model: enough to tell the words and their places apart."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPTextModel(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("token_embedding.weight"):
            parameter.normal_(std=1.0)
        elif name.endswith("position_embedding.weight"):
            parameter.normal_(std=0.5)
    return model


def _train_vae(images: torch.Tensor, recipe: Recipe) -> AutoencoderKL:
    vae = AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=SIZE,
    )
    optimizer = torch.optim.AdamW(vae.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=recipe.vae_steps)
    with progress("training the autoencoder", recipe.vae_steps) as advance:
        for _ in range(recipe.vae_steps):
            batch = images[torch.randint(len(images), (recipe.vae_batch,))]
            posterior = vae.encode(batch).latent_dist
            decoded = vae.decode(posterior.sample()).sample
            loss = F.l1_loss(decoded, batch) + F.mse_loss(decoded, batch) + KL_WEIGHT * posterior.kl().mean()
            update(loss, optimizer, schedule)
            advance("")
    with torch.no_grad():
        spread = torch.cat([vae.encode(c).latent_dist.sample() for c in images[:2000].split(500)]).std()
    vae.register_to_config(scaling_factor=round(1 / float(spread), 3))
    return vae.eval().requires_grad_(False)


def _train_unet(
    vae: AutoencoderKL,
    moments: torch.Tensor,
    embeddings: torch.Tensor,
    caption: torch.Tensor,
    recipe: Recipe,
) -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=SIZE // 2,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    noise_schedule = _scheduler()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=recipe.unet_steps)
    average = EMAModel(unet.parameters(), decay=0.995)
    no_caption = int(caption[-1])
    n = len(moments)
    with progress("training the denoiser", recipe.unet_steps) as advance:
        for _ in range(recipe.unet_steps):
            rows = torch.randint(n, (recipe.unet_batch,))
            mean, log_variance = moments[rows].chunk(2, dim=1)
            latents = (mean + (0.5 * log_variance).exp() * torch.randn_like(mean)) * vae.config["scaling_factor"]
            dropped = torch.rand(len(rows)) < CAPTION_DROPOUT
            text = embeddings[torch.where(dropped, no_caption, caption[rows])]
            noise = torch.randn_like(latents)
            timesteps = torch.randint(1000, (len(rows),))
            noisy = noise_schedule.add_noise(latents, noise, timesteps)
            loss = F.mse_loss(unet(noisy, timesteps, text).sample, noise)
            update(loss, optimizer, schedule)
            average.step(unet.parameters())
            advance("")
    average.copy_to(unet.parameters())
    return unet.eval()


def update(loss: torch.Tensor, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
    """Take one step down the loss."""
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    schedule.step()


def _scheduler() -> DDPMScheduler:
    # Stable Diffusion's own noise schedule.
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )
