"""Pixel metrics of sets that do not fit into memory: from counts of scores in equal bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from anomalyclip_med.errors import MetricError
from anomalyclip_med.metrics.ranking import Ranking
from anomalyclip_med.metrics.regions import region_weights

BINS = 1 << 16


class PixelHistogram:
    """Counts of normal and anomalous pixels over [0, 1]. Its memory is 24 bytes per bin, whatever it has seen.

    Scores in one bin count as equal. :meth:`bounds` tells between which values the exact figures lie.

    Args:
        bins: number of equal bins.

    Attributes:
        normal: (bins,) int64, number of normal pixels.
        anomalous: (bins,) int64, number of anomalous pixels.
        overlap: (bins,) float64, the shares of their regions that these make up, summed: all of it is `regions`.
        regions: number of 8-connected anomalous regions.

    Examples:
        Two bins cannot tell 0.9 from 0.6, nor 0.4 from 0.2; the exact AUROC is 0.75.

        >>> histogram = PixelHistogram(bins=2)
        >>> histogram.add([[0.9, 0.2], [0.6, 0.4]], [[1, 0], [0, 1]])
        >>> histogram.ranking().auroc(), histogram.bounds()["auroc"]
        (0.5, (0.25, 0.75))
    """

    def __init__(self, bins: int = BINS) -> None:
        self.normal = np.zeros(bins, dtype=np.int64)
        self.anomalous = np.zeros(bins, dtype=np.int64)
        self.overlap = np.zeros(bins)
        self.regions = 0

    def add(self, anomaly_map: ArrayLike, mask: ArrayLike) -> None:
        """Count the pixels of one image.

        Args:
            anomaly_map: (H, W), in [0, 1].
            mask: (H, W), non-zero is anomalous.

        Raises:
            MetricError: shapes differ, or a score is not in [0, 1].
        """
        scores, truth = np.asarray(anomaly_map), np.asarray(mask).astype(bool, copy=False)
        if scores.shape != truth.shape:
            raise MetricError(f"a map of shape {scores.shape}, but a mask of shape {truth.shape}")
        if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
            raise MetricError("a score is not in [0, 1]")
        bins = len(self.normal)
        places = np.minimum(np.multiply(scores, bins, dtype=np.float64).astype(np.int64), bins - 1)
        weights, regions = region_weights(truth)
        self.normal += np.bincount(places[~truth], minlength=bins)
        self.anomalous += np.bincount(places[truth], minlength=bins)
        self.overlap += np.bincount(places[truth], weights=weights, minlength=bins)
        self.regions += regions

    def merge(self, other: PixelHistogram) -> None:
        """Add what another one, of as many bins, has counted."""
        self.normal += other.normal
        self.anomalous += other.anomalous
        self.overlap += other.overlap
        self.regions += other.regions

    def ranking(self) -> Ranking:
        """The bins as scores; `Ranking.area` of it is AUPRO.

        Raises:
            MetricError: there are no anomalous or no normal pixels.
        """
        if not self.anomalous.any() or not self.normal.any():
            raise MetricError(f"only {'normal' if self.normal.any() else 'anomalous'} samples: the metric is undefined")
        held = np.flatnonzero(self.anomalous)[::-1]
        not_below = np.cumsum(self.normal[::-1])[::-1]
        return Ranking(
            positives=self.anomalous[held],
            weights=self.overlap[held] / self.regions,
            above=(not_below - self.normal)[held],
            not_below=not_below[held],
            normals=int(self.normal.sum()),
        )

    def bounds(self, fpr_limit: float = 0.3) -> dict[str, tuple[float, float]]:
        """Between which values ``auroc``, ``average_precision``, ``f1_max`` and ``aupro`` of the exact scores lie."""
        known = self.ranking()
        worst, best = known.with_ties_broken(False), known.with_ties_broken(True)
        found = np.cumsum(known.positives)
        first = found - known.positives + 1
        return {
            "auroc": (worst.auroc(), best.auroc()),
            "average_precision": (
                float(np.average(first / (first + known.not_below), weights=known.positives)),
                best.average_precision(),
            ),
            "f1_max": (known.f1_max(), best.f1_max()),
            "aupro": (worst.area(fpr_limit), best.area(fpr_limit)),
        }
