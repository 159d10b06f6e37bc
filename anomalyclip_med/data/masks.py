"""From a stored mask to a binary one, by a rule that the data list states."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from anomalyclip_med.data.image import palette_indices
from anomalyclip_med.data.scan import Scan


class MaskRule(StrEnum):
    """What counts as marked. Colours count by their strongest channel."""

    HALF = "half"
    """More than half of what the file can store (255 in 8 bits); of a mask that holds only 0 and 1, the ones."""

    ABOVE_127 = "shown>127"
    """Grey levels above 127: for masks stored as JPEG, and those with antialiased edges."""

    NONZERO = "stored>0"
    """Any stored number but 0: of palette pictures the index, whatever colour it stands for."""


def binary_mask(scan: Scan, rule: MaskRule = MaskRule.HALF) -> np.ndarray:
    """Read a mask of one slice.

    Args:
        scan: the mask.
        rule: what counts as marked.

    Returns:
        (rows, columns) bool.

    Raises:
        ScanError: the mask cannot be read.
    """
    values = mask_values(scan, rule)
    if rule is MaskRule.NONZERO:
        return values > 0
    if rule is MaskRule.ABOVE_127:
        return values > 127
    top = scan.stored_range[1] if scan.stored_range else float(values.max())
    return values > (top / 2 if values.max() > 1 else 0.5)


def mask_values(scan: Scan, rule: MaskRule) -> np.ndarray:
    """The numbers that a rule looks at, (rows, columns).

    Raises:
        ScanError: the mask cannot be read.
    """
    indices = palette_indices(scan.source) if rule is MaskRule.NONZERO and scan.format == "image" else None
    if indices is not None:
        return indices
    pixels = scan.read_slice(0)
    return pixels.max(axis=-1) if pixels.ndim == 3 else pixels
