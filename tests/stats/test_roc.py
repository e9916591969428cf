"""The curve against its definition, threshold by threshold and pair by pair."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dedpo.stats.roc import POINTS, curve

PREFERENCES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0])), min_size=1, max_size=40
)


@given(PREFERENCES)
def test_every_point_is_what_its_threshold_gives(rows: list[tuple[float, float]]) -> None:
    human, annotator = (np.array(column) for column in zip(*rows, strict=True))
    found = curve(human, annotator)
    ones, zeros = annotator[human > 0.5], annotator[human < 0.5]
    if len(ones) == 0 or len(zeros) == 0:
        assert found is None
        return
    assert found is not None
    assert (found.false_positive[0], found.true_positive[0]) == (0, 0)
    assert (found.false_positive[-1], found.true_positive[-1]) == (1, 1)
    for fpr, tpr, threshold in zip(*found[:3], strict=True):
        np.testing.assert_allclose([fpr, tpr], [np.mean(zeros >= threshold), np.mean(ones >= threshold)])
    compared = np.sign(ones[:, None] - zeros[None, :])
    np.testing.assert_allclose(found.area, np.mean((1 + compared) / 2))


def test_many_thresholds_are_thinned_out_and_the_ends_stay() -> None:
    rng = np.random.default_rng(0)
    annotator = rng.uniform(size=5000)
    found = curve((rng.uniform(size=5000) < annotator).astype(float), annotator)
    assert found is not None
    assert len(found.threshold) <= POINTS
    assert (found.true_positive[-1], found.false_positive[-1]) == (1, 1)
    assert 0.8 < found.area < 0.87
