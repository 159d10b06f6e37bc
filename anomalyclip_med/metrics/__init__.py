"""Metrics of image scores and anomaly maps: exact, from histograms, as the reference has them, with intervals."""

from anomalyclip_med.metrics.bootstrap import image_intervals, pixel_intervals
from anomalyclip_med.metrics.cumulative import Figure, ImageMetric, PixelMetric
from anomalyclip_med.metrics.curves import aupro, auroc, average_precision, f1_max, pixel_ranking
from anomalyclip_med.metrics.histogram import PixelHistogram
from anomalyclip_med.metrics.ranking import Ranking
from anomalyclip_med.metrics.reference import aupro_reference

__all__ = [
    "Figure",
    "ImageMetric",
    "PixelHistogram",
    "PixelMetric",
    "Ranking",
    "aupro",
    "aupro_reference",
    "auroc",
    "average_precision",
    "f1_max",
    "image_intervals",
    "pixel_intervals",
    "pixel_ranking",
]
