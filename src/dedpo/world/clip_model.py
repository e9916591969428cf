"""The tiny CLIP of the world: a transformers folder of about 500 kB, trained here from nothing on renders and prompts.

With it the production scorers run in the demo. What it measures is how well a picture fits its prompt in this world;
it knows nothing of beauty or taste, so a score through it means nothing of the published metric of that name.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from dedpo.outputs.manifest import output_folder
from dedpo.terminal import progress
from dedpo.world.base_model import MAX_TOKENS, make_tokenizer, update
from dedpo.world.prompts import Prompt, prompts_of
from dedpo.world.render import SIZE, render

LEARNING_RATE = 2e-3
# CLIP's own bound on exp(logit_scale).
MAX_LOG_SCALE = float(np.log(100))


@dataclass(frozen=True)
class Recipe:
    """Length of the training; the defaults made the shipped folder."""

    steps: int = 1000
    batch: int = 128
    seed: int = 0


def build(out: Path, recipe: Recipe) -> None:
    """Train the tiny CLIP and write it to `out`: CLIPModel (safetensors), tokenizer and image processor."""
    with output_folder(out, stage="world build-clip", config=asdict(recipe), inputs={}) as partial:
        transformers_logging.disable_progress_bar()
        torch.manual_seed(recipe.seed)
        tokenizer, processor = make_tokenizer(), make_processor()
        model = CLIPModel(_config(tokenizer))
        _train(model, tokenizer, processor, recipe)
        for part in (model, tokenizer, processor):
            part.save_pretrained(partial)


def make_processor() -> CLIPImageProcessorPil:
    """CLIP's image processing at the world's size."""
    return CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


def _config(tokenizer: CLIPTokenizer) -> CLIPConfig:
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": 32,
    }
    vision = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": 4,
        "projection_dim": 32,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)


def _train(model: CLIPModel, tokenizer: CLIPTokenizer, processor: CLIPImageProcessorPil, recipe: Recipe) -> None:
    """CLIP's symmetric contrastive loss; every batch is drawn and rendered anew."""
    rng = np.random.default_rng(recipe.seed)
    choices = _by_picture(prompts_of("train"))
    mean, std = (torch.tensor(v)[:, None, None] for v in (processor.image_mean, processor.image_std))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=recipe.steps)
    own = torch.arange(recipe.batch)
    with progress("training the CLIP model", recipe.steps) as advance:
        for _ in range(recipe.steps):
            drawn = rng.choice(len(choices), recipe.batch, replace=False)
            prompts = [choices[i][rng.integers(len(choices[i]))] for i in drawn]
            tokens = tokenizer(
                [p.text for p in prompts], padding="max_length", max_length=MAX_TOKENS, return_tensors="pt"
            )
            pixels = torch.from_numpy(render(prompts, rng, wrong_colours=0)).permute(0, 3, 1, 2) / 255
            logits = model(input_ids=tokens.input_ids, pixel_values=(pixels - mean) / std).logits_per_image
            loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
            update(loss, optimizer, schedule)
            with torch.no_grad():
                model.logit_scale.clamp_(max=MAX_LOG_SCALE)
            advance(f"loss {loss.item():.3f}")


def _by_picture(prompts: list[Prompt]) -> list[list[Prompt]]:
    """Prompts that ask for the same picture together: ', 8k' cannot be seen, and two such in a batch would clash."""
    found: dict[tuple[str, ...], list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        found[prompt.finish, prompt.colour, prompt.shape, prompt.background].append(prompt)
    return list(found.values())
