"""Metrics against the recorded reference values, closed forms and brute force."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from anomalyclip_med.errors import MetricError
from anomalyclip_med.metrics import aupro, auroc, average_precision, f1_max, pixel_ranking
from anomalyclip_med.metrics.ranking import Ranking


@pytest.fixture(scope="module")
def recorded(golden: Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    folder = golden / "metrics"
    return dict(np.load(folder / "maps_masks.npz")), json.loads((folder / "expected.json").read_text())


def test_golden_figures(recorded: tuple[dict[str, np.ndarray], dict[str, float]]) -> None:
    arrays, expected = recorded
    maps, masks = arrays["maps"], arrays["masks"]
    assert auroc(maps, masks) == pytest.approx(expected["pixel_auroc"], abs=1e-9)
    assert average_precision(maps, masks) == pytest.approx(expected["pixel_ap"], abs=1e-9)
    assert aupro(maps, masks) == pytest.approx(expected["aupro_exact_fpr_0_3"], abs=1e-9)
    scores, labels = arrays["image_scores"], arrays["image_labels"]
    assert auroc(scores, labels) == pytest.approx(expected["image_auroc"], abs=1e-9)
    assert average_precision(scores, labels) == pytest.approx(expected["image_ap"], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(2, 300),
    levels=st.integers(1, 40),
    dtype=st.sampled_from([np.float32, np.float64, np.int64]),
)
def test_figures_equal_scikit_learns(seed: int, count: int, levels: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(-levels, levels, count) / (1 if dtype is np.int64 else 7)).astype(dtype)
    labels = rng.random(count) < 0.4
    labels[:2] = 0, 1
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert f1_max(scores, labels) == pytest.approx(f1.max(), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=50))
def test_single_precision_of_any_sign_is_ranked_as_double_precision_is(scores: list[float]) -> None:
    values, masks = np.array([[scores]], np.float32), np.zeros((1, 1, len(scores)), bool)
    masks[0, 0, ::2] = True
    single, double = pixel_ranking(values, masks), pixel_ranking(values.astype(np.float64), masks)
    for name in ("positives", "above", "not_below"):
        np.testing.assert_array_equal(getattr(single, name), getattr(double, name))
    np.testing.assert_allclose(single.weights, double.weights)


def test_millions_of_pixels_are_counted_by_several_threads_alike() -> None:
    rng = np.random.default_rng(0)
    maps, masks = rng.random((40, 256, 256), dtype=np.float32), np.zeros((40, 256, 256), bool)
    masks[:, 30:90, 40:80] = True
    ranking = pixel_ranking(maps, masks)
    order = rng.permutation(40)
    again = pixel_ranking(maps[order], masks[order])
    np.testing.assert_array_equal(ranking.above, again.above)
    np.testing.assert_array_equal(ranking.not_below, again.not_below)
    assert ranking.auroc() == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-12)
    normal = np.sort(maps[~masks])
    highest = maps[masks].max()
    assert ranking.above[0] == (normal > highest).sum()
    assert ranking.weights.sum() == pytest.approx(1)


def aupro_by_walking(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """Every threshold, every region, as the definition reads."""
    numbered = [label(mask) for mask in masks]
    regions = [(i, n == r) for i, n in enumerate(numbered) for r in range(1, n.max() + 1)]
    fpr, pro = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        fpr.append(float((maps[~masks] >= threshold).mean()))
        pro.append(float(np.mean([(maps[i][r] >= threshold).mean() for i, r in regions])))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(zip(fpr, pro, strict=True)):
        if x0 >= limit:
            break
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            x1 = limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(2, 30), limit=st.floats(0.05, 1.0))
def test_aupro_equals_the_definition(seed: int, levels: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, levels, (3, 8, 9)) / levels
    masks = rng.random((3, 8, 9)) < 0.3
    if masks.all() or not masks.any():
        masks[0, 0, 0] = not masks[0, 0, 0]
    assert aupro(maps, masks, limit) == pytest.approx(aupro_by_walking(maps, masks, limit), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 40))
def test_the_curve_is_scikit_learns(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, levels, 50), rng.random(50) < 0.4
    labels[:2] = 0, 1
    fpr, recall = Ranking.of(scores, labels).curve()
    expected_fpr, expected_recall, _ = roc_curve(labels, scores)
    for x, y in zip(expected_fpr, expected_recall, strict=True):  # each of its corners lies on the curve
        segment = [(a, b) for a, b in pairwise(zip(fpr, recall, strict=True)) if a[0] - 1e-9 <= x <= b[0] + 1e-9]
        assert any(
            min(a[1], b[1]) - 1e-9 <= y <= max(a[1], b[1]) + 1e-9
            and abs((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) < 1e-9
            for a, b in segment
        )
    assert np.trapezoid(recall, fpr) == pytest.approx(auroc(scores, labels))


def test_perfect_and_constant_maps() -> None:
    masks = np.zeros((2, 10, 10), bool)
    masks[0, 2:5, 2:5] = True
    assert aupro(masks.astype(float), masks) == pytest.approx(1.0)
    assert auroc(masks.astype(float), masks) == 1.0
    # All pixels tie: the curve is the diagonal, its area up to f is f / 2.
    assert aupro(np.zeros((2, 10, 10)), masks, 0.3) == pytest.approx(0.15)
    assert auroc(np.zeros((2, 10, 10)), masks) == 0.5


@pytest.mark.parametrize("metric", [auroc, average_precision, f1_max, aupro])
def test_undefined_is_an_error(metric) -> None:
    with pytest.raises(MetricError, match="only normal"):
        metric(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))
    with pytest.raises(MetricError, match="only anomalous"):
        metric(np.zeros((1, 2, 2)), np.ones((1, 2, 2)))
    with pytest.raises(MetricError, match="1 of 4 scores are not finite"):
        metric(np.array([[[np.nan, 0], [0, 0]]]), np.eye(2)[None])
