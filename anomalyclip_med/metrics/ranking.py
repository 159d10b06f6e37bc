"""Anomalous samples among normal ones, in the order of their scores: all that any curve's figure needs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from anomalyclip_med.errors import MetricError

_LEAST_PER_THREAD = 1 << 20


@dataclass(frozen=True)
class Ranking:
    """How many samples lie above each score that an anomalous sample has.

    Between two scores nothing but normal samples comes in, so no figure below needs them one by one.

    Attributes:
        positives: (K,) number of anomalous samples at each score, from the highest score to the lowest.
        weights: (K,) their weights, which sum to 1.
        above: (K,) number of normal samples that score higher.
        not_below: (K,) number of normal samples that score as high or higher.
        normals: number of all normal samples.
    """

    positives: np.ndarray
    weights: np.ndarray
    above: np.ndarray
    not_below: np.ndarray
    normals: int

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Ranking:
        """Rank samples exactly, ties included.

        Args:
            scores: any shape, higher is more anomalous.
            labels: same shape, non-zero is anomalous.
            weights: (number of anomalous samples,), in the order of ``scores[labels != 0]``; None for equal ones.

        Raises:
            MetricError: shapes differ, only one class, or a score that is not finite.
        """
        values, anomalous = np.asarray(scores).ravel(), np.asarray(labels).ravel().astype(bool, copy=False)
        if values.shape != anomalous.shape:
            raise MetricError(f"{values.size} scores, but {anomalous.size} labels")
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        with np.errstate(over="ignore"):
            total = values.sum()  # which needs no array of its own
        if not np.isfinite(total) and not np.isfinite(values).all():
            raise MetricError(f"{int((~np.isfinite(values)).sum())} of {values.size} scores are not finite")
        high = values[anomalous]
        if len(high) in (0, len(values)):
            raise MetricError(f"only {'anomalous' if len(high) else 'normal'} samples: the metric is undefined")
        if weights is None:
            high.sort()
            shares = np.full(len(high), 1 / len(high))
        else:
            order = _order(high)
            high, shares = high[order], np.asarray(weights, dtype=np.float64)[order]
        first = np.flatnonzero(np.append(True, high[1:] != high[:-1]))
        distinct, end = high[first], np.append(first[1:], len(high))
        normals = len(values) - len(high)
        # Counting among all is faster than picking the normal ones, which are then those that are not anomalous.
        below, not_above = _counts(values, distinct)
        return cls(
            positives=(end - first)[::-1],
            weights=np.add.reduceat(shares, first)[::-1],
            above=(normals - (not_above - end))[::-1],
            not_below=(normals - (below - first))[::-1],
            normals=normals,
        )

    def auroc(self) -> float:
        """Area under the ROC curve: the chance that an anomalous sample outscores a normal one, ties by half."""
        middle = (self.above + self.not_below) / 2
        return float(1 - np.average(middle, weights=self.positives) / self.normals)

    def average_precision(self) -> float:
        """Sum of precisions weighted by the steps in recall, without interpolation."""
        found = np.cumsum(self.positives)
        return float(np.average(found / (found + self.not_below), weights=self.positives))

    def f1_max(self) -> float:
        """The highest F1 over all thresholds."""
        found = np.cumsum(self.positives)
        return float((2 * found / (found + self.not_below + found[-1])).max())

    def area(self, fpr_limit: float) -> float:
        """Area under the weighted recall over the false-positive rate, from 0 to a limit, divided by the limit."""
        start, end = self.above / self.normals, self.not_below / self.normals
        reached = np.minimum(end, fpr_limit)
        # Recall rises in a straight line while normal samples of the same score come in, and is kept after that.
        rise = np.divide(reached - start, end - start, out=np.ones_like(start), where=end > start)
        ramp = (reached - start) * rise / 2
        kept = fpr_limit - reached
        return float((self.weights * (ramp + kept))[start < fpr_limit].sum() / fpr_limit)

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Points of the curve from (0, 0) to (1, 1): false-positive rates, and weighted recall."""
        recall = np.cumsum(self.weights)
        # Before each score the normal samples between it and the one above, then the samples of that score.
        fpr = np.column_stack([self.above, self.not_below]).ravel() / self.normals
        steps = np.column_stack([recall - self.weights, recall]).ravel()
        return np.concatenate([[0], fpr, [1]]), np.concatenate([[0], steps, [1]])

    def with_ties_broken(self, anomalous_first: bool) -> Ranking:
        """The ranking in which of each score the anomalous samples, or the normal ones, come first."""
        counted = self.above if anomalous_first else self.not_below
        return replace(self, above=counted, not_below=counted)


def _counts(values: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many values are less than, and at most, each of the limits, which are sorted."""

    def count(part: np.ndarray) -> np.ndarray:
        part = np.sort(part)
        less = np.searchsorted(part, limits, side="left")
        # Few limits are met by more than one value: the second search is for these only.
        met = part[np.minimum(less, len(part) - 1)] == limits
        at_most = less + met
        again = np.flatnonzero(met & (part[np.minimum(at_most, len(part) - 1)] == limits))
        at_most[again] = np.searchsorted(part, limits[again], side="right")
        return np.stack([less, at_most])

    # NumPy sorts and searches outside of Python's lock; taking fresh memory is half of the work.
    parts = np.array_split(values, min(os.cpu_count() or 1, 1 + len(values) // _LEAST_PER_THREAD))
    if len(parts) == 1:  # a resample of a few hundred scores takes less time than starting a thread
        below, not_above = count(values)
        return below, not_above
    with ThreadPoolExecutor(len(parts)) as pool:
        below, not_above = np.sum(list(pool.map(count, parts)), axis=0)
    return below, not_above


def _order(values: np.ndarray) -> np.ndarray:
    """What `numpy.argsort` gives, faster for single precision: values and places are sorted as one number."""
    if values.dtype != np.float32 or len(values) >= 1 << 32:
        return np.argsort(values)
    bits = (values + np.float32(0)).view(np.uint32)  # -0 becomes 0
    rising = bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    packed = (rising.astype(np.uint64) << np.uint64(32)) | np.arange(len(values), dtype=np.uint64)
    packed.sort()
    return (packed & np.uint64(0xFFFFFFFF)).astype(np.intp)
