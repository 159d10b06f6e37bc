"""The authors' AUPRO: the recorded figure, and the same thresholds walked one by one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from anomalyclip_med.errors import MetricError
from anomalyclip_med.metrics import aupro, aupro_reference


def test_golden_figure(golden: Path) -> None:
    arrays = np.load(golden / "metrics" / "maps_masks.npz")
    expected = json.loads((golden / "metrics" / "expected.json").read_text())["aupro_reference_200_thresholds"]
    assert aupro_reference(arrays["maps"], arrays["masks"]) == pytest.approx(expected, abs=1e-9)


def walked(maps: np.ndarray, masks: np.ndarray) -> float:
    """Every threshold, every region."""
    regions = [(i, numbered == r) for i, numbered in enumerate(map(label, masks)) for r in range(1, numbered.max() + 1)]
    low, high = maps.min(), maps.max()
    rates, overlaps = [], []
    for threshold in np.arange(low, high, (high - low) / 200):
        rates.append((maps[~masks] > threshold).mean())
        overlaps.append(np.mean([(maps[i][region] > threshold).mean() for i, region in regions]))
    kept = np.array(rates) < 0.3
    x, y = np.array(rates)[kept], np.array(overlaps)[kept]
    x = (x - x.min()) / (x.max() - x.min())
    return float(np.trapezoid(y[::-1], x[::-1]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from([np.float32, np.float64]))
def test_one_pass_equals_walking(seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.beta(2, 6, (3, 12, 13)).astype(dtype)
    masks = rng.random((3, 12, 13)) < 0.15
    masks[0, 3:6, 3:6] = True
    assert aupro_reference(maps, masks) == pytest.approx(walked(maps, masks), abs=1e-12)
    assert aupro_reference(maps, masks) == pytest.approx(aupro(maps, masks), abs=0.1)  # related, not equal


def test_undefined_is_an_error() -> None:
    mask = np.eye(4)[None]
    for maps, masks, message in (
        (np.zeros((1, 4, 4)), mask, "fewer than two"),
        (np.arange(16.0).reshape(1, 4, 4), mask * 0, "only normal"),
        (np.arange(16.0).reshape(1, 4, 4), mask * 0 + 1, "only anomalous"),
        (np.full((1, 4, 4), np.nan), mask, "not finite"),
        (np.zeros((1, 4, 4)), mask[:, :3], r"maps of shape \(1, 4, 4\), but masks of shape \(1, 3, 4\)"),
    ):
        with pytest.raises(MetricError, match=message):
            aupro_reference(maps, masks)
