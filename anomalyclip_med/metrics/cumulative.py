"""The metrics in MONAI's form: called batch after batch, gathered over ranks, aggregated at the end."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
import torch.distributed as dist
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

from anomalyclip_med.errors import MetricError
from anomalyclip_med.metrics.curves import pixel_ranking
from anomalyclip_med.metrics.histogram import PixelHistogram
from anomalyclip_med.metrics.ranking import Ranking


class Figure(StrEnum):
    """What is taken of a ranking; AUPRO is of pixels only."""

    AUROC = "auroc"
    AVERAGE_PRECISION = "average_precision"
    F1_MAX = "f1_max"
    AUPRO = "aupro"


class ImageMetric(CumulativeIterationMetric):
    """AUROC, average precision or highest F1 of image scores.

    Takes scores (B,) or (B, 1), higher is more anomalous, and labels of the same shape, non-zero is anomalous. With
    MONAI's ``IgniteMetricHandler`` it is an ignite handler.

    Args:
        figure: one of `Figure`, but ``aupro``.

    Raises:
        MetricError: when aggregated over one class only or over scores that are not finite.
        ValueError: the figure is unknown or ``aupro``.

    Examples:
        >>> metric = ImageMetric("auroc")
        >>> for scores, labels in (([0.1, 0.4], [0, 0]), ([0.4, 0.8], [1, 1])):
        ...     _ = metric(torch.tensor(scores), torch.tensor(labels))
        >>> metric.aggregate().item()
        0.875
    """

    def __init__(self, figure: Figure | str) -> None:
        super().__init__()
        self.figure = Figure(figure)
        if self.figure is Figure.AUPRO:
            raise ValueError("AUPRO is of pixels: use PixelMetric")

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        assert y is not None
        return torch.stack([y_pred.reshape(-1).double(), y.reshape(-1).double()], dim=1)

    def aggregate(self) -> Tensor:
        """The figure over all batches of all ranks, as a scalar tensor."""
        scores, labels = _buffer(self).cpu().numpy().T
        return torch.tensor(getattr(Ranking.of(scores, labels), self.figure)(), dtype=torch.float64)


class PixelMetric(CumulativeIterationMetric):
    """AUROC, average precision, highest F1 or AUPRO of anomaly maps.

    Takes maps (B, 1, H, W) of one size, higher is more anomalous, and masks of the same shape, non-zero is anomalous.

    Args:
        figure: one of `Figure`.
        fpr_limit: of AUPRO.
        bins: None for exact figures, from maps that are all kept, 5 bytes per pixel; or the number of bins of a
            `PixelHistogram`, for maps in [0, 1], in constant memory.

    Raises:
        MetricError: when aggregated without both classes or over scores that are not finite.
        ValueError: the figure is unknown.

    Examples:
        >>> masks = torch.eye(4).expand(2, 1, 4, 4)
        >>> metric = PixelMetric("aupro", fpr_limit=0.1)
        >>> _ = metric(0.9 * masks, masks)
        >>> metric.aggregate().item()
        1.0
    """

    def __init__(self, figure: Figure | str, fpr_limit: float = 0.3, bins: int | None = None) -> None:
        self.figure = Figure(figure)
        self.fpr_limit = fpr_limit
        self.bins = bins
        super().__init__()  # which resets

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self._histogram = PixelHistogram(self.bins or 1)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Any:
        assert y is not None
        maps, masks = y_pred.detach()[:, 0].cpu(), y[:, 0].cpu() != 0
        if self.bins is None:
            return maps, masks
        for anomaly_map, mask in zip(maps.numpy(), masks.numpy(), strict=True):
            self._histogram.add(anomaly_map, mask)
        return torch.empty(len(maps), 0)

    def aggregate(self) -> Tensor:
        """The figure over all batches of all ranks, as a scalar tensor."""
        if self.bins is None:
            maps, masks = _buffer(self)
            ranking = pixel_ranking(maps.numpy(), masks.numpy())
        else:
            total = PixelHistogram(self.bins)
            for histogram in _gathered(self._histogram):
                total.merge(histogram)
            ranking = total.ranking()
        aupro = self.figure is Figure.AUPRO
        value = ranking.area(self.fpr_limit) if aupro else getattr(ranking, self.figure)()
        return torch.tensor(value, dtype=torch.float64)


def _buffer(metric: CumulativeIterationMetric) -> Any:
    if (buffer := metric.get_buffer()) is None:
        raise MetricError("no batch has been seen: the metric is undefined")
    return buffer


def _gathered(histogram: PixelHistogram) -> list[PixelHistogram]:
    if not dist.is_initialized():
        return [histogram]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, histogram)
    return found
