"""The formulas: unit embeddings of pictures and prompts, both (n, d), to n values."""

from __future__ import annotations

from torch import Tensor


def cosine(images: Tensor, texts: Tensor) -> Tensor:
    """Cosine similarity of each picture with its own prompt, in [−1, 1]; shape (n,)."""
    return (images * texts).sum(dim=1)


def pickscore(images: Tensor, texts: Tensor, scale: float) -> Tensor:
    """exp(logit_scale) · cosine, about 15 to 25 for PickScore_v1 (its logits_per_image on the diagonal).

    Source: Kirstain et al. 2023, Pick-a-Pic, and github.com/yuvalkirstain/PickScore.
    """
    return scale * cosine(images, texts)


def clipscore(images: Tensor, texts: Tensor) -> Tensor:
    """100 · max(cosine, 0), in [0, 100].

    The weight is 100, as torchmetrics has it and most papers on image generators report it; Hessel et al. 2021, who
    defined CLIPScore, weigh by 2.5 and prefix captions with 'A photo depicts'. Here the prompt stands as it is.
    """
    return 100 * cosine(images, texts).clamp(min=0)


def hpsv2(images: Tensor, texts: Tensor) -> Tensor:
    """100 · cosine, about 20 to 35; versions 2.0 and 2.1 differ by points and must not be compared.

    Source: Wu et al. 2023, Human Preference Score v2, and hpsv2/evaluation.py in github.com/tgxs002/HPSv2.
    """
    return 100 * cosine(images, texts)
