"""People's ratings with a share of them turned round: a control that no run without them could have."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Final

from dedpo.contract.sections import AnnotatorConfig
from dedpo.label.table import Asked, plain

UNRATED: Final = "nobody has rated it"


def label(config: AnnotatorConfig, pair_ids: list[str], ratings: Mapping[str, float]) -> Asked:
    """The mean rating of each pair, 1 minus it in a share of `config.share`; the same pairs whatever others there are.

    Args:
        pair_ids: sorted.
        ratings: the mean preference of each rated pair.
    """
    found = [(pair_id, ratings.get(pair_id)) for pair_id in pair_ids]
    rows = [
        (pair_id, 1 - p if is_turned(config, pair_id) else p, None) if p is not None else (pair_id, None, UNRATED)
        for pair_id, p in found
    ]
    lacking = sum(p is None for _, p in found)
    return Asked(plain(config, rows), Counter({UNRATED: lacking} if lacking else {}), 0, len(pair_ids))


def is_turned(config: AnnotatorConfig, pair_id: str) -> bool:
    """Whether the rating of a pair is turned round: of a pair's name, which its images' order does not change."""
    digest = hashlib.sha256(f"flip {config.seed} {pair_id}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 < config.share
