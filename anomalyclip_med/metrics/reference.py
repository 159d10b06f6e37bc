"""The authors' own AUPRO, for comparing with published tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from anomalyclip_med.errors import MetricError
from anomalyclip_med.metrics.regions import region_weights

_STEPS = 200


def aupro_reference(maps: ArrayLike, masks: ArrayLike, fpr_limit: float = 0.3) -> float:
    """AUPRO over 200 equally spaced thresholds, as AnomalyCLIP and the papers around it report it.

    The thresholds run from the lowest score to the highest; those whose false-positive rate is below the limit are
    kept, and their rates are stretched to [0, 1]. It differs from :func:`aupro` by half a point or so, and changes when
    one pixel changes the range of the scores.

    Args:
        maps: (N, H, W) pixel scores, higher is more anomalous.
        masks: (N, H, W), non-zero is anomalous.
        fpr_limit: in (0, 1].

    Raises:
        MetricError: shapes differ, no anomalous or no normal pixel, a score that is not finite, or no two thresholds
            below the limit.

    Examples:
        >>> from anomalyclip_med.metrics import aupro
        >>> masks = np.zeros((4, 32, 32), dtype=bool)
        >>> masks[:, 8:16, 8:16] = True
        >>> maps = np.random.default_rng(0).normal(masks)
        >>> round(aupro_reference(maps, masks), 3), round(aupro(maps, masks), 3)
        (0.47, 0.48)
    """
    scores, truth = np.asarray(maps), np.asarray(masks).astype(bool, copy=False)
    if truth.shape != scores.shape:
        raise MetricError(f"maps of shape {scores.shape}, but masks of shape {truth.shape}")
    if not np.isfinite(scores).all():
        raise MetricError("a score is not finite")
    if truth.all() or not truth.any():
        raise MetricError(f"only {'anomalous' if truth.all() else 'normal'} pixels: the metric is undefined")
    low, high = scores.min(), scores.max()
    # In the scores' own precision: a threshold may fall on a score.
    thresholds = np.arange(low, high, (high - low) / _STEPS) if high > low else scores[:0].ravel()
    normals, overlaps, regions = np.zeros(len(thresholds) + 1), np.zeros(len(thresholds) + 1), 0
    for picture, mask in zip(scores, truth, strict=True):
        exceeded = np.searchsorted(thresholds, picture, side="left")  # how many thresholds a pixel lies above
        weights, count = region_weights(mask)
        normals += np.bincount(exceeded[~mask], minlength=len(normals))
        overlaps += np.bincount(exceeded[mask], weights=weights, minlength=len(normals))
        regions += count
    # Pixels above threshold k are those that exceed more than k of them.
    fpr = np.cumsum(normals[::-1])[::-1][1:] / normals.sum()
    pro = np.cumsum(overlaps[::-1])[::-1][1:] / regions
    kept = fpr < fpr_limit
    fpr, pro = fpr[kept], pro[kept]
    if not len(fpr) or fpr.max() == fpr.min():
        raise MetricError("fewer than two false-positive rates below the limit: the metric is undefined")
    fpr = (fpr - fpr.min()) / (fpr.max() - fpr.min())
    return float(np.trapezoid(pro[::-1], fpr[::-1]))
