"""From a slice of a scan to the model's input, and from the model's map back to the slice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys
from torch import Tensor

from anomalyclip_med.data import Scan
from anomalyclip_med.errors import ScanError
from anomalyclip_med.transforms.windows import WindowRule, fits_scan, parse_window, window_limits


class LoadSliced(MapTransform):
    """Read one slice of a scan, windowed, as RGB in [0, 1].

    Replaces a :class:`~anomalyclip_med.data.Scan` under each key by a ``MetaTensor`` (3, rows, columns), float32,
    of the slice whose number stands under ``slice``; its affine maps (row, column, slice) to RAS millimetres.
    A slice that cannot be read becomes a black pixel, with the reason under ``failure``, so that one bad file
    never ends a run; ``failure`` is empty otherwise.

    Args:
        keys: keys that hold a scan.
        window: ``auto``, ``percentile``, ``voi``, a CT window's name, or (centre, width).
    """

    def __init__(self, keys: KeysCollection, window: str | Sequence[float] = "auto") -> None:
        super().__init__(keys)
        self.window = parse_window(window)
        self._limits: WeakKeyDictionary[Scan, tuple[float, float]] = WeakKeyDictionary()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the slices."""
        d = dict(data)
        for key in self.key_iterator(d):
            try:
                d[key], d["failure"] = self.read(d[key], int(d["slice"])), ""
            except ScanError as error:
                d[key], d["failure"] = MetaTensor(torch.zeros(3, 1, 1)), str(error)
        return d

    def read(self, scan: Scan, index: int) -> MetaTensor:
        """One windowed slice, (3, rows, columns) in [0, 1].

        Raises:
            ScanError: the slice cannot be read.
        """
        pixels = scan.read_slice(index)
        if pixels.ndim == 3:  # RGB, 8 bits
            unit = pixels.transpose(2, 0, 1) / np.float32(255)
        else:
            if self.window is WindowRule.VOI and scan.table is not None:
                grey = scan.table(pixels)
            else:
                low, high = self._limits_of(scan)
                grey = (pixels - low) / (high - low) if high > low else np.zeros_like(pixels)
            unit = np.repeat(grey[None], 3, axis=0)
        image = torch.from_numpy(np.ascontiguousarray(unit, dtype=np.float32)).clamp_(0, 1)
        return MetaTensor(image, affine=torch.from_numpy(scan.slice_affine(index)))

    def _limits_of(self, scan: Scan) -> tuple[float, float]:
        """The window's limits for a scan, found once; what is doubtful about them becomes a warning of the scan."""
        if scan not in self._limits:
            low, high = self._limits[scan] = window_limits(scan, self.window)
            if not fits_scan(scan, self.window):
                scan.warnings.append(
                    f"window-not-applied: the CT window {self.window} means nothing here, auto is used"
                )
            if high <= low:
                scan.warnings.append("constant-values: all pixels have one value, the slices are black to the model")
        return self._limits[scan]


class ResizeSliced(MapTransform, InvertibleTransform):
    """Resize images to the model's square input, as the reference does it, and maps back.

    Forward: bicubic with antialiasing (Pillow's filter, which MONAI's ``Resized`` does not give), aspect ratio
    not kept, clamped to [0, 1]. Inverse: bilinear, antialiased where it shrinks, to the slice's own grid, in [0, 1].

    Args:
        keys: keys of (C, rows, columns) tensors.
        size: side S of the model's input in pixels.
    """

    def __init__(self, keys: KeysCollection, size: int) -> None:
        super().__init__(keys)
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize to (C, S, S); the affine follows."""
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            original = tuple(image.shape[1:])
            resized = _resize(image, (self.size, self.size), "bicubic").clamp(0, 1)
            resized.affine = image.affine @ _zoom_affine(original, (self.size, self.size))
            self.push_transform(resized, orig_size=original, extra_info={"affine": image.affine})
            d[key] = resized
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize back to the slice's (C, rows, columns)."""
        d = dict(data)
        for key in self.key_iterator(d):
            record = self.pop_transform(d[key])
            restored = _resize(d[key], record[TraceKeys.ORIG_SIZE], "bilinear").clamp(0, 1)
            restored.affine = record[TraceKeys.EXTRA_INFO]["affine"]
            d[key] = restored
        return d


def _resize(image: Tensor, size: Sequence[int], mode: str) -> MetaTensor:
    pixels = image.as_tensor() if isinstance(image, MetaTensor) else image
    resized = F.interpolate(pixels[None], size=tuple(size), mode=mode, align_corners=False, antialias=True)[0]
    return MetaTensor(resized).copy_meta_from(image) if isinstance(image, MetaTensor) else MetaTensor(resized)


def _zoom_affine(original: Sequence[int], size: Sequence[int]) -> Tensor:
    """Maps indices of the resized image to indices of the original one; pixel areas, not centres, line up."""
    affine = torch.eye(4, dtype=torch.float64)
    for axis, (old, new) in enumerate(zip(original, size, strict=True)):
        affine[axis, axis] = old / new
        affine[axis, 3] = (old / new - 1) / 2
    return affine
