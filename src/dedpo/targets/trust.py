"""How far each annotator can be trusted, measured on the human-labelled pairs: alone, together, and without each."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedpo.contract import records, tables
from dedpo.contract.records.intervals import Bounded
from dedpo.contract.records.trust import Asking, Trust, Trusted
from dedpo.contract.sections import TargetsConfig
from dedpo.errors import excerpt
from dedpo.rng import generator
from dedpo.stats.calibration import calibration, swap
from dedpo.stats.intervals import Interval
from dedpo.stats.power import best_power, effective_labels, effective_labels_interval, moments_of
from dedpo.stats.recalibration import recalibrated
from dedpo.targets import reading
from dedpo.targets.estimates import Estimates, estimate, residual_products
from dedpo.targets.reading import TrainingPairs, aligned, by_annotator, floats

_COLUMNS: Final = (
    "annotator", "answered", "agrees", "same in both orders", "first", "off by", "recalibrated", "mass", "requests",
    "λ", "n_eff", "without it", "one order",
)  # fmt: skip
# Beside the arms' folders.
FILE: Final = "trust.json"
_NONE: Final = "–"
_MEANING: Final = (
    "agrees: with people, ties left out. first: chooses the picture shown first, 50 % without a lean. off by: "
    "calibration error of its probabilities. mass: probability on its two answers. requests: for a label. λ, n_eff: "
    "{where}, human labels alone that would be as precise. without it: n_eff of the others. one order: n_eff at half "
    "the price."
)
_WHERE: Final = {"probe": "late in training", "reference": "where training begins"}


def measure(config: TargetsConfig, *, ratings: Path, splits: Path, labels: Path, features: Path | None) -> Trust:
    """The same as `trust`, from the tables.

    Raises:
        UserError: as `reading.read`.
    """
    opinions = reading.read(ratings, splits, labels, features)
    return trust(opinions, estimate(opinions, config), labels, config)


def trust(opinions: TrainingPairs, estimates: Estimates, labels: Path, config: TargetsConfig) -> Trust:
    """What trust.json says.

    An annotator's λ̂ and n_eff are those of a run with it alone, at the same probe. The price of one order is that of
    its answers in either of them: each pair's is as good as drawn by a coin.
    """
    answers = by_annotator(tables.read(labels, tables.LABELS))
    places = range(len(opinions.annotators))
    found: dict[str, Trusted] = {}
    for k, name in enumerate(opinions.annotators):
        alone, rest = opinions.of([k]), [i for i in places if i != k]
        others = estimate(opinions.of(rest), config, estimates) if rest else None
        found[name] = {
            **_trusted(alone, estimate(alone, config, estimates) if rest else estimates, config),
            "asking": _asking(answers[name]),
            "n_eff_without": _rounded(_n_eff(others, config).value) if others else None,
            "n_eff_one_order": _one_order(alone, answers[name], estimates, config),
        }
    return {
        "regime": estimates.regime(config.regime),
        "n": len(opinions.human),
        "n_labelled": int(opinions.is_labelled.sum()),
        "ess": round(estimates.ess, 1),
        "annotators": found,
        "together": _trusted(opinions, estimates, config) if len(found) > 1 else None,
    }


def _trusted(opinions: TrainingPairs, estimates: Estimates, config: TargetsConfig) -> Trusted:
    """What the labelled pairs say of an annotator, or of all together."""
    used = opinions.is_labelled & ~np.isnan(opinions.human) & ~np.isnan(estimates.preference)
    human, said = opinions.human[used], estimates.preference[used]
    n_eff, accuracy = _n_eff(estimates, config), estimates.accuracy
    return {
        "agreement": {**_bounded(accuracy.interval), "n": accuracy.n},
        "calibration_error": _finite(calibration(human, said).error),
        "recalibrated_error": _recalibrated(opinions, estimates, config) if used.any() else None,
        "power": best_power(estimates.at(config.regime)),
        "n_eff": _rounded(n_eff.value),
        "n_eff_interval": {"low": _rounded(n_eff.low), "high": _rounded(n_eff.high)},
        "asking": None,
        "n_eff_without": None,
        "n_eff_one_order": None,
    }


def _recalibrated(opinions: TrainingPairs, estimates: Estimates, config: TargetsConfig) -> float | None:
    """The calibration error after cross-fitted recalibration."""
    rated = opinions.is_labelled & ~np.isnan(opinions.human)
    rng = generator("targets", config.seed, "calibration")
    found, _ = recalibrated(estimates.preference, opinions.human, rated, opinions.groups, rng)
    used = rated & ~np.isnan(found)
    return _finite(calibration(opinions.human[used], found[used]).error)


def _n_eff(estimates: Estimates, config: TargetsConfig) -> Interval:
    """Effective labels at their own λ̂; NaN without a labelled pair with an answer."""
    m = estimates.at(config.regime)
    if not estimates.n_labelled:
        return Interval(np.nan, np.nan, np.nan)
    return effective_labels_interval(m, estimates.ess, estimates.n, best_power(m))


def _asking(rows: pa.Table) -> Asking:
    """What the answers to all pairs show, whether people labelled them or not."""
    both = rows.filter(pc.and_(pc.is_valid(rows.column("p_order_01")), pc.is_valid(rows.column("p_order_10"))))
    swapped = swap(floats(both.column("p_order_01")), floats(both.column("p_order_10")))
    answered = rows.filter(pc.is_valid(rows.column("preference")))
    # P(the first) is ½ − ½·(P(image 1 | shown second) − P(image 1 | shown first)) on average.
    bias = swapped.bias
    first = Interval(0.5 - bias.value / 2, 0.5 - bias.high / 2, 0.5 - bias.low / 2)
    attempts = pc.sum(rows.column("attempts")).as_py() or 0
    return {
        "answered": answered.num_rows,
        "consistency": {**_bounded(swapped.consistency), "n": swapped.n},
        "first": _bounded(first),
        "mass": pc.mean(answered.column("on_answer_mass")).as_py(),
        "requests": attempts / answered.num_rows if answered.num_rows and attempts else None,
    }


def _one_order(alone: TrainingPairs, rows: pa.Table, estimates: Estimates, config: TargetsConfig) -> float | None:
    """Effective labels if each pair were asked in one order, drawn by a coin; None where both were never asked."""
    ids = pa.chunked_array([pa.array(alone.pair_ids.tolist(), pa.string())])
    orders = [aligned(ids, rows, name) for name in ("p_order_01", "p_order_10")]
    both = ~np.isnan(orders[0]) & ~np.isnan(orders[1])
    at_probe = estimates.regime(config.regime) == "probe"
    parts = []
    for order in orders:
        answers = np.where(both, order, np.nan)
        if not (alone.is_labelled & ~np.isnan(alone.human) & both).any():
            return None
        parts.append(residual_products(alone, answers, estimates.probe if at_probe else None)[0])
    m = moments_of(np.mean(parts, axis=0))
    return _rounded(effective_labels(m, estimates.ess, int(both.sum()), best_power(m)))


def read(targets: Path) -> Trust | None:
    """What a finished output of `dedpo targets` says; None if nobody had been asked."""
    return records.known(targets / FILE, Trust, "run 'dedpo targets' again")


def numbers(found: Trust) -> dict[str, float | None]:
    """Agreement, λ and effective labels by '<annotator> <measure>', for a tracker."""
    rows = {**found["annotators"]} | ({"together": found["together"]} if found["together"] else {})
    return {
        f"{name} {measure}": value
        for name, row in rows.items()
        for measure, value in (("agreement", row["agreement"]["value"]), ("λ", row["power"]), ("n_eff", row["n_eff"]))
    }


def describe(found: Trust) -> str:
    """A table with a row an annotator, and what its columns mean."""
    rows = {**found["annotators"]} | ({"together": found["together"]} if found["together"] else {})
    cells = [_COLUMNS, *(_cells(name, row) for name, row in rows.items())]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_COLUMNS))]
    # A column that says nothing of anybody is left out.
    shown = [i for i in range(len(_COLUMNS)) if any(row[i] != _NONE for row in cells[1:])]
    lines = ["  ".join(row[i].ljust(widths[i]) if i == 0 else row[i].rjust(widths[i]) for i in shown) for row in cells]
    counts = f"{found['n_labelled']:,} of {found['n']:,} training pairs have a human label"
    where = _WHERE[found["regime"]]
    return "\n".join([f"{counts}, worth {found['ess']:,.0f} alone.", *lines, _MEANING.format(where=where)])


def _cells(name: str, row: Trusted) -> tuple[str, ...]:
    asking, low, high = row["asking"], row["n_eff_interval"]["low"], row["n_eff_interval"]["high"]
    between = f" ({low:,.0f} to {high:,.0f})" if low is not None and high is not None else ""
    return (
        excerpt(name, 40),
        _NONE if asking is None else f"{asking['answered']:,}",
        _share(row["agreement"]),
        _NONE if asking is None else _share(asking["consistency"]),
        _NONE if asking is None else _share(asking["first"]),
        _plain(row["calibration_error"], ".3f"),
        _plain(row["recalibrated_error"], ".3f"),
        _NONE if asking is None else _plain(asking["mass"], ".2f"),
        _NONE if asking is None else _plain(asking["requests"], ".1f"),
        f"{row['power']:.2f}",
        _plain(row["n_eff"], ",.0f") + between,
        _plain(row["n_eff_without"], ",.0f"),
        _plain(row["n_eff_one_order"], ",.0f"),
    )


def _share(found: Bounded) -> str:
    value, low, high = found["value"], found["low"], found["high"]
    if value is None or low is None or high is None:
        return _NONE
    return f"{value:.1%} ({low:.1%} to {high:.1%})"


def _plain(value: float | None, form: str) -> str:
    return _NONE if value is None else format(value, form)


def _bounded(found: Interval) -> Bounded:
    return {"value": _finite(found.value), "low": _finite(found.low), "high": _finite(found.high)}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _rounded(value: float) -> float | None:
    return round(float(value), 1) if np.isfinite(value) else None
