"""Connected anomalous regions of a mask."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label

_EIGHT = np.ones((3, 3), dtype=bool)


def region_weights(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Weigh anomalous pixels so that each 8-connected region has a weight of 1.

    Args:
        mask: (H, W) bool.

    Returns:
        (anomalous pixels,) float64, in the order of ``mask``'s pixels, and the number of regions.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.empty(0), 0
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # most of a picture is normal
    numbered, count = label(part, structure=_EIGHT)
    of_pixel = numbered[part]
    return 1 / np.bincount(of_pixel)[of_pixel], count
