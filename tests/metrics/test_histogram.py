"""Figures from histograms: their bounds hold the exact figures, and nothing depends on the order of the images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyclip_med.errors import MetricError
from anomalyclip_med.metrics import PixelHistogram, aupro, auroc, average_precision, f1_max, pixel_ranking


def filled(maps: np.ndarray, masks: np.ndarray, bins: int) -> PixelHistogram:
    histogram = PixelHistogram(bins)
    for anomaly_map, mask in zip(maps, masks, strict=True):
        histogram.add(anomaly_map, mask)
    return histogram


def pictures(seed: int, count: int = 3, side: int = 11) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    masks = rng.random((count, side, side)) < 0.2
    masks[0, :2, 0] = True, False
    return np.clip(rng.beta(2, 5, masks.shape) + 0.2 * masks, 0, 1), masks


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bins=st.integers(2, 300), limit=st.floats(0.05, 1))
def test_the_exact_figures_lie_within_the_bounds(seed: int, bins: int, limit: float) -> None:
    maps, masks = pictures(seed)
    bounds = filled(maps, masks, bins).bounds(limit)
    exact = {
        "auroc": auroc(maps, masks),
        "average_precision": average_precision(maps, masks),
        "f1_max": f1_max(maps, masks),
        "aupro": aupro(maps, masks, limit),
    }
    for name, (low, high) in bounds.items():
        assert low - 1e-12 <= exact[name] <= high + 1e-12, name


def test_scores_that_bins_tell_apart_give_the_exact_ranking() -> None:
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 50, (4, 20, 20)) / 50 + 0.001
    masks = rng.random((4, 20, 20)) < 0.3
    exact, counted = pixel_ranking(maps, masks), filled(maps, masks, 50).ranking()
    for name in ("positives", "above", "not_below"):
        np.testing.assert_array_equal(getattr(exact, name), getattr(counted, name))
    np.testing.assert_allclose(exact.weights, counted.weights, rtol=1e-12)


def test_the_default_bins_are_exact_to_1e_4_on_smooth_maps() -> None:
    maps, masks = pictures(5, count=20, side=100)
    histogram = filled(maps.astype(np.float32), masks, 1 << 16)
    ranking = histogram.ranking()
    assert ranking.auroc() == pytest.approx(auroc(maps, masks), abs=1e-4)
    assert ranking.area(0.3) == pytest.approx(aupro(maps, masks), abs=1e-4)
    low, high = histogram.bounds()["auroc"]
    assert high - low < 1e-4


def test_parts_add_up_in_any_order() -> None:
    maps, masks = pictures(1, count=6)
    whole = filled(maps, masks, 64)
    one, other = filled(maps[4:], masks[4:], 64), filled(maps[:4][::-1], masks[:4][::-1], 64)
    one.merge(other)
    np.testing.assert_array_equal(one.normal, whole.normal)
    np.testing.assert_array_equal(one.anomalous, whole.anomalous)
    np.testing.assert_allclose(one.overlap, whole.overlap, rtol=1e-14)
    assert one.regions == whole.regions


def test_what_cannot_be_counted_is_an_error() -> None:
    histogram = PixelHistogram(8)
    for wrong in (np.array([[1.01]]), np.array([[-0.1]]), np.array([[np.nan]])):
        with pytest.raises(MetricError, match=r"not in \[0, 1\]"):
            histogram.add(wrong, [[0]])
    with pytest.raises(MetricError, match="shape"):
        histogram.add([[0.1]], [[0, 1]])
    with pytest.raises(MetricError, match="only anomalous"):
        histogram.ranking()
    histogram.add([[0.0, 1.0]], [[0, 0]])
    assert histogram.normal.tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
    with pytest.raises(MetricError, match="only normal"):
        histogram.ranking()
