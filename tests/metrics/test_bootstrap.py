"""Intervals: against a bootstrap written out, a closed form, and the effect of grouping."""

from __future__ import annotations

import numpy as np
import pytest

from anomalyclip_med.errors import MetricError
from anomalyclip_med.metrics import PixelHistogram, aupro, auroc, image_intervals, pixel_intervals


def test_the_width_is_that_of_the_mann_whitney_statistic() -> None:
    """Hanley and McNeil 1982: the standard error of an AUROC of two Gaussians."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 2
    scores = rng.normal(labels * 1.5)
    area = auroc(scores, labels)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + 299 * (q1 - area**2) + 299 * (q2 - area**2)) / 300**2
    low, high = image_intervals(scores, labels)["auroc"]
    assert low < area < high
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=0.1)


def test_images_of_one_patient_are_drawn_together() -> None:
    """Ten equal images per patient tell no more than one: the interval is that of the patients."""
    rng = np.random.default_rng(1)
    labels = np.arange(40) % 2
    scores = rng.normal(labels)
    ten = np.repeat(np.arange(40), 10)
    apart = image_intervals(scores, labels)["auroc"]
    assert image_intervals(scores[ten], labels[ten], groups=list(ten))["auroc"] == pytest.approx(apart)
    low, high = image_intervals(scores[ten], labels[ten])["auroc"]
    assert high - low < 0.5 * (apart[1] - apart[0])


def test_pixel_intervals_equal_a_bootstrap_of_the_maps() -> None:
    rng = np.random.default_rng(2)
    masks = rng.random((12, 16, 16)) < 0.2
    shift = rng.normal(0, 0.15, (12, 1, 1))
    maps = np.clip(rng.normal(0.4, 0.1, masks.shape) + 0.1 * masks + shift, 0, 1)
    histograms = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        histograms.append(PixelHistogram(1000))
        histograms[-1].add(anomaly_map, mask)
    found = pixel_intervals(histograms)
    draws = [rng.integers(0, 12, 12) for _ in range(1000)]
    for name, metric in (("auroc", auroc), ("aupro", aupro)):
        low, high = np.quantile([metric(maps[d], masks[d]) for d in draws], (0.025, 0.975))
        assert found[name] == pytest.approx((low, high), abs=0.02)


def test_the_seed_decides_the_draws() -> None:
    labels, scores = np.arange(30) % 2, np.random.default_rng(3).random(30)
    assert image_intervals(scores, labels, seed=1) == image_intervals(scores, labels, seed=1)
    assert image_intervals(scores, labels, seed=1) != image_intervals(scores, labels, seed=2)


def test_one_class_has_no_interval() -> None:
    with pytest.raises(MetricError, match="no resample"):
        image_intervals([0.1, 0.2], [1, 1])
