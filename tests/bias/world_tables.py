"""Finished tables of the embedded world, with any annotator: for tests of the bias stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from dedpo.contract import tables
from dedpo.vision import images
from dedpo.world.annotators import Annotator
from dedpo.world.oracle import human_preferences
from dedpo.world.prompts import prompts_of
from dedpo.world.render import render


def write(
    work: Path, annotator: Annotator, *, n: int, seed: int = 0, rename: Callable[[str], str] = lambda text: text
) -> dict[str, Path]:
    """n labelled pairs below `work`; returns the stage's four inputs."""
    rng = np.random.default_rng(seed)
    known = prompts_of("train")
    drawn = [known[i] for i in rng.integers(0, len(known), n)]
    first, second = render(drawn, rng), render(drawn, rng)
    human = human_preferences(drawn, first, second, rng)
    logits = np.array([annotator(p, a, b) for p, a, b in zip(drawn, first, second, strict=True)])
    swapped = -np.array([annotator(p, b, a) for p, a, b in zip(drawn, first, second, strict=True)])
    ids = [f"{i:024x}" for i in range(n)]
    texts = [rename(p.text) for p in drawn]
    shown = {
        f"image_{i}": [{"bytes": images.encode_png(Image.fromarray(x)), "path": None} for x in block]
        for i, block in enumerate((first, second))
    }
    paths = {name: work / f"{name}.parquet" for name in ("pairs", "ratings", "splits", "labels")}
    pairs = {"pair_id": ids, "prompt": texts, "group": texts, "source": ["test"] * n}
    tables.write(pa.table(pairs | shown), tables.PAIRS, paths["pairs"])
    ratings = {"pair_id": ids, "rater": ["human"] * n, "preference": human, "source": ["test"] * n}
    unknown = {"order_shown": pa.nulls(n, pa.string()), "time": pa.nulls(n, pa.timestamp("us", tz="UTC"))}
    tables.write(pa.table(ratings | unknown), tables.RATINGS, paths["ratings"])
    splits = {"pair_id": ids, "split": ["train"] * n, "is_labelled": [True] * n, "propensity": [1.0] * n}
    tables.write(pa.table(splits), tables.SPLITS, paths["splits"])
    orders = [1 / (1 + np.exp(-values)) for values in (logits, swapped)]
    labels = {
        "pair_id": ids,
        "annotator": ["tested"] * n,
        "template": ["pairwise-v1"] * n,
        "preference": np.mean(orders, axis=0),
        "p_order_01": orders[0],
        "p_order_10": orders[1],
        "on_answer_mass": np.ones(n),
        "attempts": [2] * n,
        "error": pa.nulls(n, pa.string()),
    }
    tables.write(pa.table(labels), tables.LABELS, paths["labels"])
    return paths
