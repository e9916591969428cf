"""Images as bytes: decoded with limits, encoded as PNG, sent as data URLs."""

from __future__ import annotations

import base64
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import Image, UnidentifiedImageError

from dedpo.errors import excerpt

# What a browser and an annotator can show. Pillow opens much more, and runs Ghostscript for some of it.
FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
# Decoding leaves Python's lock; more threads than this wait for the disk.
DECODERS: Final = min(8, os.cpu_count() or 1)
# `decode` has its own limit; Pillow's would warn from 89 megapixels and refuse from 179, whatever the settings say.
Image.MAX_IMAGE_PIXELS = None
# It warns of EXIF blocks that it cannot read, in lines that name no file.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Pixels a side of what a preview shows as it is.
_SMALL: Final = 64
_ORIENTATION: Final = 0x0112
# EXIF 2.32, 4.6.4: what makes the stored picture upright.
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, max_pixels: int = 40_000_000) -> Image.Image:
    """Decode one still image to RGB, upright as EXIF says; the first frame of an animation, transparency on white.

    Raises:
        ValueError: not an image, broken, or not of 1 to `max_pixels` pixels (checked before any pixel is decoded).
    """
    with _opened(data) as image:
        if not image.width * image.height:
            raise _RefusedError(f"no pixels ({image.width}×{image.height})")
        if image.width * image.height > max_pixels:
            raise _RefusedError(f"{image.width}×{image.height} pixels exceed the limit of {max_pixels:,}")
        image.load()
        if image.mode.startswith("I;16") or image.mode in ("I", "F"):
            raise _RefusedError(f"mode {image.mode} (more than 8 bits a channel) is not supported; save it as 8-bit")
        turn = _TURNS.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
            rgba = upright.convert("RGBA")
            white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, rgba).convert("RGB")
        return upright.convert("RGB")


def in_order(first: bytes, second: bytes) -> tuple[tuple[bytes, bytes], int]:
    """Two image files, the lesser text of bytes first, and the sign of what is measured in that order.

    The sign is 1 where they stay, −1 where they change places, 0 if they are the same. What is measured of a pair so
    changes its sign and not a bit else when its images are swapped.
    """
    return (first, second) if first < second else (second, first), (first < second) - (first > second)


def size(data: bytes) -> tuple[int, int]:
    """Width and height as stored, in pixels, from the file's first bytes alone.

    Raises:
        ValueError: not an image.
    """
    with _opened(data) as image:
        return image.size


class _RefusedError(ValueError):
    """A whole image that is not taken."""


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """An image, opened and not decoded; whatever goes wrong with it meanwhile is a ValueError."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            yield image
    except _RefusedError:
        raise
    except UnidentifiedImageError:
        raise ValueError(f"not a PNG, JPEG, WebP, GIF or BMP image{_other_kind(data)}") from None
    # Pillow's readers answer to hostile bytes with whatever fails in them: struct.error, TypeError, KeyError, …
    except Exception as error:
        raise ValueError(f"broken image ({excerpt(str(error), 80) or type(error).__name__})") from None


def _other_kind(data: bytes) -> str:
    """What else a file is, with what to do, where its first bytes say it."""
    if not data:
        return ", but empty"
    if data.startswith(b"version https://git-lfs"):
        return ", but a pointer of Git LFS; run 'git lfs pull'"
    if data[4:8] == b"ftyp":
        return f", but {'AVIF' if data[8:11] == b'avi' else 'HEIC or a film'}; save it as PNG or JPEG"
    if data.startswith((b"II*\0", b"MM\0*")):
        return ", but TIFF; save it as PNG"
    return ", but a web page" if data.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")) else ""


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none, or none that can be read.

    This tag alone: of the others one of a wrong type would be an error, and says nothing of the picture.
    """
    try:
        found = image.getexif().get(_ORIENTATION)
    except Exception:
        return 1
    return found if isinstance(found, int) else 1


def encode_png(image: Image.Image) -> bytes:
    """PNG bytes, the same for the same pixels."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def data_url(data: bytes) -> str:
    """The bytes, untouched, as a base64 data URL.

    Raises:
        ValueError: none of `FORMATS`, judging by the first bytes.
    """
    return f"data:{mime_type(data)};base64,{base64.b64encode(data).decode()}"


def preview(data: bytes, side: int, max_pixels: int = 40_000_000) -> str:
    """A data URL of an image for a page: its pixels and nothing else of the file, at most `side` pixels a side.

    Raises:
        ValueError: as `decode`.
    """
    picture = decode(data, max_pixels)
    if max(picture.size) <= _SMALL:
        return data_url(encode_png(picture))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return data_url(buffer.getvalue())


def ending(data: bytes) -> str:
    """The file name's ending by the first bytes: 'png', 'jpg', 'webp', 'gif' or 'bmp'.

    Raises:
        ValueError: none of `FORMATS`.
    """
    return mime_type(data).removeprefix("image/").replace("jpeg", "jpg")


def mime_type(data: bytes) -> str:
    """The media type by the first bytes, such as 'image/png'.

    Raises:
        ValueError: none of `FORMATS`.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"BM"):
        return "image/bmp"
    raise ValueError("not a PNG, JPEG, WebP, GIF or BMP image")
