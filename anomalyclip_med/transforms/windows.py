"""Which stored values become black and which white before a slice meets the model."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from anomalyclip_med.data import Scan
from anomalyclip_med.errors import ConfigurationError, ScanError

CT_WINDOWS: dict[str, tuple[float, float]] = {
    "brain": (40, 80),
    "subdural": (75, 215),
    "stroke": (40, 40),
    "bone": (480, 2500),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "abdomen": (40, 400),
}
"""Customary CT display windows as (centre, width) in HU.

A named one is for CT and for volume files, which do not tell their modality; in a mixed run any other scan is shown by
``AUTO``, because HU mean nothing there.
"""


class WindowRule(StrEnum):
    """Rules that look at the scan.

    ``AUTO``: 8-bit pictures as stored, CT through the abdomen window, anything else by ``PERCENTILE``.
    ``PERCENTILE``: the 0.5th to the 99.5th percentile over the series.
    ``VOI``: the file's own window, or for want of one its display table, ``AUTO`` where it has neither.
    """

    AUTO = "auto"
    PERCENTILE = "percentile"
    VOI = "voi"


Window = WindowRule | str | tuple[float, float]
"""A rule, a name of `CT_WINDOWS`, or (centre, width) in the units of the scan."""

WindowLike = str | Sequence[float]
"""The same as it stands in a configuration."""

_PERCENTILES = (0.5, 99.5)
_SAMPLED_SLICES = 32
"""Slices that a percentile is taken over: evenly spaced, so that a long series is not read twice."""

_SAMPLED_VALUES = 1 << 25
"""Values that a percentile is taken over: 32 slices of 1024 x 1024."""


def fits_scan(scan: Scan, window: Window) -> bool:
    """Whether a window means something for a scan: a named CT window only for CT and volume files."""
    return window not in CT_WINDOWS or (scan.stored_range is None and scan.modality in ("CT", ""))


def parse_windows(windows: WindowLike | Sequence[WindowLike]) -> tuple[Window, ...]:
    """Read a configured window for all channels, or three of them, one for red, green and blue each.

    Returns:
        One window, or three.

    Raises:
        ConfigurationError: it is neither, or a window is no rule, no CT window's name and no (centre, width).
    """
    several = not isinstance(windows, str) and not all(isinstance(w, int | float) for w in windows)
    if several and len(windows) != 3:
        raise ConfigurationError(f"window={windows!r}: give one window, or three, for red, green and blue")
    return tuple(_parse_window(w) for w in (windows if several else [windows]))  # type: ignore[arg-type]


def _parse_window(window: WindowLike) -> Window:
    if not isinstance(window, str):
        if len(window) == 2 and window[1] > 0:
            return float(window[0]), float(window[1])
    elif window in CT_WINDOWS:
        return window
    elif window in set(WindowRule):
        return WindowRule(window)
    names = ", ".join([*WindowRule, *CT_WINDOWS])
    raise ConfigurationError(f"window={window!r} is unknown: use {names}, or centre and width as two numbers")


def window_limits(scan: Scan, window: Window) -> tuple[float, float]:
    """Lower and upper limit, in the units of ``scan.read_slice``, that a window means for one scan.

    Raises:
        ScanError: no slice of the scan can be read, where that is needed.

    Examples:
        >>> from pathlib import Path
        >>> from pydicom.data import get_testdata_file
        >>> from anomalyclip_med.data import find_scans
        >>> (ct,), _ = find_scans([Path(get_testdata_file("CT_small.dcm", download=False))])
        >>> window_limits(ct, "lung"), window_limits(ct, WindowRule.AUTO)  # HU
        ((-1350.0, 150.0), (-160.0, 240.0))
    """
    if window is WindowRule.VOI:
        window = scan.window or WindowRule.AUTO
    if window is WindowRule.AUTO and scan.stored_range is None and scan.modality == "CT":
        window = "abdomen"
    if not fits_scan(scan, window):
        window = WindowRule.AUTO
    if window in CT_WINDOWS:
        window = CT_WINDOWS[str(window)]
    if isinstance(window, tuple):
        centre, width = window
        return centre - width / 2, centre + width / 2
    if window is WindowRule.AUTO and scan.stored_range is not None:
        return scan.stored_range
    return _percentile_limits(scan)


def _percentile_limits(scan: Scan) -> tuple[float, float]:
    count = len(scan.slices)
    sampled = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED_SLICES)).round().astype(int))
    values, error = [], None
    for index in sampled:
        try:
            pixels = scan.read_slice(int(index))
        except ScanError as unreadable:
            error = unreadable
            continue
        # Every so many pixels of very large pictures, which would need more memory together than the scan.
        step = -(-pixels.size * sampled.size // _SAMPLED_VALUES)
        values.append(pixels.ravel()[::step].copy())
    if error and not values:
        raise error
    low, high = np.percentile(np.concatenate(values), _PERCENTILES)
    return float(low), float(high)
