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
from anomalyclip_med.errors import ConfigurationError, ScanError
from anomalyclip_med.transforms.windows import (
    Window,
    WindowLike,
    WindowRule,
    fits_scan,
    parse_windows,
    window_limits,
)

_DARK = 0.05
"""What is no brighter, in [0, 1], counts as black where empty slices are told."""


class LoadSliced(MapTransform):
    """Read one slice of a scan, windowed, as RGB in [0, 1].

    Replaces a :class:`~anomalyclip_med.data.Scan` under each key by a ``MetaTensor`` (3, rows, columns), float32,
    of the slice whose number stands under ``slice``; its affine maps (row, column, slice) to RAS millimetres.
    A slice that cannot be read becomes a black pixel, with the reason under ``failure``, so that one bad file
    never ends a run; ``failure`` is empty otherwise. ``region`` receives the scan's region, all of the slice where it
    has none, and ``empty`` whether there is next to nothing to see, as in the air above a head.

    Args:
        keys: keys that hold a scan.
        window: ``auto``, ``percentile``, ``voi``, a CT window's name, or (centre, width); or three of these, for red,
            green and blue.
        empty_below: a slice is empty if a smaller share of its pixels is brighter than 5 % of the window; 0 for none.

    Raises:
        ConfigurationError: a window is unknown, or the share is not in [0, 1).

    Examples:
        >>> from pathlib import Path
        >>> from pydicom.data import get_testdata_file
        >>> from anomalyclip_med.data import find_scans
        >>> (ct,), _ = find_scans([Path(get_testdata_file("CT_small.dcm", download=False))])
        >>> item = LoadSliced("image", window="bone")({"image": ct, "slice": 0})
        >>> tuple(item["image"].shape), item["region"], item["failure"]
        ((3, 128, 128), (0, 128, 0, 128), '')
    """

    def __init__(
        self,
        keys: KeysCollection,
        window: WindowLike | Sequence[WindowLike] = "auto",
        empty_below: float = 0.0,
    ) -> None:
        super().__init__(keys)
        if not 0 <= empty_below < 1:
            raise ConfigurationError(f"empty_below={empty_below} must be a share from 0 to less than 1")
        self.windows = parse_windows(window)
        self.empty_below = empty_below
        self._limits: WeakKeyDictionary[Scan, dict[Window, tuple[float, float]]] = WeakKeyDictionary()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the slices."""
        d = dict(data)
        for key in self.key_iterator(d):
            scan = d[key]
            try:
                d[key], d["failure"] = self.read(scan, int(d["slice"])), ""
            except ScanError as error:
                d[key], d["failure"] = MetaTensor(torch.zeros(3, 1, 1)), str(error)
            rows, columns = d[key].shape[1:]
            d["region"] = (0, rows, 0, columns) if d["failure"] or scan.region is None else scan.region
            d["empty"] = self.empty_below > 0 and self._is_empty(d[key])
        return d

    def read(self, scan: Scan, index: int) -> MetaTensor:
        """One windowed slice, (3, rows, columns) in [0, 1]; of a grey one the channels are one and the same memory.

        Raises:
            ScanError: the slice cannot be read.
        """
        pixels = scan.read_slice(index)
        if pixels.ndim == 3:  # RGB, 8 bits
            unit = pixels.transpose(2, 0, 1) / np.float32(255)
        else:
            channels = [self._grey(scan, pixels, window) for window in self.windows]
            unit = np.stack(channels)
        image = torch.from_numpy(np.ascontiguousarray(unit, dtype=np.float32)).clamp_(0, 1)
        return MetaTensor(image.expand(3, -1, -1), affine=torch.from_numpy(scan.slice_affine(index)))

    def describe(self, scan: Scan) -> str:
        """The windows in the units of the scan's values, such as "-160 to 240"; "" for colours and a file's table."""
        if scan.color or (WindowRule.VOI in self.windows and scan.table is not None):
            return ""
        return ", ".join("{:.4g} to {:.4g}".format(*self._limits_of(scan, window)) for window in self.windows)

    def _is_empty(self, image: Tensor) -> bool:
        return float((image.amax(dim=0) > _DARK).float().mean()) < self.empty_below

    def _grey(self, scan: Scan, pixels: np.ndarray, window: Window) -> np.ndarray:
        if window is WindowRule.VOI and scan.table is not None:
            return scan.table(pixels)
        low, high = self._limits_of(scan, window)
        return (pixels - low) / (high - low) if high > low else np.zeros_like(pixels)

    def _limits_of(self, scan: Scan, window: Window) -> tuple[float, float]:
        """The window's limits for a scan, found once; what is doubtful about them becomes a warning of the scan."""
        known = self._limits.setdefault(scan, {})
        if window not in known:
            low, high = known[window] = window_limits(scan, window)
            if not fits_scan(scan, window):
                scan.warnings.append(f"window-not-applied: the CT window {window} means nothing here, auto is used")
            if high <= low:
                scan.warnings.append("constant-values: all pixels have one value, the slices are black to the model")
        return known[window]


class CropRegiond(MapTransform, InvertibleTransform):
    """Crop images to the region that stands under ``region``, which is taken out; the inverse fills up with zeros.

    So nothing outside the scan's region, such as text and rulers in ultrasound, is seen by the model or scored. Its
    keys are those of (C, rows, columns) ``MetaTensor``.

    Examples:
        >>> crop = CropRegiond("image")
        >>> item = crop({"image": MetaTensor(torch.ones(1, 6, 8)), "region": (1, 5, 2, 8)})
        >>> tuple(item["image"].shape), tuple(item["image"].affine[:2, 3].tolist())
        ((1, 4, 6), (1.0, 2.0))
        >>> restored = crop.inverse(item)["image"]
        >>> tuple(restored.shape), restored.sum().item()
        ((1, 6, 8), 24.0)
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop; the affine follows."""
        d = dict(data)
        top, bottom, left, right = d.pop("region")
        for key in self.key_iterator(d):
            image = d[key]
            cropped = image[:, top:bottom, left:right]
            shift = torch.eye(4, dtype=torch.float64)
            shift[0, 3], shift[1, 3] = top, left
            cropped.affine = image.affine @ shift
            extra = {"affine": image.affine, "corner": (top, left)}
            self.push_transform(cropped, orig_size=tuple(image.shape[1:]), extra_info=extra)
            d[key] = cropped
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put back where it was cut out."""
        d = dict(data)
        for key in self.key_iterator(d):
            record = self.pop_transform(d[key])
            (top, left), (rows, columns) = record[TraceKeys.EXTRA_INFO]["corner"], record[TraceKeys.ORIG_SIZE]
            below, right = rows - top - d[key].shape[1], columns - left - d[key].shape[2]
            pixels = d[key].as_tensor()
            if pixels.shape[1:] != (rows, columns):
                pixels = F.pad(pixels, (left, right, top, below))
            restored = MetaTensor(pixels).copy_meta_from(d[key])
            restored.affine = record[TraceKeys.EXTRA_INFO]["affine"]
            d[key] = restored
        return d


class ResizeSliced(MapTransform, InvertibleTransform):
    """Resize images to the model's square input, as the reference does it, and maps back.

    Forward: bicubic with antialiasing (Pillow's filter, which MONAI's ``Resized`` does not give), aspect ratio
    not kept, clamped to [0, 1]. Inverse: bilinear, antialiased where it shrinks, to the slice's own grid, in [0, 1].

    Args:
        keys: keys of (C, rows, columns) tensors.
        size: side S of the model's input in pixels.

    Examples:
        >>> resize = ResizeSliced("image", size=518)
        >>> item = resize({"image": MetaTensor(torch.rand(3, 40, 60))})
        >>> tuple(item["image"].shape), tuple(resize.inverse(item)["image"].shape)
        ((3, 518, 518), (3, 40, 60))
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
            resized = _resize(image, (self.size, self.size), "bicubic")
            resized.affine = image.affine @ _zoom_affine(original, (self.size, self.size))
            self.push_transform(resized, orig_size=original, extra_info={"affine": image.affine})
            d[key] = resized
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize back to the slice's (C, rows, columns)."""
        d = dict(data)
        for key in self.key_iterator(d):
            record = self.pop_transform(d[key])
            restored = _resize(d[key], record[TraceKeys.ORIG_SIZE], "bilinear")
            restored.affine = record[TraceKeys.EXTRA_INFO]["affine"]
            d[key] = restored
        return d


def _resize(image: Tensor, size: Sequence[int], mode: str) -> MetaTensor:
    """Resize to (C, *size), in [0, 1]."""
    pixels = image.as_tensor() if isinstance(image, MetaTensor) else image
    channels = pixels if pixels.stride(0) else pixels[:1]  # of a grey slice, one in memory
    resized = F.interpolate(channels[None], size=tuple(size), mode=mode, align_corners=False, antialias=True)[0]
    resized = resized.clamp(0, 1).expand(len(pixels), -1, -1)
    return MetaTensor(resized).copy_meta_from(image) if isinstance(image, MetaTensor) else MetaTensor(resized)


def _zoom_affine(original: Sequence[int], size: Sequence[int]) -> Tensor:
    """Maps indices of the resized image to indices of the original one; pixel areas, not centres, line up."""
    affine = torch.eye(4, dtype=torch.float64)
    for axis, (old, new) in enumerate(zip(original, size, strict=True)):
        affine[axis, axis] = old / new
        affine[axis, 3] = (old / new - 1) / 2
    return affine
