"""Properties of an image that people and annotators weigh: shared by the bias report and the pairs' features."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]

PROPERTIES: Final = ("sharpness", "saturation", "contrast", "brightness")
# (more of it, less of it), for sentences.
COMPARATIVES: Final = {
    "sharpness": ("sharper", "softer"),
    "saturation": ("more saturated", "paler"),
    "contrast": ("higher-contrast", "flatter"),
    "brightness": ("brighter", "darker"),
}
# What a viewer sees at a glance; also keeps a photograph to a few milliseconds.
LONGEST_SIDE: Final = 256
_LUMA: Final = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
_STEEPEST: Final = 0.1  # share of the pixels that are the edges
_FLAT: Final = 0.02  # contrast below which an image has no edges worth the name


def measure(image: Image.Image) -> Floats:
    """`PROPERTIES` of an RGB image, measured on a copy of at most 256 pixels a side, shape (4,).

    sharpness: mean gradient of the steepest tenth of the luma, over its contrast (how abrupt edges are, however
    strong); saturation: mean of max − min over the channels; contrast: standard deviation of the luma; brightness: its
    mean. Luma and channels are in [0, 1].
    """
    if max(image.size) > LONGEST_SIDE:
        image = image.copy()
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
    pixels = np.asarray(image, dtype=np.float64) / 255
    luma = pixels @ _LUMA
    contrast = luma.std()
    sharpness = _steepest(luma) / (contrast + _FLAT)
    saturation = (pixels.max(axis=2) - pixels.min(axis=2)).mean()
    return np.array([sharpness, saturation, contrast, luma.mean()])


def _steepest(luma: Floats) -> float:
    """Mean gradient magnitude of the steepest tenth of the pixels; 0 for an image without neighbours."""
    if min(luma.shape) < 2:
        return 0.0
    down, across = luma[1:, :-1] - luma[:-1, :-1], luma[:-1, 1:] - luma[:-1, :-1]
    gradient = np.sqrt(down**2 + across**2).ravel()
    k = max(1, round(_STEEPEST * gradient.size))
    return float(np.partition(gradient, gradient.size - k)[-k:].mean())
