"""The one interface to everything that can be read: a scan, and the slices it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalyclip_med.data.slicing import Slicing
from anomalyclip_med.errors import ScanError


@dataclass(frozen=True)
class SliceInfo:
    """What is known of one slice before its pixels are read.

    Attributes:
        index: position in the scan's slice order, from 0.
        frame: for a multi-frame DICOM object the frame's number in it, else the time point or page; from 0,
            None where there is only one.
        instance: hashed SOPInstanceUID (16 hexadecimal digits), DICOM only.
        position: mm along the slice normal, None where unknown.
        instance_number: InstanceNumber, by which viewers count, of a slice that is a DICOM file's own.
    """

    index: int
    frame: int | None
    instance: str | None
    position: float | None
    instance_number: int | None = None


@dataclass(frozen=True)
class DisplayTable:
    """What a file's own table makes of values: the nearest entry, the first and the last one beyond the ends.

    Attributes:
        first: the value of the first entry, in the units of `Scan.read_slice`.
        shown: (entries,) float32, from 0 for black to 1 for white, one per unit.
    """

    first: float
    shown: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Look values up; the result has their shape."""
        places = np.clip(np.rint(values - np.float64(self.first)), 0, len(self.shown) - 1)
        return self.shown[places.astype(np.intp)]


class Scan(ABC):
    """One series, volume, cine or image: its geometry is known, its pixels are read slice by slice.

    Attributes:
        name: file-system safe output stem (letters, digits, "_", ".", "-"), unique within one `find_scans` call.
        study: hashed StudyInstanceUID for DICOM, for other files the same as `name`.
        series: hashed SeriesInstanceUID and the number of the geometry group for DICOM, else as `name`.
        source: the file, or the folder of a DICOM series.
        shown: what outputs call the source: its path, or `name` where paths are not to be shown.
        files: all files that it is read from; of a DICOM series, that of each acquired frame, in the order of the
            array's slices, one time point after another.
        format: "dicom", "nifti", "nrrd", "metaimage" or "image".
        modality: DICOM Modality, "" where unknown.
        shape: (X, Y, Z) or (X, Y, Z, T), the grid on which maps are written, in the file's own axis order.
        affine: (4, 4) float64, voxel index to RAS millimetres (nibabel's convention).
        color: `read_slice` gives RGB.
        warnings: sentences that start with a code ("irregular-spacing: ...") and name no patient. Reading
            slices may add to them.
        slices: one entry per slice, in slice order.
        stored_range: the range of values of 8-bit data that are shown as they are, (0, 255); None where the
            values need a window.
        window: the file's own window as (centre, width) in the units of `read_slice`, None if it has none.
        region: (first row, end row, first column, end column) of the image in each slice, the rest being text and
            rulers; None where all of it is image or the file does not say.
        table: the file's own display table where it has one and no window, else None.
    """

    def __init__(
        self,
        *,
        source: Path,
        format: str,
        shape: tuple[int, ...],
        affine: np.ndarray,
        slicing: Slicing,
        slices: Sequence[SliceInfo],
        color: bool = False,
        modality: str = "",
        study: str = "",
        series: str = "",
        stored_range: tuple[float, float] | None = None,
        window: tuple[float, float] | None = None,
        table: DisplayTable | None = None,
        region: tuple[int, int, int, int] | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        self.name = ""
        self.study = study
        self.series = series
        self.source = source
        self.shown = str(source)
        self.files: tuple[Path, ...] = (source,)
        self.format = format
        self.modality = modality
        self.shape = shape
        self.affine = np.asarray(affine, dtype=np.float64)
        self.color = color
        self.warnings = list(warnings)
        self.slices = tuple(slices)
        self.stored_range = stored_range
        self.window = window
        self.table = table
        self.region = region
        self._slicing = slicing

    def read_slice(self, index: int) -> np.ndarray:
        """Read one slice as it is shown.

        Args:
            index: position in `slices`.

        Returns:
            (rows, columns) float32 in rescaled units (HU for CT), all finite, or (rows, columns, 3) uint8 RGB
            where `color`.

        Raises:
            ScanError: the file is damaged, truncated or cannot be decoded.
            IndexError: there is no such slice.
        """
        place, time = self._slicing.source(index)
        pixels = self._read(index, place, time)
        if not (pixels.flags.owndata and pixels.flags.c_contiguous):
            pixels = np.array(pixels, order="C")  # it may be a view of pixels that are held
        if self.color:
            return pixels
        finite = np.isfinite(pixels)
        if not finite.all():
            self._warn_once("non-finite-values: NaN and infinite values are read as the slice's lowest value")
            pixels = np.where(finite, pixels, pixels[finite].min() if finite.any() else np.float32(0))
        return pixels

    def show(self, text: str) -> str:
        """Return a message as outputs may have it: without the paths of the scan's files unless they are shown."""
        if self.shown == str(self.source):
            return text
        for number, file in enumerate(dict.fromkeys(self.files)):
            text = text.replace(str(file), f"{self.name}, file {number}")
        return text

    def slice_view(self, volume: np.ndarray, index: int) -> np.ndarray:
        """Return where slice `index` lies in an array on the scan's grid.

        Args:
            volume: an array of shape `shape`; axes that follow (channels) are kept.
            index: position in `slices`.

        Returns:
            A (rows, columns) view, pixel for pixel that of `read_slice`: writing to it writes to `volume`.

        Raises:
            ScanError: the array is not on the scan's grid.
            IndexError: there is no such slice.
        """
        if volume.shape[: len(self.shape)] != self.shape:
            raise ScanError(f"{self.name}: an array of shape {volume.shape} is not on the grid {self.shape}")
        return self._slicing.view(volume, index)

    def whole_planes(self, index: int) -> int:
        """Return how many (X, Y) planes of an array on the scan's grid are complete after slice `index`.

        They are counted from the first, through all time points: what of the array can be stored before the slices
        that follow are known.
        """
        return self._slicing.whole_planes(index)

    def slice_affine(self, index: int) -> np.ndarray:
        """Return the (4, 4) matrix from (row, column, 0) of slice `index` to RAS millimetres.

        Raises:
            IndexError: there is no such slice.
        """
        return self._slicing.slice_affine(self.affine, index)

    def close(self) -> None:  # noqa: B027 - most scans hold nothing between reads
        """Free the pixels that are held between reads; the scan can still be read afterwards."""

    @abstractmethod
    def _read(self, index: int, place: int, time: int) -> np.ndarray:
        """Return slice `index`, which is `place` on the slice axis at time point `time`, as it is shown."""

    def _warn_once(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)
