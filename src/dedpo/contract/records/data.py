"""What an import, its overview, a split and features counted."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

# summary.json of an import: `rows` = ratings + unrated_rows + duplicates + the sum of `set_aside`.
Imported = TypedDict("Imported", {
    "layout": str, "rows": int, "pairs": int, "rated_pairs": int, "ratings": int, "ties": int, "raters": int,
    "unrated_rows": int, "duplicates": int, "set_aside": dict[str, int], "prompts": int, "groups": int,
    "published_splits": dict[str, int], "ignored_columns": list[str], "notes": list[str], "warnings": list[str],
})  # fmt: skip

# Of a round's selected pairs; `elsewhere`: no training pairs of this import.
RoundCounts = TypedDict("RoundCounts", {"selected": int, "answered": int, "missing": int, "elsewhere": int})

# summary.json of a split; `labelled_uniform` and `rounds` where people answered rounds.
Split = TypedDict("Split", {
    "seed": int, "pairs": int, "train": int, "holdout": int, "groups_train": int, "groups_holdout": int,
    "rated_train": int, "rated_holdout": int, "labelled": int, "propensity": float, "warnings": list[str],
    "labelled_uniform": NotRequired[int], "rounds": NotRequired[dict[str, RoundCounts]],
})  # fmt: skip

# features.json: the columns' names, and the share of pairs whose prompts have each word.
Features = TypedDict("Features", {
    "names": list[str], "word_shares": dict[str, float], "embeddings_kept": float | None, "clip_model": str | None,
    "pairs": int, "made": str,
})  # fmt: skip

# What measuring features returns.
Measured = TypedDict("Measured", {"rated_pairs": int, "features": int, "words": int})

Spread = dict[str, float]  # least, median, mean and largest; empty for no values

# Counts, how many pairs a group has, the prompts' lengths and their commonest words (word → share of pairs).
PairNumbers = TypedDict("PairNumbers", {
    "pairs": int, "prompts": int, "groups": int, "sources": dict[str, int], "pairs_of_a_group": Spread,
    "groups_by_pairs": dict[int, int], "prompts_of_a_group": Spread, "words_of_a_prompt": Spread,
    "words": dict[str, float],
})  # fmt: skip

# Ratings by choice, preference and pair; three counts alone where there is none.
RatingNumbers = TypedDict("RatingNumbers", {
    "ratings": int, "rated_pairs": int, "raters": int, "choices": NotRequired[dict[str, int]],
    "preferences": NotRequired[dict[str, int]], "pairs_by_ratings": NotRequired[dict[int, int]],
    "agreement": NotRequired[dict[str, float | None]], "order": NotRequired[dict[str, float]],
    "busiest": NotRequired[list[dict[str, object]]],
})  # fmt: skip

# Sizes in pixels and bytes, and formats, of the images that were looked at.
ImageNumbers = TypedDict("ImageNumbers", {
    "images": int, "widths": Spread, "heights": Spread, "bytes": Spread, "formats": dict[str, int],
    "sizes": dict[str, int], "distinct_sizes": int,
})  # fmt: skip


class Overview(PairNumbers, RatingNumbers):
    """stats.json."""

    images: ImageNumbers
