"""What a pair is called: by its content, whichever of its images comes first."""

from __future__ import annotations

import hashlib


def pair_id(prompt: str, sha256_0: str, sha256_1: str) -> str:
    """24 hex digits that name a prompt with two images, whichever of them comes first."""
    first, second = sorted((sha256_0, sha256_1))
    return hashlib.sha256(f"{first}{second}{prompt}".encode()).hexdigest()[:24]


def image_name(sha256: str, ending: str) -> str:
    """What an image file is called in the pairs table."""
    return f"{sha256[:16]}.{ending}"
