"""The metrics of one model that runs here, over its shared embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from PIL import Image
from torch import Tensor

from dedpo.contract.sections import Metric, ScoreConfig
from dedpo.errors import UserError
from dedpo.score import aesthetic, clip, metrics
from dedpo.score.plan import Model
from dedpo.vision.device import choose_device

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PROMPT_BATCH = 256


class LocalScorer:
    """One loaded model and the formulas on its embeddings."""

    def __init__(self, config: ScoreConfig, model: Model, asked: Sequence[Metric], prompts: Iterable[str]) -> None:
        """Load the model and embed every prompt once.

        Raises:
            UserError: weights cannot be had, or the device cannot do what is asked.
        """
        device = choose_device(config.device)
        if config.precision != "fp32" and device.type == "cpu":
            raise UserError(
                f"score.precision: {config.precision} needs CUDA, and scoring runs on the CPU; set it to fp32"
            )
        self._clip = clip.load(model, device, DTYPES[config.precision], config.trusted_sha256)
        self._measures = {metric: self._measure(metric, config) for metric in asked}
        # Sorted, so that the batches do not depend on the samples' order.
        self._texts = self._embed(sorted(set(prompts))) if set(asked) != {"aesthetic"} else {}

    def score(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> dict[Metric, list[float]]:
        """Each asked metric of each picture with its prompt."""
        images = self._clip.images(pictures)
        texts = torch.stack([self._texts[p] for p in prompts]) if self._texts else images
        return {metric: measure(images, texts).tolist() for metric, measure in self._measures.items()}

    def _embed(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        batches = [prompts[i : i + PROMPT_BATCH] for i in range(0, len(prompts), PROMPT_BATCH)]
        return {p: e for batch in batches for p, e in zip(batch, self._clip.texts(batch), strict=True)}

    def _measure(self, metric: Metric, config: ScoreConfig) -> Callable[[Tensor, Tensor], Tensor]:
        match metric:
            case "clipscore":
                return metrics.clipscore
            case "pickscore":
                return lambda images, texts: metrics.pickscore(images, texts, self._clip.scale)
            case "aesthetic":
                if self._clip.width != aesthetic.WIDTH:
                    raise UserError(
                        f"score.aesthetic_model: {config.aesthetic_model}: its embeddings have {self._clip.width} "
                        f"numbers, and the aesthetic head reads {aesthetic.WIDTH}: name OpenAI's CLIP ViT-L/14"
                    )
                head = aesthetic.load(config.aesthetic_head, "score.aesthetic_head", config.trusted_sha256)
                return lambda images, _: head(images)
            case _:
                return metrics.hpsv2
