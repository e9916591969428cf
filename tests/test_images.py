import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dedpo.images import decode, encode_png

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A few bytes that promise side × side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_png_loses_nothing(pixels):
    image = decode(encode_png(Image.fromarray(pixels)))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), pixels)


def test_png_bytes_depend_on_the_pixels_alone():
    first, second = Image.fromarray(PIXELS), Image.fromarray(PIXELS.copy())
    assert encode_png(first) == encode_png(second)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_every_8_bit_mode_becomes_rgb(mode):
    image = decode(encoded(Image.fromarray(PIXELS).convert(mode)))
    assert (image.mode, image.size) == ("RGB", (9, 6))


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("BMP", "RGB")]
)
def test_other_formats_become_rgb(kind, mode):
    flat = Image.new("RGB", (9, 6), (200, 40, 40)).convert(mode)
    image = decode(encoded(flat, kind))
    assert (image.mode, image.size) == ("RGB", (9, 6))
    assert np.abs(np.asarray(image, dtype=int) - np.asarray(flat.convert("RGB"), dtype=int)).max() < 12


def test_transparency_is_put_on_white():
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 255))
    image.putpixel((1, 0), (10, 20, 30, 0))
    decoded = decode(encoded(image))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (255, 255, 255)]


def test_a_transparent_palette_colour_is_put_on_white():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    decoded = decode(encoded(image, transparency=0))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (40, 50, 60)]


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (4, 4), c) for c in ("red", "blue", "lime")]
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(gif).getpixel((0, 0)) == (255, 0, 0)


def test_more_than_8_bits_are_refused_with_a_remedy():
    deep = Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16))
    with pytest.raises(ValueError, match="save it as 8-bit"):
        decode(encoded(deep))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_a_truncated_image_is_refused(kind):
    data = encoded(Image.fromarray(np.tile(PIXELS, (8, 8, 1))), kind)
    with pytest.raises(ValueError, match="broken image|not a PNG"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("side", [7_000, 10_000, 60_000])
def test_a_bomb_is_refused_undecoded(side):
    # 49, 100 and 3,600 megapixels: below Pillow's warning, above it, above its refusal.
    with pytest.raises(ValueError, match="exceed the limit of 40,000,000"):
        decode(bomb(side))


def test_the_limit_is_the_callers():
    data = encode_png(Image.fromarray(PIXELS))
    assert decode(data, max_pixels=54).size == (9, 6)
    with pytest.raises(ValueError, match="9×6 pixels exceed the limit of 53"):
        decode(data, max_pixels=53)


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", bytes(1000)])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(ValueError, match="not a PNG, JPEG, WebP, GIF or BMP image"):
        decode(data)


def test_formats_that_run_a_program_are_not_opened():
    with pytest.raises(ValueError, match="not a PNG"):
        decode(encoded(Image.fromarray(PIXELS), "EPS"))


@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP"]), st.data())
def test_damage_is_refused_or_decoded_but_never_anything_else(kind, data):
    damaged = bytearray(encoded(Image.fromarray(PIXELS), kind))
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=5)):
        damaged[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert decode(bytes(damaged), 10_000).mode == "RGB"


def test_a_photo_is_turned_upright() -> None:
    image = Image.new("RGB", (4, 2), "red")
    exif = image.getexif()
    exif[0x0112] = 6  # Orientation: turn by 90° clockwise to view.
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", exif=exif)
    assert decode(buffer.getvalue()).size == (2, 4)
