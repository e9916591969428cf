"""Small finished outputs, written through the contract, for tests that begin in the middle of the loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from dedpo.contract import tables
from dedpo.contract.sections import Arm, TargetsConfig
from dedpo.outputs.hashes import RUN
from dedpo.rng import generator
from dedpo.targets import stage as targets
from dedpo.vision import images
from dedpo.world.annotators import biased_vlm
from dedpo.world.oracle import human_preferences
from dedpo.world.prompts import prompts_of
from dedpo.world.render import render

BASE = Path(__file__).parent.parent / "models" / "shapes-sd"


def content(folder: Path) -> dict[str, bytes]:
    """The files of an output but the record of its run: what must be the same when the same is made again."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != RUN]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_tables(work: Path, n: int = 40, n_labelled: int = 10, n_holdout: int = 6) -> None:
    """Pairs, ratings, splits and labels of n training pairs and some held-out ones, in the command's layout."""
    rng = np.random.default_rng(0)
    total = n + n_holdout
    drawn = [prompts_of("train")[i] for i in rng.integers(0, 300, total)]
    first, second = render(drawn, rng), render(drawn, rng)
    human = human_preferences(drawn, first, second, rng)
    ids = [f"{i:024x}" for i in range(total)]
    shape = {"pair_id": ids, "prompt": [p.text for p in drawn], "group": [p.text for p in drawn], "source": "test"}
    pairs = _columns(shape, total) | {
        f"image_{i}": [{"bytes": images.encode_png(Image.fromarray(x)), "path": None} for x in block]
        for i, block in enumerate((first, second))
    }
    tables.write(pa.table(pairs), tables.PAIRS, work / "data" / "pairs" / "pairs-0.parquet")
    ratings = {"pair_id": ids, "rater": "human", "preference": human, "source": "test"}
    empty = {"order_shown": pa.nulls(total, pa.string()), "time": pa.nulls(total, pa.timestamp("us", tz="UTC"))}
    tables.write(pa.table(_columns(ratings, total) | empty), tables.RATINGS, work / "data" / "ratings.parquet")
    labelled = set(generator("labelled").permutation(n)[:n_labelled].tolist())
    splits = {
        "pair_id": ids,
        "split": ["train"] * n + ["holdout"] * n_holdout,
        "is_labelled": [i in labelled for i in range(total)],
        "propensity": [n_labelled / n] * n + [1.0] * n_holdout,
    }
    tables.write(pa.table(splits), tables.SPLITS, work / "splits" / "0" / "splits.parquet")
    logits = np.array([biased_vlm(p, a, b) for p, a, b in zip(drawn, first, second, strict=True)])
    answer = 1 / (1 + np.exp(-logits))
    labels = {"pair_id": ids, "annotator": "biased-vlm", "template": "pairwise-v1", "preference": answer}
    labels |= {"p_order_01": answer, "p_order_10": answer, "on_answer_mass": np.ones(total), "attempts": 1}
    columns = _columns(labels, total) | {"error": pa.nulls(total, pa.string())}
    tables.write(pa.table(columns), tables.LABELS, work / "labels" / "labels.parquet")


def write_targets(work: Path, *arms: Arm) -> None:
    """Targets of `arms` from the tables of `write_tables`, and from features if there are any."""
    features = work / "features" / "features.parquet"
    targets.run(
        TargetsConfig(),
        arms=arms,
        ratings=work / "data" / "ratings.parquet",
        splits=work / "splits" / "0" / "splits.parquet",
        labels=work / "labels" / "labels.parquet",
        features=features if features.is_file() else None,
        out=work / "targets" / "0",
    )


def _columns(values: dict[str, object], n: int) -> dict[str, object]:
    """Repeat single values down the column."""
    return {k: [v] * n if isinstance(v, str | int) else v for k, v in values.items()}
