"""The bias in one picture: how often people and the annotator choose image 1, the more it has of one property."""

from __future__ import annotations

from typing import Final

import numpy as np

from dedpo.bias.comparison import Comparison
from dedpo.contract.records.bias import Panel, Picture, Point, Property, Word
from dedpo.contract.records.intervals import Bounded
from dedpo.stats.agreement import choices
from dedpo.stats.arrays import Bools, Floats
from dedpo.stats.intervals import wilson
from dedpo.stats.lift import words_of
from dedpo.vision.covariates import PROPERTIES

BINS: Final = 5


def has_word(compared: Comparison, word: str) -> Bools:
    """Which rows' prompts have the word, shape (n,)."""
    having = np.array([word in words_of(p) for p in compared.prompts], dtype=bool)
    return having[compared.groups] if len(having) else np.zeros(0, dtype=bool)


def scales(compared: Comparison) -> Floats:
    """The unit of each property's difference, its root mean square over all compared pairs, shape (4,)."""
    assert compared.differences is not None
    measured = compared.differences[compared.is_compared]
    known = measured[~np.isnan(measured).any(axis=1)]
    return np.asarray(np.sqrt((known**2).mean(axis=0))) if len(known) else np.zeros(len(PROPERTIES))


def choose(compared: Comparison, properties: list[Property], guilty: Word | None) -> Picture | None:
    """The property that differs most, where the guiltiest word is if there is one; None if no property is flagged."""
    word = guilty["word"] if guilty else None
    flagged = [p for p in properties if p["flagged"] and p["where"] == word]
    if not flagged:
        return None
    worst = max(flagged, key=lambda p: abs(p["difference"]))
    assert compared.differences is not None
    j = PROPERTIES.index(worst["property"])
    x = compared.differences[:, j] / scales(compared)[j]
    kept = compared.is_compared & ~np.isnan(x)
    if word is None:
        scopes = [("all prompts", kept)]
    else:
        inside = has_word(compared, word)
        scopes = [(f"prompts with “{word}”", kept & inside), ("all other prompts", kept & ~inside)]
    panels: list[Panel] = [
        {"title": title, "n": int(s.sum()), "bins": _bins(x, compared, s)} for title, s in scopes if s.any()
    ]
    return {"property": worst["property"], "word": word, "panels": panels}


def _bins(x: Floats, compared: Comparison, kept: Bools) -> list[Point]:
    """Equally filled bins of x, each with both shares."""
    rows = np.flatnonzero(kept)
    parts = np.array_split(rows[np.argsort(x[rows], kind="stable")], min(BINS, len(rows)))
    return [
        {
            "x": float(x[part].mean()),
            "n": len(part),
            "human": _share(compared.human[part]),
            "annotator": _share(compared.annotator[part]),
        }
        for part in parts
    ]


def _share(preferences: Floats) -> Bounded:
    """How often image 1 is chosen, a tie counting half."""
    found = wilson(float((choices(preferences) / 2).sum()), len(preferences))
    return {"value": found.value, "low": found.low, "high": found.high}
