"""16×16 pictures of prompts, drawn from signed distances to shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dedpo.world.prompts import COLOURS, Prompt

SIZE = 16
WRONG_COLOUR_RATE = 0.12

RGB = {
    "red": (0.90, 0.12, 0.12),
    "green": (0.10, 0.70, 0.20),
    "blue": (0.15, 0.30, 0.95),
    "yellow": (0.95, 0.88, 0.10),
    "purple": (0.60, 0.15, 0.80),
    "orange": (0.98, 0.55, 0.08),
    "white": (0.97, 0.97, 0.97),
    "black": (0.04, 0.04, 0.04),
    "navy": (0.05, 0.08, 0.35),
}

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]


def paled(colours: Floats, saturation: Floats | float) -> Floats:
    """RGB colours, shape (n, 3), drawn towards grey: at saturation 1 themselves, at 0 their grey."""
    grey: Floats = colours.mean(axis=1, keepdims=True)
    return grey + (colours - grey) * saturation


def render(prompts: Sequence[Prompt], rng: np.random.Generator, wrong_colours: float = WRONG_COLOUR_RATE) -> Images:
    """Draw each prompt once.

    Random per picture: the edges' softness (log-uniform, 0.25–2.2 px), saturation (0.45–1), a wrong colour with
    probability `wrong_colours`, centre and size. The finish shows as texture: stripes (painting), a vignette (photo),
    a light ramp (render).

    Returns:
        uint8, shape (len(prompts), 16, 16, 3).
    """
    n = len(prompts)
    softness = np.exp(rng.uniform(np.log(0.25), np.log(2.2), n))
    saturation = rng.uniform(0.45, 1.0, n)
    centre = rng.uniform(6.5, 8.5, (n, 2))
    radius = rng.uniform(3.6, 5.2, n)
    wrong = rng.random(n) < wrong_colours
    # 1..5 places further round the list of colours: never the one asked for.
    shift = rng.integers(1, len(COLOURS), n)

    asked = np.array([COLOURS.index(p.colour) for p in prompts])
    shown = np.where(wrong, (asked + shift) % len(COLOURS), asked)
    palette = np.array([RGB[c] for c in COLOURS])
    colour = palette[shown]
    colour = paled(colour, saturation[:, None])
    background = np.array([RGB[p.background] for p in prompts])

    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(float)
    y = rows[None] - centre[:, 0, None, None]
    x = columns[None] - centre[:, 1, None, None]
    distance = _signed_distance([p.shape for p in prompts], x, y, radius[:, None, None])
    cover = 1.0 / (1.0 + np.exp(np.clip(distance / (0.5 * softness[:, None, None]), -60, 60)))
    image = background[:, None, None] + (colour - background)[:, None, None] * cover[..., None]
    image *= _texture([p.finish for p in prompts], rows, columns)[..., None]
    return np.asarray(np.round(np.clip(image, 0, 1) * 255), dtype=np.uint8)


def _signed_distance(shapes: Sequence[str], x: Floats, y: Floats, radius: Floats) -> Floats:
    """Distance in pixels to the shape's edge, negative inside; shape (n, 16, 16)."""
    ax, ay = np.abs(x), np.abs(y)
    arm = 0.35 * radius
    bars = np.minimum(np.maximum(ax - radius, ay - arm), np.maximum(ay - radius, ax - arm))
    by_name = {
        "circle": np.hypot(x, y) - radius,
        "square": np.maximum(ax, ay) - 0.85 * radius,
        "diamond": (ax + ay - 1.2 * radius) / np.sqrt(2),
        "cross": bars,
    }
    out = np.empty_like(x)
    names = np.array(shapes)
    for name, distance in by_name.items():
        out[names == name] = distance[names == name]
    return out


def _texture(finishes: Sequence[str], rows: Floats, columns: Floats) -> Floats:
    """A factor a pixel, shape (n, 16, 16)."""
    middle = (SIZE - 1) / 2
    radius = np.hypot(rows - middle, columns - middle) / (middle * np.sqrt(2))
    by_name = {
        "painting": 1 + 0.1 * np.where((rows + columns) % 4 < 2, 1.0, -1.0),
        "photo": 1 - 0.25 * radius**2,
        "render": 0.88 + 0.24 * columns / (SIZE - 1),
        "poster": np.ones_like(rows),
    }
    return np.stack([by_name[f] for f in finishes])
