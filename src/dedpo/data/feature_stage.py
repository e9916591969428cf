"""How the rated pairs' images differ, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa

from dedpo.contract import tables
from dedpo.contract.model_names import check_name
from dedpo.contract.records.data import Features, Measured
from dedpo.contract.sections import DataConfig
from dedpo.data import features as features_
from dedpo.data import image_differences, imported
from dedpo.outputs import origin
from dedpo.outputs.manifest import output_folder, write_json

# Pairs that are measured at a time.
BATCH: Final = 64


def features(config: DataConfig, *, data: Path, out: Path, ratings: Path | None = None) -> Measured:
    """Measure every rated pair; write features.parquet, sorted by pair_id, and features.json, which names the columns.

    Swapping a pair's images changes the sign of its features and nothing else. Only whether a pair is rated decides
    here, never how.

    Args:
        data: a finished import.
        ratings: its ratings and what people answered since (`dedpo data ratings`); None: the import's.

    Returns:
        counts.

    Raises:
        UserError: no pair is rated, a shard or an image in it is broken, or config.clip_model cannot be had.
    """
    settings = config.model_dump(include={"clip_model", "max_pixels"})
    if config.clip_model is not None:
        check_name(config.clip_model, image_differences.PLACE)
    here, on_hub = origin.split_models({"clip_model": config.clip_model})
    inputs = {"data": data} | here
    if ratings is not None:
        inputs["ratings"] = ratings
    with output_folder(out, stage="features", config=settings, inputs=inputs, models=on_hub) as partial:
        pairs = imported.rated_pairs(data / "pairs", data / "ratings.parquet", ratings)
        prompts = pairs.column("prompt").to_pylist()
        batches = imported.image_pairs(data / "pairs", pairs.column("pair_id"), BATCH)
        measured, embeddings = image_differences.measure(config, prompts, batches)
        found = features_.assemble(prompts, measured, embeddings)
        rows = pairs.select(["pair_id", "group"]).append_column("features", pa.array(list(found.values)))
        tables.write(rows.sort_by("pair_id"), tables.FEATURES, partial / "features.parquet")
        record: Features = {
            "names": found.names,
            "word_shares": found.word_shares,
            "embeddings_kept": found.kept,
            "clip_model": config.clip_model,
            "pairs": len(prompts),
            "made": features_.MADE,
        }
        write_json(partial / "features.json", record)
    return {"rated_pairs": len(prompts), "features": len(found.names), "words": len(found.word_shares)}
