"""From a comparison to facts: everything that bias.json holds, with a reason for what could not be computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np

from dedpo.bias import picture
from dedpo.bias.comparison import Comparison, renumbered
from dedpo.contract.records.bias import (
    Agreement,
    Analysis,
    Bin,
    Calibration,
    Ceiling,
    Position,
    Property,
    Roc,
    Weight,
    Word,
)  # fmt: skip
from dedpo.contract.records.intervals import Bounded
from dedpo.contract.sections import BiasConfig
from dedpo.rng import generator
from dedpo.stats import agreement, lift, roc, weights
from dedpo.stats.arrays import Bools, Floats
from dedpo.stats.calibration import calibration, swap
from dedpo.stats.intervals import Interval
from dedpo.vision.covariates import PROPERTIES

CHOICE_NAMES: Final = ("image 0", "a tie", "image 1")
T = TypeVar("T")


class Gap(Exception):  # noqa: N818 (no error: a reason to be shown)
    """Why something could not be computed, as a sentence."""


def analyse(compared: Comparison, config: BiasConfig) -> Analysis:
    """Compare the annotator with people; what cannot be computed is None and has its reason in 'could_not_compute'."""
    gaps: dict[str, str] = {}

    def attempt(name: str, part: Callable[[], T]) -> T | None:
        try:
            return part()
        except Gap as gap:
            gaps[name] = str(gap)
            return None

    agreed = attempt("agreement", lambda: _agreement(compared, config, gaps))
    choices, curve = _choices(compared)
    ceiling = attempt("ceiling", lambda: _ceiling(compared, config))
    position = attempt("position_bias", lambda: _position(compared))
    calibrated = attempt("calibration", lambda: _calibration(compared))
    words = attempt("words", lambda: _words(compared, config)) or []
    guilty = next((w for w in words if w["flagged"] and w["lift"] > 0), None)
    properties = attempt("properties", lambda: _properties(compared, config, guilty, gaps)) or []
    return {
        "annotator": compared.annotator_name,
        "notes": compared.notes + _left_out(compared),
        "agreement": agreed,
        "choices": choices,
        "roc": curve,
        "ceiling": ceiling,
        "position_bias": position,
        "calibration": calibrated,
        "words": words,
        "properties": properties,
        "picture": picture.choose(compared, properties, guilty),
        "could_not_compute": gaps,
    }


def finite(value: float) -> float | None:
    """A plain number for JSON, None for what is not finite."""
    return float(value) if np.isfinite(value) else None


def spread(found: Interval) -> Bounded:
    """An interval for JSON."""
    return {"value": finite(found.value), "low": finite(found.low), "high": finite(found.high)}


def _left_out(compared: Comparison) -> list[str]:
    counts = {
        "human preference": int(np.isnan(compared.human).sum()),
        "answer of the annotator": int(np.isnan(compared.annotator).sum()),
    }
    return [
        f"{n:,} of {len(compared.human):,} pairs have no {what} and are left out." for what, n in counts.items() if n
    ]


def _agreement(compared: Comparison, config: BiasConfig, gaps: dict[str, str]) -> Agreement:
    kept = compared.is_compared
    if not kept.any():
        raise Gap("No pair has both a human preference and an answer of the annotator.")
    human, annotator = compared.human[kept], compared.annotator[kept]
    found = agreement.agreement(
        human,
        annotator,
        renumbered(compared.groups[kept]),
        bootstrap=config.bootstrap,
        rng=generator("bias", config.seed, "agreement"),
    )
    if found.n_prompts < 2:
        gaps["clustered interval"] = "All pairs have one prompt: the interval takes pairs as independent."
    if not found.n_decided:
        gaps["agreement without ties"] = "On every pair one side or both tie."
    kappa = found.kappa
    for who, values in (("human preference", human), ("answer of the annotator", annotator)):
        made = np.unique(agreement.choices(values))
        if len(made) == 1:
            kappa = Interval(np.nan, np.nan, np.nan)
            gaps["kappa"] = (
                f"Every {who} is {CHOICE_NAMES[made[0]]}: with one choice there is no chance to correct for."
            )
    return {
        **spread(found.outer),
        "n": found.n,
        "n_prompts": found.n_prompts,
        "kappa": finite(kappa.value),
        "kappa_low": finite(kappa.low),
        "kappa_high": finite(kappa.high),
        "wilson": spread(found.wilson),
        "clustered": spread(found.clustered),
        "decided": {**spread(found.decided), "n": found.n_decided},
    }


def _choices(compared: Comparison) -> tuple[list[list[int]] | None, Roc | None]:
    """People's choices (rows) against the annotator's, and how well its preferences tell theirs apart."""
    kept = compared.is_compared
    human, annotator = compared.human[kept], compared.annotator[kept]
    counts = agreement.confusion(human, annotator, np.zeros(len(human), dtype=np.int64)).sum(axis=0)
    found = roc.curve(human, annotator)
    curve: Roc | None = None
    if found:
        curve = {
            "false_positive": found.false_positive.tolist(),
            "true_positive": found.true_positive.tolist(),
            "threshold": found.threshold.tolist(),
            "area": found.area,
        }
    return counts.astype(int).tolist() if len(human) else None, curve


def _ceiling(compared: Comparison, config: BiasConfig) -> Ceiling:
    if not (compared.votes.sum(axis=1) >= 2).any():
        raise Gap("No pair has two human raters.")
    rng = generator("bias", config.seed, "ceiling")
    found = agreement.ceiling(compared.votes, compared.annotator, compared.groups, bootstrap=config.bootstrap, rng=rng)
    return {
        **spread(found.share),
        "fleiss_kappa": finite(found.fleiss),
        "one_human": finite(found.one_human),
        "n": found.n_pairs,
        "n_rater_pairs": found.n_rater_pairs,
    }


def _position(compared: Comparison) -> Position:
    both = ~np.isnan(compared.p_order_01) & ~np.isnan(compared.p_order_10)
    if not both.any():
        raise Gap("The annotator's answers in the two orders are not known.")
    found = swap(compared.p_order_01[both], compared.p_order_10[both])
    return {**spread(found.bias), "consistency": spread(found.consistency), "n": found.n}


def _calibration(compared: Comparison) -> Calibration:
    kept = compared.is_compared
    annotator = compared.annotator[kept]
    if not kept.any():
        raise Gap("No pair has both a human preference and an answer of the annotator.")
    if np.isin(annotator, (0.0, 0.5, 1.0)).all():
        raise Gap("The annotator gives choices (0, ½ or 1), not probabilities.")
    found = calibration(compared.human[kept], annotator)
    bins: list[Bin] = [
        {**spread(human), "said": float(said), "n": int(n)}
        for said, human, n in zip(found.said, found.human, found.counts, strict=True)
    ]
    return {"error": finite(found.error), "bins": bins}


def _words(compared: Comparison, config: BiasConfig) -> list[Word]:
    kept = compared.is_compared
    differ = _disagreements(compared, kept)
    if differ.size == 0 or differ.min() == differ.max():
        rest = "and so no word can matter" if differ.size else "so there is nothing to compare"
        raise Gap(f"Annotator and people {'always differ' if differ.any() else 'never differ'}, {rest}.")
    places, groups = np.unique(compared.groups[kept], return_inverse=True)
    found = lift.word_lift(
        [compared.prompts[i] for i in places],
        differ,
        groups,
        min_support=config.min_support,
        permutations=config.permutations,
        alpha=config.alpha,
        rng=generator("bias", config.seed, "words"),
    )
    if not found:
        raise Gap(
            f"No word occurs in {config.min_support} or more of the {len(places):,} different prompts and is missing "
            "from as many (bias.min_support)."
        )
    return [_word(w, config.alpha) for w in found]


def _word(found: lift.Lift, alpha: float) -> Word:
    return {
        "word": found.words[0],
        "words": list(found.words),
        "n_prompts": found.n_prompts,
        "n_pairs": found.n_pairs,
        "disagreement": found.rate,
        "disagreement_without": found.rate_without,
        "lift": found.lift,
        "low": finite(found.low),
        "high": finite(found.high),
        "p": found.p,
        "q": found.q,
        "flagged": bool(found.q <= alpha),
    }


def _disagreements(compared: Comparison, kept: Bools) -> Floats:
    human, annotator = (agreement.choices(p[kept]) for p in (compared.human, compared.annotator))
    return np.asarray(human != annotator, dtype=np.float64)


def _properties(compared: Comparison, config: BiasConfig, guilty: Word | None, gaps: dict[str, str]) -> list[Property]:
    """Weights everywhere, and where the guiltiest word is; one family of tests."""
    if compared.differences is None:
        raise Gap("The table has no images.")
    measured = compared.is_compared & ~np.isnan(compared.differences).any(axis=1)
    scopes: list[tuple[str | None, Bools]] = [(None, measured)]
    if guilty:
        scopes.append((guilty["word"], measured & picture.has_word(compared, guilty["word"])))
    rows = [row for where, kept in scopes for row in _weights(compared, where, kept, gaps)]
    if not rows:
        raise Gap("There are too few prompts with both preferences, or the images of each pair have equal properties.")
    from scipy.stats import false_discovery_control  # scipy takes 0.3 s to import

    q = false_discovery_control([r["p"] for r in rows])
    return [{**r, "q": float(v), "flagged": bool(v <= config.alpha)} for r, v in zip(rows, q, strict=True)]


def _weights(compared: Comparison, where: str | None, kept: Bools, gaps: dict[str, str]) -> list[Weight]:
    assert compared.differences is not None
    raw = compared.differences[kept]
    # One unit for all prompts, so that the weights of two scopes can be held side by side.
    scale = picture.scales(compared)
    varying = [j for j in range(len(PROPERTIES)) if len(raw) and scale[j] > 0 and np.ptp(raw[:, j]) > 0]
    for j in set(range(len(PROPERTIES))) - set(varying):
        gaps[f"weight of {PROPERTIES[j]}"] = "It never differs between the two images of a pair."
    human, annotator = (agreement.choices(p[kept]) / 2 for p in (compared.human, compared.annotator))
    found = (
        weights.weights(raw[:, varying] / scale[varying], human, annotator, compared.groups[kept]) if varying else None
    )
    if found is None:
        return []
    return [
        {
            "property": PROPERTIES[j],
            "where": where,
            "n": int(kept.sum()),
            "human": float(found.human[i]),
            "annotator": float(found.annotator[i]),
            "annotator_low": float(found.annotator_low[i]),
            "annotator_high": float(found.annotator_high[i]),
            "difference": float(found.difference[i]),
            "low": float(found.low[i]),
            "high": float(found.high[i]),
            "p": float(found.p[i]),
        }
        for i, j in enumerate(varying)
    ]
