"""What benchmarks/data.py measures on: small pairs in Pick-a-Pic's layout, a large work folder, a labelling export."""

from __future__ import annotations

import datetime
import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dedpo.contract import tables
from dedpo.outputs.manifest import output_folder

SIDE = 64
COMMENT = 4000
TEMPLATES = 64
ROWS_A_FILE = 10_000
PAIRS_A_PROMPT = 5
RATERS = 200


def pickapic(folder: Path, begin: int, end: int) -> None:
    """Rows [begin, end) as Parquet files of Pick-a-Pic's columns; no two images have the same bytes."""
    folder.mkdir(exist_ok=True)
    templates = _jpegs()
    for first in range(begin, end, ROWS_A_FILE):
        numbers = range(first, min(first + ROWS_A_FILE, end))
        columns = {
            "caption": [f"a small picture, number {i // PAIRS_A_PROMPT}" for i in numbers],
            "jpg_0": [_marked(templates[i % TEMPLATES], 2 * i) for i in numbers],
            "jpg_1": [_marked(templates[i * 7 % TEMPLATES], 2 * i + 1) for i in numbers],
            "label_0": [(0.0, 1.0, 0.5, 1.0)[i % 4] for i in numbers],
            "has_label": [True] * len(numbers),
            "user_id": [i * 31 % RATERS for i in numbers],
            "created_at": [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)] * len(numbers),
        }
        pq.write_table(pa.table(columns), folder / f"pairs-{first:08}.parquet", row_group_size=1000)


def _jpegs() -> list[bytes]:
    """Random pictures of SIDE pixels, smooth with some grain."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(TEMPLATES):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64)
        grainy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(grainy).save(buffer, format="JPEG", quality=85)
        found.append(buffer.getvalue())
    return found


def _marked(jpeg: bytes, number: int) -> bytes:
    """The same picture in a file of its own: random bytes in a comment, for JPEGs cannot be compressed any further."""
    text = np.random.default_rng(number).bytes(COMMENT)
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def labelled_work(work: Path, n: int, rows_a_shard: int = 1000) -> None:
    """A work folder with n pairs of one-pixel pictures, their split and an annotator's labels: for `data select`."""
    ids = [f"{i:024x}" for i in range(n)]
    dot = _dot()
    for first in range(0, n, rows_a_shard):
        part = ids[first : first + rows_a_shard]
        image = pa.array([{"bytes": dot, "path": None}] * len(part), tables.IMAGE)
        prompts = [f"prompt {i // PAIRS_A_PROMPT}" for i in range(first, first + len(part))]
        columns = {"pair_id": part, "prompt": prompts, "image_0": image, "image_1": image}
        table = pa.table(columns | {"group": prompts, "source": ["bench"] * len(part)}, schema=tables.PAIRS.schema)
        (work / "data" / "pairs").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, work / "data" / "pairs" / f"pairs-{first:08}.parquet", compression="zstd")
    preference = np.random.default_rng(0).beta(0.5, 0.5, n)
    write_labels(work / "labels", ids, preference)
    columns = {"pair_id": ids, "split": np.where(np.arange(n) % 10, "train", "holdout")}
    columns |= {"is_labelled": np.arange(n) % 100 == 1, "propensity": np.where(np.arange(n) % 10, 0.01, 1.0)}
    tables.write(pa.table(columns), tables.SPLITS, work / "splits" / "0" / "splits.parquet")


def write_labels(folder: Path, ids: list[str], preference: np.ndarray) -> None:
    """An annotator's labels of the pairs `ids`."""
    n = len(ids)
    columns = {"pair_id": ids, "annotator": ["bench"] * n, "template": ["pairwise-v1"] * n}
    columns |= dict.fromkeys(("preference", "p_order_01", "p_order_10"), preference)
    columns |= {"on_answer_mass": np.ones(n), "attempts": np.ones(n, np.int64), "error": pa.nulls(n, pa.string())}
    tables.write(pa.table(columns), tables.LABELS, folder / "labels.parquet")


def _dot() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, format="PNG")
    return buffer.getvalue()


def finish(work: Path, megabytes: int = 200) -> Path:
    """Labels, targets and a policy of `megabytes` on top of an import and its split, for `trace`: no model is run."""
    ids = tables.read(work / "data" / "pairs", tables.PAIRS, ["pair_id"]).column("pair_id").to_pylist()
    pairs, splits = work / "data" / "pairs", work / "splits" / "0" / "splits.parquet"
    with output_folder(work / "labels", stage="label", config={"model": "bench"}, inputs={"pairs": pairs}) as folder:
        write_labels(folder, ids, np.random.default_rng(0).random(len(ids)))
    labels = work / "labels" / "labels.parquet"
    inputs = {"ratings": work / "data" / "ratings.parquet", "splits": splits, "labels": labels}
    with output_folder(work / "targets" / "0", stage="targets", config={}, inputs=inputs) as folder:
        (folder / "dedpo").mkdir()
        (folder / "dedpo" / "targets.json").write_text('{"arm": "dedpo"}')
    inputs = {"pairs": pairs, "splits": splits, "targets": work / "targets" / "0" / "dedpo"}
    policy = work / "policies" / "0" / "dedpo"
    with output_folder(policy, stage="train", config={"seed": 0}, inputs=inputs) as folder:
        (folder / "unet.safetensors").write_bytes(os.urandom(megabytes << 20))
    return policy


def export(project: Path, path: Path) -> int:
    """A Label Studio export in which one person has answered every task of a round; returns how many."""
    tasks = json.loads((project / "tasks.json").read_text())
    answers = [
        task
        | {
            "id": i,
            "annotations": [
                {
                    "id": i,
                    "completed_by": {"email": "ann@example.org"},
                    "created_at": "2026-01-01T00:00:00Z",
                    "was_cancelled": False,
                    "result": [
                        {
                            "type": "choices",
                            "from_name": "preference",
                            "to_name": "left",
                            "value": {"choices": [("left", "right", "tie")[i % 3]]},
                        }
                    ],
                }
            ],
        }
        for i, task in enumerate(tasks, 1)
    ]
    path.write_text(json.dumps(answers))
    return len(answers)
