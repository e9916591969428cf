"""LAION's aesthetic predictor v2: a head on the unit image embedding of OpenAI's CLIP ViT-L/14.

Source: github.com/christophschuhmann/improved-aesthetic-predictor, simple_inference.py.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from dedpo.errors import UserError, excerpt
from dedpo.score import weights

WIDTH = 768


class Head(nn.Module):
    """768 → 1024 → 128 → 64 → 16 → 1 without activations: one linear map, once dropout is off."""

    def __init__(self) -> None:
        super().__init__()
        # Dropout does nothing here; it keeps the published file's names (layers.0, .2, .4, .6, .7).
        self.layers = nn.Sequential(
            nn.Linear(WIDTH, 1024),
            nn.Dropout(0.2),
            nn.Linear(1024, 128),
            nn.Dropout(0.2),
            nn.Linear(128, 64),
            nn.Dropout(0.1),
            nn.Linear(64, 16),
            nn.Linear(16, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Mean opinion on a scale of about 1 to 10, shape (n,); `images` are unit embeddings (n, 768)."""
        values: Tensor = self.layers(images)
        return values.squeeze(1)


def load(name: str, place: str, trusted: Collection[str] = ()) -> Head:
    """The head from a .safetensors or .pth file, in evaluation mode, fp32.

    Raises:
        UserError: no such file, an untrusted pickle, or another network's weights.
    """
    path = weights.locate(name, place)
    state = weights.read(path, place, trusted)
    head = Head()
    try:
        head.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{place}: {path}: not the aesthetic predictor's weights ({excerpt(str(error))})") from None
    return head.to(torch.float32).eval().requires_grad_(False)
