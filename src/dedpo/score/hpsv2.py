"""HPSv2's own preparation of pictures, and its published weights in transformers' naming.

Source: hpsv2/src/open_clip/transform.py and model.py in github.com/tgxs002/HPSv2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
STD: Final = (0.26862954, 0.26130258, 0.27577711)

# open_clip's name → transformers' name, as regular expressions on the whole name.
_NAMES: Final = (
    (r"logit_scale", "logit_scale"),
    (r"token_embedding\.weight", "text_model.embeddings.token_embedding.weight"),
    (r"positional_embedding", "text_model.embeddings.position_embedding.weight"),
    (r"ln_final\.(weight|bias)", r"text_model.final_layer_norm.\1"),
    (r"visual\.class_embedding", "vision_model.embeddings.class_embedding"),
    (r"visual\.conv1\.weight", "vision_model.embeddings.patch_embedding.weight"),
    (r"visual\.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    # The misspelling is transformers'.
    (r"visual\.ln_pre\.(weight|bias)", r"vision_model.pre_layrnorm.\1"),
    (r"visual\.ln_post\.(weight|bias)", r"vision_model.post_layernorm.\1"),
)
_BLOCK: Final = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)")
_PARTS: Final = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
# (width, d) matrices that multiply from the right there, Linear layers here.
_PROJECTIONS: Final = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}


def pixels(picture: Image.Image, side: int = 224) -> Tensor:
    """Resize the longest side to `side`, centre on black, normalise with CLIP's mean and deviation.

    The resize is bicubic with antialiasing on floats, neither rounded nor clipped: what HPSv2's own transform does with
    torchvision 0.17 and newer (older ones do not antialias tensors). Unlike there, a picture that already is `side`
    long is padded, too.

    Returns:
        float32 (3, side, side).
    """
    rgb = np.array(picture.convert("RGB"), dtype=np.float32) / 255
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    scale = side / max(picture.size)
    height, width = (max(1, round(n * scale)) for n in (picture.height, picture.width))
    if (height, width) != (picture.height, picture.width):
        image = F.interpolate(image, size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    left, top = (side - width) // 2, (side - height) // 2
    image = F.pad(image, (left, side - width - left, top, side - height - top))[0]
    return (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's state dict of a ViT CLIP as one of transformers' CLIPModel.

    Names change, attention's stacked q, k, v come apart, and the two projections are transposed.

    Raises:
        KeyError: a name that open_clip's CLIP does not have.
    """
    return {new: t.contiguous() for name, tensor in state.items() for new, t in _converted(name, tensor)}


def _converted(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name in _PROJECTIONS:
        yield _PROJECTIONS[name], tensor.T
        return
    if name == "attn_mask":  # the causal mask, not a weight
        return
    for pattern, new in _NAMES:
        if match := re.fullmatch(pattern, name):
            yield match.expand(new), tensor
            return
    yield from _converted_block(name, tensor)


def _converted_block(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    stacked = re.fullmatch(r"((?:visual\.)?transformer\.resblocks\.\d+\.attn)\.in_proj_(weight|bias)", name)
    if stacked:
        prefix = _layer(f"{stacked[1]}.out_proj.weight").removesuffix("self_attn.out_proj.weight")
        for letter, part in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{prefix}self_attn.{letter}_proj.{stacked[2]}", part
    else:
        yield _layer(name), tensor


def _layer(name: str) -> str:
    match = _BLOCK.fullmatch(name)
    if match is None or match[3] not in _PARTS:
        raise KeyError(name)
    tower = "vision_model" if match[1] else "text_model"
    return f"{tower}.encoder.layers.{match[2]}.{_PARTS[match[3]]}.{match[4]}"
