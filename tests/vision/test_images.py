import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFile

from dedpo.vision.images import decode, encode_png, size

# Pillow's words on broken blocks; outside tests dedpo.vision.images silences them itself.
pytestmark = [pytest.mark.filterwarnings(f"ignore::UserWarning:PIL.{name}") for name in ("Image", "TiffImagePlugin")]
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


# What each orientation makes of the stored rows and columns (EXIF 2.32, 4.6.4: where row 0 and column 0 are seen).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}
ASCII, SHORT, RATIONAL, UNDEFINED = 2, 3, 5, 7


def exif(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """A TIFF block of (tag, type, count, four bytes)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    return head + b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries) + bytes(4)


def orientation(value: int, order: str = "<") -> tuple[int, int, int, bytes]:
    return 0x0112, SHORT, 1, struct.pack(f"{order}HH", value, 0)


def stored(block: bytes, kind: str) -> bytes:
    """PIXELS in blocks of eight, so that JPEG keeps them apart, with an EXIF block as it is."""
    large = Image.fromarray(PIXELS.repeat(8, 0).repeat(8, 1))
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}, "PNG": {}}[kind]
    return encoded(large, kind, exif=b"Exif\0\0" + block, **options)


def seen(data: bytes) -> np.ndarray:
    return np.asarray(decode(data), dtype=int)[4::8, 4::8]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", UPRIGHT)
def test_each_orientation_is_turned_upright(value, order, kind):
    found = seen(stored(exif(orientation(value, order=order), order=order), kind))
    expected = UPRIGHT[value](PIXELS)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 8


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param((0x010E, SHORT, 1, b"\1\0\0\0"), id="a number for a description"),
        pytest.param((0x011A, ASCII, 3, b"72\0\0"), id="a text for a resolution"),
        pytest.param((0x011A, RATIONAL, 1, b"\xff\xff\xff\x7f"), id="a rational beyond the end"),
        pytest.param((0x8769, ASCII, 2, b"x\0\0\0"), id="a text for a directory's place"),
        pytest.param((0x8825, UNDEFINED, 4, b"GPS!"), id="bytes for a directory's place"),
        pytest.param((0x0103, SHORT, 2, b"\1\0\2\0"), id="two numbers for one"),
        pytest.param((0x0132, 99, 1, bytes(4)), id="a type that there is not"),
        pytest.param((0x0131, SHORT, 2, b"\1\0\xff\xff"), id="numbers for a program's name"),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_another_tag_of_a_wrong_type_does_not_matter(stranger, kind):
    assert seen(stored(exif(orientation(6), stranger), kind)).shape == (9, 6, 3)


@pytest.mark.parametrize(
    "block",
    [
        exif(orientation(0)),
        exif(orientation(9)),
        exif(orientation(65535)),
        exif((0x0112, UNDEFINED, 1, b"\6\0\0\0")),
        exif((0x0112, ASCII, 2, b"6\0\0\0")),
        exif((0x0112, RATIONAL, 1, b"\xff\xff\xff\x7f")),
        exif(orientation(6))[:12],
        b"II*\0",
        b"",
        b"no TIFF at all",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_that_is_none_leaves_the_picture_as_it_is_stored(block, kind):
    assert seen(stored(block, kind)).shape == (6, 9, 3)


FIELD = st.tuples(
    st.sampled_from([0x0112, 0x010E, 0x011A, 0x0131, 0x8769, 0x8825, 0x8773, 0x02BC, 0x0201]) | st.integers(0, 65535),
    st.integers(0, 13),
    st.integers(0, 9) | st.integers(0, 2**32 - 1),
    st.binary(min_size=4, max_size=4) | st.integers(0, 64).map(lambda n: struct.pack("<I", n)),
)


@given(st.lists(FIELD, max_size=5), st.sampled_from(["JPEG", "PNG", "WEBP"]), st.integers(1, 8))
@settings(max_examples=400)
def test_no_exif_block_costs_a_picture(fields, kind, value):
    """Whatever stands beside the orientation: the pixels are there, turned or not."""
    picture = seen(stored(exif(orientation(value), *fields), kind))
    ways = [turned(PIXELS) for turned in UPRIGHT.values()]
    assert any(picture.shape == w.shape and np.abs(picture - w).max() < 8 for w in ways)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match="no pixels|broken image|not a PNG"):
        decode(bomb(0))


@pytest.mark.parametrize(
    "failure", [struct.error("x"), KeyError(3), ZeroDivisionError(), OverflowError(), MemoryError()]
)
def test_whatever_fails_in_the_reader_the_image_is_broken(monkeypatch, failure):
    """Which of these hostile bytes reach depends on Pillow's version; an import outlives each of them."""

    def fail(self):
        raise failure

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(ValueError, match=r"broken image \("):
        decode(encoded(Image.fromarray(PIXELS), "BMP"))


def test_the_size_is_read_from_the_first_bytes():
    data = encode_png(Image.fromarray(PIXELS))
    assert size(data[:60]) == (9, 6)
    with pytest.raises(ValueError, match="not a PNG"):
        size(b"hello")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "but empty"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "but HEIC .* save it as PNG or JPEG"),
        (b"\0\0\0\x1cftypavif" + b"\0" * 40, "but AVIF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "but a web page"),
        (b"II*\0" + b"\0" * 40, "but TIFF"),
        (b"no image at all", "image$"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(data, message):
    with pytest.raises(ValueError, match=f"not a PNG.*{message}"):
        decode(data)
