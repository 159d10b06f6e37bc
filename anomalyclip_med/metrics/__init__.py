"""Image AUROC and AP, pixel AUROC and AUPRO."""

from anomalyclip_med.metrics.curves import aupro, auroc, average_precision

__all__ = ["aupro", "auroc", "average_precision"]
