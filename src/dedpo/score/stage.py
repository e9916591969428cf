"""Score every sample of every model: at an oracle's endpoint, and with models that run here."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from PIL import Image

from dedpo.asking.answers import Store, adopt, log_folder
from dedpo.asking.workers import run_all
from dedpo.contract import tables
from dedpo.contract.records.evaluation import Scored, Scores
from dedpo.contract.sections import Metric, ScoreConfig
from dedpo.errors import UserError, excerpt
from dedpo.outputs import freshness, origin
from dedpo.outputs.manifest import input_hashes, note_run, output_folder, write_json
from dedpo.score import plan
from dedpo.score.answers import Key, Score, batches, opened, shown_samples
from dedpo.score.plan import Model
from dedpo.terminal import Advance, note_kept, progress
from dedpo.vision.images import data_url, decode
from dedpo.vision.memory import memory_errors

if TYPE_CHECKING:
    from dedpo.score.oracle import Item, Oracle

BATCH = 32
MEMORY_REMEDY = "lower score.batch_size, or set score.precision=bf16; what was scored is kept"
KEY = [(name, "ascending") for name in tables.SCORES.key]
Rows = list[dict[str, Any]]


def run(
    config: ScoreConfig, *, samples: Path, out: Path, max_pixels: int = 40_000_000, log: Path | None = None
) -> Scored:
    """Write scores.parquet, sorted by its key: one row for each sample and asked metric.

    A picture that was scored for its prompt by the same weights, in whichever run, keeps its value: killed and started
    again, or with another model or metric beside the others, only what is new is scored.

    Args:
        samples: folder with shards of the samples table.
        max_pixels: a larger sample is refused by the models that run here.
        log: the folder of all values, which several runs may share; None: `<out>.answers`.

    Returns:
        the content of summary.json, each model's mean of each metric; and how much was measured and carried over.

    Raises:
        UserError: no oracle is named or it cannot be reached, weights cannot be had, or a sample has no finite value
            (names model, prompt and seed), or the samples are of other policies or prompts than lie there now.
    """
    freshness.require(samples, "run 'dedpo sample' again")
    log = log or log_folder(out)
    keys = {
        # Over all shards: no sample is there twice.
        folder.relative_to(samples): tables.read(folder, tables.SAMPLES, list(tables.SAMPLES.key)).to_pylist()
        for folder in tables.with_validation(samples)
    }
    here, on_hub = origin.split_models(plan.named_models(config))
    inputs = {"samples": samples} | here
    with output_folder(out, stage="score", config=config.model_dump(), inputs=inputs, models=on_hub) as partial:
        adopt(out, log)
        pictures = shown_samples(samples)
        weights = input_hashes(partial) | origin.hub_commits(on_hub)
        with ExitStack() as stack:
            stores = {
                metric: stack.enter_context(
                    opened(log, metric, plan.identity(config, metric, weights), pictures.values())
                )
                for metric in config.metrics
            }
            total = len(pictures) * len(stores)
            kept = sum(store.is_answered(picture) for store in stores.values() for picture in pictures.values())
            note_kept("score", "scores", kept, total, f"to measure ({log})")
            if asked := plan.oracle_metrics(config):
                waiting = _Waiting(samples, BATCH, pictures, {m: stores[m] for m in asked})
                asyncio.run(_score_at_oracle(config, samples, waiting))
            for model, asked in plan.models(config).items():
                waiting = _Waiting(samples, config.batch_size, pictures, {m: stores[m] for m in asked})
                _score_here(config, model, samples, waiting, max_pixels)
            scores = {place: _table(stores, pictures, rows) for place, rows in keys.items()}
            for store in stores.values():
                store.write(partial, sorted(store.answers))
        summary: Scores = {
            "samples": len(pictures),
            "means": _means(scores[Path()]),
            # What decided each metric's values: hashes and commits of weights, versions.
            "measured_by": {metric: plan.identity(config, metric, weights) for metric in config.metrics},
        }
        for place, table in scores.items():
            tables.write(table, tables.SCORES, partial / place / "scores.parquet")
        write_json(partial / "summary.json", summary)
        note_run(partial, {"measured": total - kept, "carried_over": kept})
    return {**summary, "measured": total - kept, "carried_over": kept}


@dataclass(frozen=True)
class _Waiting:
    """The samples that lack a score of one of some metrics, by `size` of which some may be left out."""

    samples: Path
    size: int
    pictures: Mapping[Key, str]
    stores: Mapping[Metric, Store[Score]]

    def picture(self, row: Mapping[str, Any]) -> str:
        """What the stores know the sample by."""
        return self.pictures[row["model"], row["prompt_id"], row["seed"]]

    def is_waiting(self, row: Mapping[str, Any]) -> bool:
        return not all(store.is_answered(self.picture(row)) for store in self.stores.values())

    def count(self) -> int:
        return sum(not all(s.is_answered(p) for s in self.stores.values()) for p in self.pictures.values())

    def __iter__(self) -> Iterator[Rows]:
        # Cut as if none were left out: another model more is scored in the batches of a run in one go, to the last bit.
        for chunk in batches(self.samples, self.size):
            if rows := [row for row in chunk.to_pylist() if self.is_waiting(row)]:
                yield rows

    def add(self, row: Mapping[str, Any], values: Mapping[Any, float]) -> None:
        for metric, store in self.stores.items():
            if not store.is_answered(self.picture(row)):
                store.add(Score(self.picture(row), values[metric]))


async def _score_at_oracle(config: ScoreConfig, samples: Path, waiting: _Waiting) -> None:
    from dedpo.score.oracle import Oracle

    if not (count := waiting.count()):
        return
    batches = iter(waiting)
    async with Oracle(config) as oracle:
        with progress(f"scoring {count} samples at the oracle", count) as advance:
            # The workers share one iterator, so no more pictures are in memory than are being asked about.
            await run_all(_ask(oracle, batches, samples, waiting, advance) for _ in range(config.concurrency))


async def _ask(oracle: Oracle, batches: Iterator[Rows], samples: Path, waiting: _Waiting, advance: Advance) -> None:
    for batch in batches:
        items = [_item(row, samples) for row in batch]
        for row, scores in zip(batch, await oracle.score(items), strict=True):
            waiting.add(row, scores)
            advance("")


def _item(row: dict[str, Any], samples: Path) -> Item:
    from dedpo.score.oracle import Item

    try:
        image = data_url(row["image"]["bytes"] or b"")
    except ValueError as error:
        raise _bad_picture(row, samples, error) from None
    return Item((row["model"], row["prompt_id"], row["seed"]), row["prompt"], image)


def _score_here(config: ScoreConfig, model: Model, samples: Path, waiting: _Waiting, max_pixels: int) -> None:
    from dedpo.score.local import LocalScorer

    if not (count := waiting.count()):
        return
    read = [tables.read(f, tables.SAMPLES, [*tables.SAMPLES.key, "prompt"]) for f in tables.with_validation(samples)]
    prompts = [row["prompt"] for table in read for row in table.to_pylist() if waiting.is_waiting(row)]
    many = memory_errors(f"score: {config.batch_size} pictures at a time through {model.weights}", MEMORY_REMEDY)
    with many, progress(f"scoring {count} samples with {model.weights}", count) as advance:
        scorer = LocalScorer(config, model, list(waiting.stores), prompts)
        for batch in waiting:
            pictures = [_picture(row, samples, max_pixels) for row in batch]
            scored = scorer.score(pictures, [row["prompt"] for row in batch])
            for i, row in enumerate(batch):
                waiting.add(row, {m: _finite(values[i], m, row, model) for m, values in scored.items()})
                advance("")


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


def _bad_picture(row: dict[str, Any], samples: Path, error: ValueError) -> UserError:
    return UserError(
        f"{samples}: the image of model '{row['model']}', prompt {row['prompt_id']}, seed {row['seed']} is {error}; "
        "sample it again"
    )


def _table(stores: Mapping[Metric, Store[Score]], pictures: Mapping[Key, str], samples: Rows) -> pa.Table:
    rows = [
        key | {"metric": metric, "value": store.answers[pictures[key["model"], key["prompt_id"], key["seed"]],].value}
        for metric, store in stores.items()
        for key in samples
    ]
    return pa.Table.from_pylist(rows, schema=tables.SCORES.schema).sort_by(KEY)


def _means(scores: pa.Table) -> dict[str, dict[str, float]]:
    """{model: {metric: mean}}; the rows' order is fixed, so the sums are, to the last bit."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in scores.select(["model", "metric", "value"]).to_pylist():
        values[row["model"]][row["metric"]].append(row["value"])
    return {m: {name: sum(v) / len(v) for name, v in by.items()} for m, by in values.items()}
