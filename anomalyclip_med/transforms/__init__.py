"""Scan to model input (window, slice, RGB, resize) and map to scan geometry, the exact inverse."""

from anomalyclip_med.transforms.masks import LoadMaskd
from anomalyclip_med.transforms.slices import CropRegiond, LoadSliced, ResizeSliced
from anomalyclip_med.transforms.windows import CT_WINDOWS, WindowRule, window_limits

__all__ = [
    "CT_WINDOWS",
    "CropRegiond",
    "LoadMaskd",
    "LoadSliced",
    "ResizeSliced",
    "WindowRule",
    "window_limits",
]
