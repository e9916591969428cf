"""Score every sample of every model: at an oracle's endpoint, and with models that run here."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from PIL import Image

from dedpo import origin, tables
from dedpo.errors import UserError, excerpt
from dedpo.images import data_url, decode
from dedpo.manifest import output_folder, write_json
from dedpo.progress import Advance, progress
from dedpo.score import plan
from dedpo.score.plan import Model
from dedpo.sections import Metric, ScoreConfig
from dedpo.workers import run_all

if TYPE_CHECKING:
    from dedpo.score.oracle import Item, Oracle

BATCH = 32
KEY = [(name, "ascending") for name in tables.SCORES.key]
Rows = list[dict[str, Any]]


def run(config: ScoreConfig, *, samples: Path, out: Path, max_pixels: int = 40_000_000) -> dict[str, Any]:
    """Write scores.parquet, sorted by its key: one row for each sample and asked metric.

    Killed and started again with the same settings and samples, it keeps the metrics of every model that was through.

    Args:
        samples: folder with shards of the samples table.
        max_pixels: a larger sample is refused by the models that run here.

    Returns:
        the content of summary.json: counts and each model's mean of each metric.

    Raises:
        UserError: no oracle is named or it cannot be reached, weights cannot be had, or a sample has no finite value
            (names model, prompt and seed).
    """
    count = tables.count_rows(samples)
    here, on_hub = origin.split_models(plan.named_models(config))
    inputs = {"samples": samples} | here
    with output_folder(
        out,
        stage="score",
        config=config.model_dump(),
        inputs=inputs,
        models=on_hub,
        resumable=True,
        changeable=["concurrency", "timeout"],
    ) as partial:
        parts = []
        if asked := plan.oracle_metrics(config):
            part = _part(partial, asked)
            if not part.is_file():
                _keep(asyncio.run(_score_at_oracle(config, samples, count)), part)
            parts.append(part)
        for model, asked in plan.models(config).items():
            part = _part(partial, asked)
            if not part.is_file():
                _keep(_score_here(config, model, asked, samples, count, max_pixels), part)
            parts.append(part)
        scores = pa.concat_tables([tables.read(part, tables.SCORES) for part in parts]).sort_by(KEY)
        summary = {"samples": count, "means": _means(scores)}
        tables.write(scores, tables.SCORES, partial / "scores.parquet")
        write_json(partial / "summary.json", summary)
    return summary


def _part(folder: Path, metrics: Sequence[Metric]) -> Path:
    """Where one model's finished scores wait for the others': a working file, see `manifest.output_folder`."""
    return folder / f".{'+'.join(metrics)}.parquet"


def _keep(rows: Rows, part: Path) -> None:
    tables.write(pa.Table.from_pylist(rows, schema=tables.SCORES.schema), tables.SCORES, part)


async def _score_at_oracle(config: ScoreConfig, samples: Path, count: int) -> Rows:
    from dedpo.score.oracle import Oracle

    rows: Rows = []
    batches = _batches(samples, BATCH)
    async with Oracle(config) as oracle:
        with progress(f"scoring {count} samples at the oracle", count) as advance:
            # The workers share one iterator, so no more pictures are in memory than are being asked about.
            await run_all(_ask(oracle, batches, samples, rows, advance) for _ in range(config.concurrency))
    return rows


async def _ask(oracle: Oracle, batches: Iterator[Rows], samples: Path, rows: Rows, advance: Advance) -> None:
    for batch in batches:
        items = [_item(row, samples) for row in batch]
        for row, scores in zip(batch, await oracle.score(items), strict=True):
            rows += [_key(row) | {"metric": metric, "value": value} for metric, value in scores.items()]
            advance("")


def _item(row: dict[str, Any], samples: Path) -> Item:
    from dedpo.score.oracle import Item

    try:
        image = data_url(row["image"]["bytes"] or b"")
    except ValueError as error:
        raise _bad_picture(row, samples, error) from None
    return Item((row["model"], row["prompt_id"], row["seed"]), row["prompt"], image)


def _score_here(
    config: ScoreConfig, model: Model, metrics: Sequence[Metric], samples: Path, count: int, max_pixels: int
) -> Rows:
    from dedpo.score.local import LocalScorer

    prompts = tables.read(samples, tables.SAMPLES, columns=[*tables.SAMPLES.key, "prompt"]).column("prompt")
    scorer = LocalScorer(config, model, metrics, prompts.to_pylist())
    rows: Rows = []
    with progress(f"scoring {count} samples with {model.weights}", count) as advance:
        for batch in _batches(samples, config.batch_size):
            pictures = [_picture(row, samples, max_pixels) for row in batch]
            scored = scorer.score(pictures, [row["prompt"] for row in batch])
            for i, row in enumerate(batch):
                values = {metric: scored[metric][i] for metric in metrics}
                rows += [_key(row) | {"metric": m, "value": _finite(v, m, row, model)} for m, v in values.items()]
                advance("")
    return rows


def _picture(row: dict[str, Any], samples: Path, max_pixels: int) -> Image.Image:
    try:
        return decode(row["image"]["bytes"] or b"", max_pixels)
    except ValueError as error:
        raise _bad_picture(row, samples, error) from None


def _finite(value: float, metric: Metric, row: dict[str, Any], model: Model) -> float:
    if not math.isfinite(value):
        raise UserError(
            f"{model.place}: {model.weights}: '{metric}' of model '{row['model']}', prompt {row['prompt_id']} "
            f"('{excerpt(row['prompt'])}'), seed {row['seed']} is {value}; try score.precision fp32, or other weights"
        )
    return value


def _batches(samples: Path, size: int) -> Iterator[Rows]:
    for shard in tables.iterate(samples, tables.SAMPLES):
        for chunk in shard.to_batches(max_chunksize=size):
            yield chunk.to_pylist()


def _key(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in tables.SAMPLES.key}


def _bad_picture(row: dict[str, Any], samples: Path, error: ValueError) -> UserError:
    return UserError(
        f"{samples}: the image of model '{row['model']}', prompt {row['prompt_id']}, seed {row['seed']} is {error}; "
        "sample it again"
    )


def _means(scores: pa.Table) -> dict[str, dict[str, float]]:
    """{model: {metric: mean}}; the rows' order is fixed, so the sums are, to the last bit."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in scores.select(["model", "metric", "value"]).to_pylist():
        values[row["model"]][row["metric"]].append(row["value"])
    return {m: {name: sum(v) / len(v) for name, v in by.items()} for m, by in values.items()}
