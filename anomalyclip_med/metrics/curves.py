"""Image and pixel metrics as pure functions on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from skimage.measure import label as label_regions
from sklearn.metrics import average_precision_score, roc_auc_score

from anomalyclip_med.errors import MetricError


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve, ties counted by half.

    Args:
        scores: any shape, higher is more anomalous.
        labels: same shape, non-zero is anomalous.

    Raises:
        MetricError: only one class, or a score that is not finite.
    """
    return float(roc_auc_score(*_checked(scores, labels)))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision: the sum of precisions weighted by the steps in recall, without interpolation.

    Args and errors as for :func:`auroc`.
    """
    return float(average_precision_score(*_checked(scores, labels)))


def aupro(maps: ArrayLike, masks: ArrayLike, fpr_limit: float = 0.3) -> float:
    """Area under the per-region overlap curve up to a false-positive rate, exact with ties.

    The per-region overlap at a threshold is the mean, over all 8-connected anomalous regions of all images, of the
    share of the region that lies above it (Bergmann et al., IJCV 2021, section 5.2). The area up to ``fpr_limit`` is
    divided by ``fpr_limit``. One sort over all pixels with a weight of 1 / (regions * region size) per anomalous pixel
    gives every threshold at once.

    Args:
        maps: (N, H, W) pixel scores, higher is more anomalous.
        masks: (N, H, W), non-zero is anomalous.
        fpr_limit: in (0, 1].

    Raises:
        MetricError: no anomalous or no normal pixel, or a score that is not finite.
    """
    labels, values = _checked(maps, masks)
    labels = labels.reshape(np.shape(masks))
    weights = np.zeros(labels.shape)
    regions = 0
    for mask, weight in zip(labels, weights, strict=True):
        numbered = label_regions(mask, connectivity=2)
        sizes = np.bincount(numbered.ravel())
        regions += len(sizes) - 1
        weight[mask] = 1 / sizes[numbered[mask]]
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ranked)), ranked.size - 1)
    normal = ~labels.ravel()[order]
    fpr = np.append(0, np.cumsum(normal)[last_of_tie] / normal.sum())
    overlap = np.append(0, np.cumsum(weights.ravel()[order])[last_of_tie] / regions)
    end = int(np.searchsorted(fpr, fpr_limit, side="right"))
    x = np.append(fpr[:end], fpr_limit)
    y = np.append(overlap[:end], np.interp(fpr_limit, fpr, overlap))
    return float(np.trapezoid(y, x) / fpr_limit)


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values, truth = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(labels).ravel() != 0
    if values.shape != truth.shape:
        raise MetricError(f"{values.size} scores, but {truth.size} labels")
    if not np.isfinite(values).all():
        raise MetricError(f"{int((~np.isfinite(values)).sum())} of {values.size} scores are not finite")
    if truth.all() or not truth.any():
        raise MetricError(f"only {'anomalous' if truth.all() else 'normal'} samples: the metric is undefined")
    return truth, values
