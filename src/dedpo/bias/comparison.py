"""What is known of each pair: two preferences, the raters' votes, and the prompt."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dedpo.stats.arrays import Bools, Floats, Ints


@dataclass(frozen=True)
class Comparison:
    """Row by row; preferences are P(image 1 is better) in [0, 1], NaN where there is none.

    Attributes:
        annotator_name: as its labels, or the table's column, name it.
        prompts: every prompt once, shape (n_prompts,).
        groups: the place in `prompts` of each row's prompt, shape (n,).
        human, annotator: preferences, shape (n,).
        votes: how many raters made each choice, shape (n, 3).
        p_order_01, p_order_10: the annotator's answers in the two orders, shape (n,).
        differences: `covariates.PROPERTIES` of image 1 minus those of image 0, NaN where an image could not be read,
            shape (n, 4); None without images.
        notes: what was left out on the way, as sentences.
        warnings: what a user should look at before anything else, as sentences.
        remedy: what to do if preferences turn out to be the other way round.
    """

    annotator_name: str
    prompts: list[str]
    groups: Ints
    human: Floats
    annotator: Floats
    votes: Floats
    p_order_01: Floats
    p_order_10: Floats
    differences: Floats | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    remedy: str = ""

    @property
    def is_compared(self) -> Bools:
        """Where both preferences are known, shape (n,)."""
        return ~np.isnan(self.human) & ~np.isnan(self.annotator)


def renumbered(groups: Ints) -> Ints:
    """The same grouping, numbered from 0 without gaps."""
    return np.asarray(np.unique(groups, return_inverse=True)[1], dtype=np.int64)
