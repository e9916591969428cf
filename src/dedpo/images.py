"""Images as bytes: decoded with limits, encoded as PNG."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError


def decode(data: bytes, max_pixels: int = 40_000_000) -> Image.Image:
    """Decode one still image to RGB; the first frame of an animation, transparency on white.

    Raises:
        ValueError: not an image, truncated, or more than `max_pixels` (checked before any pixel is decoded).
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > max_pixels:
                raise ValueError(f"{image.width}×{image.height} pixels exceed the limit of {max_pixels:,}")
            image.load()
            if image.mode.startswith("I;16") or image.mode in ("I", "F"):
                raise ValueError(f"mode {image.mode} (more than 8 bits a channel) is not supported; save it as 8-bit")
            if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
                rgba = image.convert("RGBA")
                white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
                return Image.alpha_composite(white, rgba).convert("RGB")
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise ValueError("not an image that Pillow can read") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"broken image ({error})") from None


def encode_png(image: Image.Image) -> bytes:
    """PNG bytes, the same for the same pixels."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
