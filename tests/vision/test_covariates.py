"""Image statistics on pictures for which they are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from dedpo.vision.covariates import COMPARATIVES, LONGEST_SIDE, PROPERTIES, measure


def picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8))


def halves(low: int, high: int, side: int = 32) -> np.ndarray:
    pixels = np.full((side, side, 3), low)
    pixels[:, side // 2 :] = high
    return pixels


def test_every_property_has_its_comparatives() -> None:
    assert set(COMPARATIVES) == set(PROPERTIES)


def test_a_flat_picture_has_colour_and_nothing_else() -> None:
    red = measure(Image.new("RGB", (20, 10), (255, 0, 0)))
    np.testing.assert_allclose(red, [0, 1, 0, 0.2126], atol=1e-12)


def test_black_and_white_halves() -> None:
    sharpness, saturation, contrast, brightness = measure(picture(halves(0, 255)))
    assert (saturation, contrast, brightness) == pytest.approx((0, 0.5, 0.5))
    # 31 of the 96 steepest pixels lie on the edge, where the luma goes from 0 to 1.
    assert sharpness == pytest.approx(31 / 96 / (0.5 + 0.02))


def test_blur_lowers_sharpness_and_fading_hardly_does() -> None:
    sharp = picture(halves(0, 255))
    faded = measure(picture(halves(64, 191)))
    blurred = measure(sharp.filter(ImageFilter.GaussianBlur(3)))
    assert blurred[0] < 0.6 * measure(sharp)[0]
    assert faded[0] == pytest.approx(measure(sharp)[0], rel=0.05)
    assert faded[2] == pytest.approx(measure(sharp)[2] / 2, rel=0.01)


def test_a_large_picture_is_measured_small() -> None:
    small = np.random.default_rng(0).integers(0, 256, (LONGEST_SIDE // 2, LONGEST_SIDE, 3))
    large = picture(small.repeat(4, axis=0).repeat(4, axis=1))
    np.testing.assert_allclose(measure(large), measure(picture(small)), rtol=1e-12)
    assert large.size == (4 * LONGEST_SIDE, 2 * LONGEST_SIDE), "the picture itself stays as it is"


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_any_size_has_finite_values_that_mirroring_keeps(width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    values = measure(picture(pixels))
    assert (np.isfinite(values) & (values >= 0)).all()
    assert (values[1:] <= 1).all()
    np.testing.assert_allclose(measure(picture(pixels[::-1, ::-1]))[1:], values[1:], atol=1e-12)
