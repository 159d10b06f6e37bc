"""Image and pixel metrics as pure functions on arrays, exact with ties.

Scores are of any shape, higher is more anomalous; labels have the same shape, non-zero is anomalous. Results do not
depend on the order of the samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from anomalyclip_med.errors import MetricError
from anomalyclip_med.metrics.ranking import Ranking
from anomalyclip_med.metrics.regions import region_weights


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve, ties counted by half.

    Raises:
        MetricError: only one class, or a score that is not finite.

    Examples:
        >>> auroc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])  # of four pairs three are in order, one ties
        0.875
    """
    return Ranking.of(scores, labels).auroc()


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision: the sum of precisions weighted by the steps in recall, without interpolation.

    Raises:
        MetricError: only one class, or a score that is not finite.

    Examples:
        >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), 4)  # (1 + 2/3) / 2
        0.8333
    """
    return Ranking.of(scores, labels).average_precision()


def f1_max(scores: ArrayLike, labels: ArrayLike) -> float:
    """The highest F1 score over all thresholds.

    Raises:
        MetricError: only one class, or a score that is not finite.

    Examples:
        >>> f1_max([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])  # at 0.35: precision 2/3, recall 1
        0.8
    """
    return Ranking.of(scores, labels).f1_max()


def aupro(maps: ArrayLike, masks: ArrayLike, fpr_limit: float = 0.3) -> float:
    """Area under the per-region overlap curve up to a false-positive rate.

    The per-region overlap at a threshold is the mean, over all 8-connected anomalous regions of all images, of the
    share of the region that lies above it (Bergmann et al., IJCV 2021, section 5.2). The area up to ``fpr_limit`` is
    divided by ``fpr_limit``. It is the ROC curve with a weight of 1 / (regions * region size) per anomalous pixel.

    Args:
        maps: (N, H, W) pixel scores, higher is more anomalous.
        masks: (N, H, W), non-zero is anomalous.
        fpr_limit: in (0, 1].

    Raises:
        MetricError: shapes differ, no anomalous or no normal pixel, or a score that is not finite.

    Examples:
        A region of one pixel is missed beside one of 16: AUPRO counts them alike.

        >>> masks = np.zeros((1, 8, 8))
        >>> masks[0, 4:, 4:] = 1
        >>> maps = masks.copy()
        >>> masks[0, 0, 0] = 1
        >>> round(auroc(maps, masks), 3), round(aupro(maps, masks), 3)
        (0.971, 0.575)
    """
    return pixel_ranking(maps, masks).area(fpr_limit)


def pixel_ranking(maps: ArrayLike, masks: ArrayLike) -> Ranking:
    """The ranking behind all pixel metrics of a set; arguments and errors as for :func:`aupro`.

    Examples:
        The pixels are sorted once for all figures.

        >>> ranking = pixel_ranking([[[0.9, 0.2], [0.6, 0.4]]], [[[1, 0], [0, 1]]])
        >>> ranking.auroc(), ranking.f1_max(), ranking.area(fpr_limit=0.3)
        (0.75, 0.8, 0.5)
    """
    truth = np.asarray(masks).astype(bool, copy=False)
    if truth.shape != np.shape(maps):
        raise MetricError(f"maps of shape {np.shape(maps)}, but masks of shape {truth.shape}")
    weights = [region_weights(mask) for mask in truth]
    regions = sum(count for _, count in weights)
    joined = np.concatenate([w for w, _ in weights]) if weights else np.empty(0)
    return Ranking.of(maps, truth, joined / max(regions, 1))
