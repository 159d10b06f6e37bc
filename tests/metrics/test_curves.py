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

from anomalyclip_med.errors import MetricError
from anomalyclip_med.metrics import aupro, auroc, average_precision


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


def test_perfect_and_constant_maps() -> None:
    masks = np.zeros((2, 10, 10), bool)
    masks[0, 2:5, 2:5] = True
    assert aupro(masks.astype(float), masks) == pytest.approx(1.0)
    assert auroc(masks.astype(float), masks) == 1.0
    # All pixels tie: the curve is the diagonal, its area up to f is f / 2.
    assert aupro(np.zeros((2, 10, 10)), masks, 0.3) == pytest.approx(0.15)
    assert auroc(np.zeros((2, 10, 10)), masks) == 0.5


@pytest.mark.parametrize("metric", [auroc, average_precision, aupro])
def test_undefined_is_an_error(metric) -> None:
    with pytest.raises(MetricError, match="only normal"):
        metric(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))
    with pytest.raises(MetricError, match="only anomalous"):
        metric(np.zeros((1, 2, 2)), np.ones((1, 2, 2)))
    with pytest.raises(MetricError, match="1 of 4 scores are not finite"):
        metric(np.array([[[np.nan, 0], [0, 0]]]), np.eye(2)[None])
