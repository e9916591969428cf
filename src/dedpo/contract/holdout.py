"""Which groups of pairs are held out: one rule for those who split the pairs and those who choose some for people."""

from __future__ import annotations

import hashlib


def is_held_out(group: str, share: float) -> bool:
    """Whether a group belongs to the holdout: a fixed hash of its name, so about `share` of many groups do.

    It depends on nothing else: a group keeps its side when the seed changes or the data grow.
    """
    digest = hashlib.sha256(f"holdout {group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share
