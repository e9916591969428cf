"""Score every sample of every model with the metrics of one oracle."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dedpo import tables
from dedpo.config import ScoreConfig
from dedpo.errors import UserError
from dedpo.images import data_url
from dedpo.manifest import output_folder, write_json
from dedpo.progress import Advance, progress

if TYPE_CHECKING:
    from dedpo.score.oracle import Item, Oracle

BATCH = 32
KEY = [(name, "ascending") for name in tables.SCORES.key]


def run(config: ScoreConfig, *, samples: Path, out: Path) -> dict[str, Any]:
    """Write scores.parquet, sorted by its key: one row for each sample and metric.

    Args:
        samples: folder with shards of the samples table.

    Returns:
        the content of summary.json: counts and each model's mean of each metric.

    Raises:
        UserError: no oracle is named or it cannot be reached, or a sample has no finite value (names model, prompt
            and seed).
    """
    count = tables.count_rows(samples)
    with output_folder(out, stage="score", config=config.model_dump(), inputs={"samples": samples}) as partial:
        rows = asyncio.run(_score_all(config, samples, count))
        scores = pa.Table.from_pylist(rows, schema=tables.SCORES.schema).sort_by(KEY)
        summary = {"samples": count, "means": _means(scores)}
        tables.write(scores, tables.SCORES, partial / "scores.parquet")
        write_json(partial / "summary.json", summary)
    return summary


async def _score_all(config: ScoreConfig, samples: Path, count: int) -> list[dict[str, Any]]:
    from dedpo.score.oracle import Oracle

    rows: list[dict[str, Any]] = []
    batches = _batches(samples)
    async with Oracle(config) as oracle:
        with progress(f"scoring {count} samples", count) as advance:
            # The workers share one iterator, so no more pictures are in memory than are being asked about.
            tasks = [asyncio.create_task(_work(oracle, batches, rows, advance)) for _ in range(config.concurrency)]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    return rows


async def _work(oracle: Oracle, batches: Iterator[list[Item]], rows: list[dict[str, Any]], advance: Advance) -> None:
    for batch in batches:
        for item, scores in zip(batch, await oracle.score(batch), strict=True):
            key = dict(zip(tables.SAMPLES.key, item.key, strict=True))
            rows += [key | {"metric": metric, "value": value} for metric, value in scores.items()]
            advance("")


def _batches(samples: Path) -> Iterator[list[Item]]:
    for shard in tables.iterate(samples, tables.SAMPLES):
        for chunk in shard.to_batches(max_chunksize=BATCH):
            yield [_item(row, samples) for row in chunk.to_pylist()]


def _item(row: dict[str, Any], samples: Path) -> Item:
    from dedpo.score.oracle import Item

    model, prompt_id, seed = row["model"], row["prompt_id"], row["seed"]
    try:
        image = data_url(row["image"]["bytes"] or b"")
    except ValueError as error:
        raise UserError(
            f"{samples}: the image of model '{model}', prompt {prompt_id}, seed {seed} is {error}; sample it again"
        ) from None
    return Item((model, prompt_id, seed), row["prompt"], image)


def _means(scores: pa.Table) -> dict[str, dict[str, float]]:
    """{model: {metric: mean}}; the rows' order is fixed, so the sums are, to the last bit."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in scores.select(["model", "metric", "value"]).to_pylist():
        values[row["model"]][row["metric"]].append(row["value"])
    return {m: {name: sum(v) / len(v) for name, v in by.items()} for m, by in values.items()}
