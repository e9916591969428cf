"""What the labelled pairs say of the annotators: accuracy, power λ, effective labels; pure functions of the opinions.

Everything is estimated once for all arms, on the pairs that have an annotator's answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedpo.contract.sections import TargetsConfig
from dedpo.rng import generator
from dedpo.stats.agreement import choices
from dedpo.stats.combination import combined
from dedpo.stats.intervals import Interval, wilson
from dedpo.stats.overlap import correction_weights, kish
from dedpo.stats.power import Moments, best_power, moments_of, products
from dedpo.stats.probe import Probe, cross_fitted
from dedpo.stats.recalibration import recalibrated
from dedpo.targets.reading import TrainingPairs

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Regime = Literal["probe", "reference"]
Calibration = Literal["none", "isotonic", "platt"]

# Fewer labelled pairs with features teach a probe nothing that could be told from chance.
PROBE_LABELS: Final = 20
NO_MOMENTS: Final = Moments(0.0, 0.0, 0.0, np.zeros((3, 3)), 0)


class Accuracy(NamedTuple):
    """Share of labelled pairs on which annotator and human choose alike, of n without a tie; Wilson's interval."""

    interval: Interval
    n: int


@dataclass(frozen=True)
class Estimates:
    """What is known before training; counts are of the pairs with an annotator's answer.

    Attributes:
        preference: ĝ of all annotators together, recalibrated if that was asked for; NaN where none answered; of
            every training pair, answered or not, shape (n_pairs,).
        shares: each annotator's part in ĝ.
        calibration: how ĝ was recalibrated.
        accuracy: of ĝ, on the labelled pairs.
        probe: the model of the human labels, None where none can be fitted.
        no_probe: why there are no moments at a probe's residuals, and the remedy; None if there are.
        n_features: columns of the features.
        reference: moments at the reference; all zero with n = 0 if no labelled pair has an answer.
        residual: moments at the probe's residuals; None without a probe, or if it predicts no pair with an answer.
        power_reference: λ̂ at the reference.
        power_probe: λ̂ at the probe's residuals; None with `residual`.
        ess: how many evenly drawn labelled pairs theirs are worth: Kish's size of 1/π; n_labelled at constant π.
        n_labelled, n: labelled pairs and all pairs, with an answer.
    """

    preference: Floats
    shares: dict[str, float]
    calibration: Calibration
    accuracy: Accuracy
    probe: Probe | None
    no_probe: str | None
    n_features: int
    reference: Moments
    residual: Moments | None
    power_reference: float
    power_probe: float | None
    ess: float
    n_labelled: int
    n: int

    def regime(self, asked: Regime) -> Regime:
        """Where λ and n_eff are taken: as asked, or the reference where no probe can be fitted."""
        return "reference" if self.residual is None else asked

    def at(self, regime: Regime) -> Moments:
        """Moments of `regime`; the reference's where there is no probe."""
        return self.residual if regime == "probe" and self.residual is not None else self.reference


def estimate(opinions: TrainingPairs, config: TargetsConfig, like: Estimates | None = None) -> Estimates:
    """Fit the probe, combine the annotators, recalibrate, and estimate λ in both regimes.

    Labelled pairs count by what their propensity adds to the variance, so that λ is best where labels are rare; n_eff
    with `ess` is exact where π has nothing to do with how sure people are.

    Args:
        like: of the same pairs with other annotators, whose probe this one shares.
    """
    rated, known = _rated(opinions), _known(opinions)
    no_probe = _obstacle(opinions, known)
    probe = None if no_probe else like.probe if like else _fit(opinions, known, config)
    preference, shares, calibration = _preference(opinions, rated, known, probe, config)
    answered = ~np.isnan(preference)
    used = rated & answered
    reference, residual = NO_MOMENTS, None
    if used.any():
        reference = moments_of(residual_products(opinions, preference, None)[0])
    if probe and probe.weights[answered[known]].any():
        residual = moments_of(residual_products(opinions, preference, probe)[0])
    elif probe:
        no_probe = "no labelled pair has both features and an answer; run 'dedpo label' again"
    return Estimates(
        preference=preference,
        shares=shares,
        calibration=calibration,
        accuracy=_accuracy(opinions.human[used], preference[used]),
        probe=probe,
        no_probe=no_probe,
        n_features=opinions.features.shape[1],
        reference=reference,
        residual=residual,
        power_reference=best_power(reference),
        power_probe=None if residual is None else best_power(residual),
        ess=kish(1 / opinions.propensity[used]) if used.any() else 0.0,
        n_labelled=int(used.sum()),
        n=int(answered.sum()),
    )


def residual_products(opinions: TrainingPairs, preference: Floats, probe: Probe | None) -> tuple[Floats, Ints]:
    """u², v² and u·v of each labelled pair with an answer, shape (3, n), and its prompt's number, shape (n,).

    Args:
        preference: ĝ, NaN where none answered; shape (n_pairs,).
        probe: whose residuals, on the pairs that it knows; None: those at the reference.
    """
    rated = _rated(opinions)
    predicted, slopes = np.full(len(rated), 0.5), np.ones(len(rated))
    if probe:
        rated = _known(opinions)
        predicted[rated], slopes[rated] = probe.predicted, probe.weights
    used = rated & ~np.isnan(preference)
    weights = slopes[used] * correction_weights(opinions.propensity)[used]
    return products(opinions.human[used], preference[used], predicted[used], weights), opinions.groups[used]


def _rated(opinions: TrainingPairs) -> Bools:
    """The labelled pairs."""
    return np.asarray(opinions.is_labelled & ~np.isnan(opinions.human))


def _known(opinions: TrainingPairs) -> Bools:
    """The labelled pairs that have features."""
    return np.asarray(np.isfinite(opinions.features).all(axis=1) & _rated(opinions))


def _obstacle(opinions: TrainingPairs, known: Bools) -> str | None:
    """Why no probe can be fitted on the `known` pairs; None if one can."""
    if not opinions.features.shape[1]:
        return "there are no features of the pairs; run 'dedpo data features'"
    if (n := int(known.sum())) < PROBE_LABELS:
        return f"{n} labelled pairs have features, of {PROBE_LABELS} needed; label more or run 'dedpo data features'"
    if not opinions.features[known].any():
        return "all features of the labelled pairs are zero; run 'dedpo data features' with data.clip_model"
    return None


def _fit(opinions: TrainingPairs, known: Bools, config: TargetsConfig) -> Probe:
    rng = generator("targets", config.seed, "probe")
    return cross_fitted(opinions.features[known], opinions.human[known], opinions.groups[known], rng)


def _preference(
    opinions: TrainingPairs, rated: Bools, known: Bools, probe: Probe | None, config: TargetsConfig
) -> tuple[Floats, dict[str, float], Calibration]:
    """ĝ of every pair, the annotators' shares, and the recalibration used."""
    answered = np.asarray(~np.isnan(opinions.annotations).all(axis=1))
    rows, used = opinions.where(answered), rated[answered]
    k = len(opinions.annotators)
    found, shares = np.nanmean(rows.annotations, axis=1), np.full(k, 1 / k)
    if k > 1 and used.any():
        predicted, weights = (values[answered] for values in _at_probe(known, probe))
        rng = generator("targets", config.seed, "combination")
        found, shares = combined(
            rows.annotations,
            rows.human,
            used,
            rows.groups,
            rng,
            predicted,
            weights * correction_weights(rows.propensity),
        )
    method: Calibration = "none"
    if config.calibrate and used.any():
        rng = generator("targets", config.seed, "calibration")
        found, method = recalibrated(found, rows.human, used, rows.groups, rng)
    preference = np.full(len(answered), np.nan)
    preference[answered] = found
    return preference, dict(zip(opinions.annotators, map(float, shares), strict=True)), method


def _at_probe(known: Bools, probe: Probe | None) -> tuple[Floats, Floats]:
    """The probe's σ(h) and ‖∇h‖² of every pair; one that it does not know weighs nothing. Without it, the reference."""
    predicted, weights = np.full(len(known), 0.5), np.full(len(known), 0.0 if probe else 1.0)
    if probe:
        predicted[known], weights[known] = probe.predicted, probe.weights
    return predicted, weights


def _accuracy(human: Floats, annotator: Floats) -> Accuracy:
    mine, theirs = choices(human), choices(annotator)
    untied = (mine != 1) & (theirs != 1)
    n = int(untied.sum())
    return Accuracy(wilson(int((mine == theirs)[untied].sum()), n), n)
