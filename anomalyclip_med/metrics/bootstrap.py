"""How far a figure would move on other images of the same kind: percentile bootstrap over images or patients."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from anomalyclip_med.errors import MetricError
from anomalyclip_med.metrics.histogram import PixelHistogram
from anomalyclip_med.metrics.ranking import Ranking

RESAMPLES = 1000
LEVEL = 0.95
IMAGE_BINS = 1000
"""Bins of the histograms that pixel figures are resampled from."""

Interval = tuple[float, float]


def image_intervals(
    scores: ArrayLike, labels: ArrayLike, groups: Sequence[Hashable] | None = None, seed: int = 0
) -> dict[str, Interval]:
    """95 % intervals of ``auroc``, ``average_precision`` and ``f1_max``.

    Args:
        scores: (N,), higher is more anomalous.
        labels: (N,), non-zero is anomalous.
        groups: (N,) patients, say: those of one group are drawn together; None for every image on its own.
        seed: of the draws.

    Returns:
        Each figure's name to the lower and the upper end.

    Raises:
        MetricError: no draw has both classes, or a score is not finite.

    Examples:
        >>> labels = np.arange(40) % 2
        >>> scores = np.random.default_rng(0).normal(labels)
        >>> low, high = image_intervals(scores, labels)["auroc"]
        >>> f"{Ranking.of(scores, labels).auroc():.2f} ({low:.2f} to {high:.2f})"
        '0.91 (0.81 to 0.98)'
    """
    values, truth = np.asarray(scores), np.asarray(labels)
    return _intervals(
        lambda times: _of_ranking(Ranking.of(np.repeat(values, times), np.repeat(truth, times))),
        _draws(groups, values, seed),
    )


def pixel_intervals(
    histograms: Sequence[PixelHistogram],
    groups: Sequence[Hashable] | None = None,
    fpr_limit: float = 0.3,
    seed: int = 0,
) -> dict[str, Interval]:
    """95 % intervals of ``auroc``, ``average_precision``, ``f1_max`` and ``aupro`` over pixels.

    Args:
        histograms: one per image, with ``IMAGE_BINS`` bins, say.
        groups: as for :func:`image_intervals`.
        fpr_limit: of AUPRO.
        seed: of the draws.

    Returns:
        Each figure's name to the lower and the upper end.

    Raises:
        MetricError: no draw has both classes.

    Examples:
        >>> mask = np.eye(8)
        >>> rng = np.random.default_rng(0)
        >>> histograms = [PixelHistogram(IMAGE_BINS) for _ in range(10)]
        >>> for histogram in histograms:
        ...     histogram.add(0.3 * mask + 0.7 * rng.random((8, 8)), mask)
        >>> low, high = pixel_intervals(histograms)["aupro"]
        >>> f"{low:.2f} to {high:.2f}"
        '0.59 to 0.72'
    """
    normal = np.stack([h.normal for h in histograms])
    anomalous = np.stack([h.anomalous for h in histograms])
    overlap = np.stack([h.overlap for h in histograms])
    regions = np.array([h.regions for h in histograms])

    def measure(times: np.ndarray) -> dict[str, float]:
        drawn = PixelHistogram(normal.shape[1])
        drawn.normal, drawn.anomalous, drawn.overlap = times @ normal, times @ anomalous, times @ overlap
        drawn.regions = int(times @ regions)
        ranking = drawn.ranking()
        return {**_of_ranking(ranking), "aupro": ranking.area(fpr_limit)}

    return _intervals(measure, _draws(groups, histograms, seed))


def _of_ranking(ranking: Ranking) -> dict[str, float]:
    return {
        "auroc": ranking.auroc(),
        "average_precision": ranking.average_precision(),
        "f1_max": ranking.f1_max(),
    }


def _draws(
    groups: Sequence[Hashable] | None, samples: Sequence[object] | np.ndarray, seed: int
) -> Iterator[np.ndarray]:
    """How often each sample is drawn, for every resample."""
    rng = np.random.default_rng(seed)
    members: Sequence[Hashable] = range(len(samples)) if groups is None else groups
    numbers = {group: number for number, group in enumerate(dict.fromkeys(members))}
    group_of = np.array([numbers[group] for group in members])
    for _ in range(RESAMPLES):
        yield np.bincount(rng.integers(0, len(numbers), len(numbers)), minlength=len(numbers))[group_of]


def _intervals(measure: Callable[[np.ndarray], dict[str, float]], draws: Iterator[np.ndarray]) -> dict[str, Interval]:
    found: dict[str, list[float]] = {}
    for times in draws:
        try:
            figures = measure(times)
        except MetricError:  # only one class has been drawn
            continue
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    if not found:
        raise MetricError("no resample has both normal and anomalous samples: there is no interval")
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    return {name: tuple(float(v) for v in np.quantile(values, tails)) for name, values in found.items()}  # type: ignore[misc]
